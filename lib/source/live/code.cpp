#include "lib/source/live/code.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/memory/visit.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlockBytes = 64 << 10;
constexpr unsigned char kBreakpoint = 0xcc;  // int3; on arm64 four bytes, which count as a patch

struct Stretch {  // of private copies
  std::uint64_t offset = 0;
  std::string bytes;
};
struct Copied {  // of one mapping
  MemoryArea area;
  std::vector<Stretch> stretches;  // ascending
};

class Gather final : public MemoryVisitor {
 public:
  explicit Gather(std::map<std::uint64_t, Copied>& into) : into_(into), block_(kBlockBytes) {}
  Status enter(MemoryArea&& area) override {
    area_ = std::move(area);
    return Done{};
  }
  std::span<std::byte> room() override { return block_; }
  Status filled(std::uint64_t address, std::size_t count) override {
    if (bytes_ + count > kMaxCodeBytes) {
      beyond_ += count;
      return Done{};
    }
    bytes_ += count;
    Copied& copied = into_[area_.start];
    if (copied.stretches.empty()) copied.area = area_;
    const std::uint64_t offset = area_.offset_bytes + (address - area_.start);
    const std::string_view bytes(reinterpret_cast<const char*>(block_.data()), count);
    if (!copied.stretches.empty() &&
        copied.stretches.back().offset + copied.stretches.back().bytes.size() == offset) {
      copied.stretches.back().bytes += bytes;
    } else {
      copied.stretches.push_back({offset, std::string(bytes)});
    }
    return Done{};
  }
  [[nodiscard]] std::uint64_t beyond() const { return beyond_; }

 private:
  std::map<std::uint64_t, Copied>& into_;
  std::vector<std::byte> block_;
  MemoryArea area_;
  std::uint64_t bytes_ = 0;
  std::uint64_t beyond_ = 0;
};

std::string hex_of(std::string_view bytes) {
  std::string text;
  for (const char c : bytes.substr(0, kMaxShownCode))
    text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

// What of the copies is not as in the file. Bytes behind the file's end are zeros, as they were mapped.
class Compare {
 public:
  explicit Compare(ByteSource& file) : file_(file), block_(kBlockBytes) {}

  Status with(const Stretch& stretch) {
    std::size_t at = 0;
    while (at < stretch.bytes.size()) {
      const std::uint64_t offset = stretch.offset + at;
      while (!ended_ && offset >= begin_ + size_) {
        begin_ += size_;
        size_ = 0;
        auto got = file_.read(block_);
        if (!got) return std::move(got).error();
        size_ = *got;
        ended_ = size_ == 0;
      }
      const auto in_block = static_cast<std::size_t>(offset - begin_);
      const std::size_t count =
          ended_ ? stretch.bytes.size() - at : std::min(stretch.bytes.size() - at, size_ - in_block);
      for (std::size_t i = 0; i < count; ++i) {
        const char before = ended_ ? '\0' : static_cast<char>(block_[in_block + i]);
        note(offset + i, before, stretch.bytes[at + i]);
      }
      at += count;
    }
    return Done{};
  }

  std::uint64_t differ = 0;
  std::uint64_t first = 0;
  std::string was;
  std::string is;
  bool breakpoints = true;
  Sha256 change;  // where what became what

 private:
  void note(std::uint64_t offset, char before, char now) {
    if (before == now) return;
    if (differ++ == 0) first = offset;
    if (offset - first < kMaxShownCode && offset == first + was.size()) {
      was += before;
      is += now;
    }
    breakpoints =
        breakpoints && static_cast<unsigned char>(now) == kBreakpoint && (differ == 1 || offset != last_ + 1);
    last_ = offset;
    change.update(fmt::format("{}:{:02x};", offset, static_cast<unsigned char>(now)));
  }

  ByteSource& file_;
  std::vector<std::byte> block_;
  std::uint64_t begin_ = 0;
  std::size_t size_ = 0;
  bool ended_ = false;
  std::uint64_t last_ = 0;
};

class Look {
 public:
  Look(LiveSnapshot& snapshot, LiveContainer& live, Task& task)
      : snapshot_(snapshot), live_(live), task_(task) {}

  Status process(std::int32_t pid, std::uint64_t start_ticks) {
    std::map<std::uint64_t, Copied> copies;
    Gather gather(copies);
    MemoryArea like;
    like.space = 1;
    like.container = live_.container.id;
    Node& node = snapshot_.node();
    GapLog aside;
    Task quiet = task_.with(aside);
    auto visited = memory::visit_code(node.proc, node.readers, pid, start_ticks, like, gather, quiet);
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (!visited && !visited.error().is_gone() && visited.error().code != Errc::unsupported)
      degrade(pid, std::move(visited).error());
    for (const Gap& gap : aside.kept()) {
      if (gap.impact == Impact::lost && gap.error.code != Errc::vanished) degrade(pid, gap.error);
    }
    if (gather.beyond() > 0)
      degrade(pid,
              {Errc::limit, human_size(gather.beyond()) + " of private copies of code are not compared"});
    if (copies.empty()) return Done{};
    std::map<std::uint64_t, Mapping> mappings;
    Task silent = task_.with(aside);  // they are listed elsewhere, too
    const auto opened = proc::open_living(node.proc, pid, start_ticks);
    if (!opened) return Done{};  // it ended
    auto listed = proc::list_mappings(
        *opened, node.readers, pid,
        [&](Mapping&& mapping) -> Status {
          if (copies.contains(mapping.start.value)) mappings.emplace(mapping.start.value, std::move(mapping));
          return Done{};
        },
        silent);
    if (!listed) {
      degrade(pid, std::move(listed).error());
      return Done{};
    }
    for (auto& [start, copied] : copies) {
      const auto mapping = mappings.find(start);
      if (mapping == mappings.end()) continue;  // it changed meanwhile
      if (auto done = compare(pid, start_ticks, copied, mapping->second); !done) return done;
    }
    return Done{};
  }

  std::map<std::pair<std::string, std::string>, verdict::PatchedCode> found;  // by path, and what changed

 private:
  void degrade(std::int32_t pid, Error why) {
    task_.gaps.add({Impact::degraded, "memory.code", "pid " + std::to_string(pid),
                    std::move(why).within("whether its code is as in the files")});
  }

  Status compare(std::int32_t pid, std::uint64_t start_ticks, const Copied& copied, Mapping& mapping) {
    Node& node = snapshot_.node();
    const auto process = proc::open_living(node.proc, pid, start_ticks);
    if (!process) return Done{};
    auto pin = process->pin_magic(fmt::format("map_files/{:x}-{:x}", mapping.start.value, mapping.end.value));
    auto held = pin ? hold_file(node, live_, *std::move(pin), pid, task_)
                    : Result<std::shared_ptr<HeldProgram>>(pin.error());
    auto file = held ? read_program(node, *held, mapping.path.raw, task_)
                     : Result<std::unique_ptr<ByteSource>>(std::move(held).error());
    if (!file) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      degrade(pid, std::move(file).error());
      return Done{};
    }
    Compare compare(**file);
    for (const Stretch& stretch : copied.stretches) {
      if (auto done = compare.with(stretch); !done) {
        if (auto go_on = task_.check(); !go_on) return go_on;
        degrade(pid, std::move(done).error());
        return Done{};
      }
    }
    if (compare.differ == 0) return Done{};
    const auto key = std::pair(mapping.path.raw, to_hex(compare.change.digest()));
    if (found.size() >= kMaxPatchedFiles && !found.contains(key)) return Done{};
    verdict::PatchedCode& code = found[key];
    code.pids.push_back(pid);
    if (code.pids.size() > 1) return Done{};
    mapping.container = live_.container.id;
    code.mapping = std::move(mapping);
    code.bytes = compare.differ;
    code.first_offset = compare.first;
    code.was = hex_of(compare.was);
    code.is = hex_of(compare.is);
    code.breakpoints = compare.breakpoints;
    return Done{};
  }

  LiveSnapshot& snapshot_;
  LiveContainer& live_;
  Task& task_;
};

}  // namespace

Status list_patched_code(LiveSnapshot& snapshot, const std::string& container,
                         const Emit<verdict::PatchedCode>& emit, Task& task) {
  for (LiveContainer& live : snapshot.containers()) {
    if (live.container.id != container || live.ended) continue;
    Look look(snapshot, live, task);
    for (const auto& [pid, held] : live.processes) {
      if (held.gone || held.ended) continue;
      if (auto done = look.process(pid, held.start_ticks); !done) return done;
    }
    for (auto& [key, code] : look.found) {
      if (auto done = emit(std::move(code)); !done) return done;
    }
  }
  return Done{};
}

}  // namespace ctriage::source
