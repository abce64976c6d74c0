// Memory in a bundle for who walks through it: the cores that collect took, as far as their ranges say that
// bytes are in them, and what beside them holds content: files of the UpperDir, tmpfs and volumes, programs,
// logs.
#include <algorithm>
#include <array>
#include <functional>

#include "lib/archive/layer_reader.h"
#include "lib/core/text.h"
#include "lib/source/bundle/source.h"
#include "lib/source/refusal.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kPages = ".pages.jsonl";
constexpr std::string_view kZstd = ".zst";

// Reads on to `offset`: a core is written in the order of its ranges.
class Forward {
 public:
  explicit Forward(ByteSource& in) : in_(in) {}
  Status skip_to(std::uint64_t offset, const Task& task) {
    if (offset < at_) return Error{Errc::malformed, "its ranges are not in the order of the core"};
    std::vector<std::byte> room(std::min<std::uint64_t>(offset - at_, kStepBytes));
    while (at_ < offset) {
      if (auto go_on = task.check(); !go_on) return go_on;
      const auto got = read(std::span(room).first(std::min<std::uint64_t>(room.size(), offset - at_)));
      if (!got) return got.error();
    }
    return Done{};
  }
  // At least one byte.
  Result<std::size_t> read(std::span<std::byte> into) {
    auto got = in_.read(into);
    if (got && *got == 0) return Error{Errc::truncated, "the core ends before its ranges do"};
    if (got) at_ += *got;
    return got;
  }

 private:
  static constexpr std::uint64_t kStepBytes = 256 << 10;
  ByteSource& in_;
  std::uint64_t at_ = 0;
};

MemoryArea area_of(const PageRange& range, const MemoryArea& like) {
  MemoryArea area = like;
  area.start = range.start.value;
  area.address = range.start.value;
  area.offset_bytes = range.offset_bytes;
  area.has_offset = range.inode.value != 0;
  area.protection = range.protection;
  area.path = range.path;
  return area;
}

// What of a process is in no core, by state: what it costs and how it is said.
struct Missing {
  PageState state;
  Impact impact;
  std::string_view what;
};
constexpr std::array<Missing, 6> kMissing{
    {{PageState::unreadable, Impact::lost, "could not be read"},
     {PageState::timeout, Impact::lost, "did not come in time"},
     {PageState::vanished, Impact::lost, "were given up by the process while it was read"},
     {PageState::shared, Impact::degraded,
      "are in the cores of others that share them, which were not asked for"},
     {PageState::swapped, Impact::degraded, "were in swap, and left there"},
     {PageState::file, Impact::note,
      "as in the files that were mapped, left out: collect --file-pages all takes them"}}};

struct ObjectStream {  // what of a container's folder is content
  std::string_view prefix;
  AreaKind kind;
};
constexpr std::array<ObjectStream, 5> kObjects{{{"upper.tar", AreaKind::layer},
                                                {"tmpfs/", AreaKind::tmpfs},
                                                {"volumes/", AreaKind::volume},
                                                {"executables/", AreaKind::program},
                                                {"logs/", AreaKind::log}}};

std::string_view without_suffix(std::string_view name, std::string_view suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

Status walk_object(ByteSource& bytes, MemoryVisitor& visitor, const Task& task) {
  for (std::uint64_t at = 0;;) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const auto got = bytes.read(visitor.room());
    if (!got) return got.error();
    if (*got == 0) return Done{};
    if (auto done = visitor.filled(at, *got); !done) return done;
    at += *got;
  }
}

// Files of a layer, each an object; holes are no bytes.
Status walk_layer(ByteSource& stream, const MemoryArea& like, const std::string& below,
                  MemoryVisitor& visitor, std::uint64_t& space, const Task& task) {
  auto layer = archive::LayerReader::open(stream);
  if (!layer) return std::move(layer).error();
  archive::LayerReader::Entry entry;
  for (;;) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const auto more = (*layer)->next(entry);
    if (!more) return more.error();
    if (!*more) return Done{};
    if (!entry.regular || entry.size_bytes == 0) continue;
    MemoryArea area = like;
    area.space = ++space;
    area.path = Bytes(below + "/" + entry.path);
    if (auto done = visitor.enter(std::move(area)); !done) return done;
    for (;;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      const auto stored = (*layer)->stored();
      if (!stored) return stored.error();
      if (stored->bytes.empty()) break;
      if (auto done = visitor.take(stored->offset, stored->bytes); !done) return done;
    }
  }
}

}  // namespace

Status BundleSnapshot::walk_core(const std::string& pages, MemoryArea like, bool alone,
                                 MemoryVisitor& visitor, Task& task) {
  const std::string stem(without_suffix(pages, kPages));
  const std::string name = bulk_stream(stem + ".core");
  auto stream = reader_->open(name, task);
  if (!stream) return std::move(stream).error().within(name);
  Forward core(**stream);
  std::array<std::uint64_t, enum_names(PageState{}).size()> bytes{};
  const Emit<PageRange> take = [&](PageRange&& range) -> Status {
    if (range.end.value < range.start.value)
      return Error{Errc::malformed, "a range that ends before it begins"};
    bytes[static_cast<std::size_t>(range.state)] += range.end.value - range.start.value;
    if (range.state != PageState::data || !range.core_offset_bytes) return Done{};
    if (auto there = core.skip_to(*range.core_offset_bytes, task); !there) return there;
    if (auto done = visitor.enter(area_of(range, like)); !done) return done;
    for (std::uint64_t at = range.start.value; at < range.end.value;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto room = visitor.room();
      room = room.first(std::min<std::uint64_t>(room.size(), range.end.value - at));
      const auto got = core.read(room);
      if (!got) return got.error();
      if (auto done = visitor.filled(at, *got); !done) return done;
      at += *got;
    }
    return Done{};
  };
  auto walked = list_ranges(pages, take, task);
  for (const Missing& missing : kMissing) {
    const std::uint64_t count = bytes[static_cast<std::size_t>(missing.state)];
    const bool elsewhere = missing.state == PageState::shared && !alone;  // that core is looked at, too
    if (count > 0 && !elsewhere)
      task.gaps.add({missing.impact,
                     "memory.pages",
                     name,
                     {Errc::unsupported, human_size(count) + " " + std::string(missing.what)}});
  }
  const auto status = reader_->status(name);
  if (walked && status && status->outcome != bundle::Outcome::collected)
    task.gaps.add({Impact::lost, "memory.pages", name, {Errc::truncated, status->why}});
  return walked;
}

Status BundleSnapshot::visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  Refusing watched(visitor);
  std::uint64_t space = 0;
  bool any = false;
  const auto failed = [&](const std::string& stream, Error error) -> Status {
    if (watched.refused()) return error;
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({Impact::lost, "bundle.stream", stream, std::move(error)});
    return Done{};
  };
  for (const auto& [id, folder] : folders_) {
    MemoryArea like;
    like.container = id;
    const Emit<Process> each = [&](Process&& process) -> Status {
      if (query.pid > 0 && process.pid != query.pid) return Done{};
      any = true;
      const std::string stem = folder + "memory/" + std::to_string(process.pid);
      const std::string pages = stem + std::string(kPages);
      if (!reader_->has(pages)) {
        tell_no_memory(process, pages, task);
        return Done{};
      }
      like.space = ++space;
      like.pid = process.pid;
      like.container_pid = process.container_pid;
      auto walked = walk_core(pages, like, query.pid > 0, watched, task);
      return walked ? walked : failed(pages, std::move(walked).error());
    };
    if (auto listed = list_processes(id, each, task); !listed) return listed;
    if (query.pid != 0) continue;
    for (const std::string& stream : reader_->streams()) {
      if (!stream.starts_with(folder)) continue;
      const std::string_view name = std::string_view(stream).substr(folder.size());
      const auto object = std::ranges::find_if(
          kObjects, [&](const ObjectStream& one) { return name.starts_with(one.prefix); });
      if (object == kObjects.end() || name.ends_with(".jsonl")) continue;
      MemoryArea area;
      area.container = id;
      area.kind = object->kind;
      area.address = std::nullopt;
      area.has_offset = true;
      auto opened = reader_->open(stream, task);
      auto walked = opened ? Status(Done{}) : Status(std::move(opened).error());
      const std::string_view plain = without_suffix(name, kZstd);
      if (walked && plain.ends_with(".tar") && object->kind != AreaKind::log) {
        const std::string below =
            object->kind == AreaKind::layer ? "" : std::string(without_suffix(plain, ".tar"));
        walked = walk_layer(**opened, area, below, watched, space, task);
      } else if (walked) {
        area.space = ++space;
        area.path = Bytes(std::string(name));
        walked = watched.enter(std::move(area));
        if (walked) walked = walk_object(**opened, watched, task);
      }
      if (walked) continue;
      if (auto go_on = failed(stream, std::move(walked).error()); !go_on) return go_on;
    }
  }
  if (query.pid == 0) tell_not_taken(task);
  if (any || query.pid <= 0) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not in " + name_};
}

// What is content and is not in the bundle, or not all of it: by plan, or because it was lost.
void BundleSnapshot::tell_not_taken(Task& task) {
  const auto tell = [&](const std::string& what, const std::string& why) {
    task.gaps.add(
        {Impact::degraded,
         "memory.pages",
         what,
         {Errc::unsupported, "not searched, it is not in the bundle" + (why.empty() ? "" : ": " + why)}});
  };
  for (const auto& [id, folder] : folders_) {
    const std::string upper = folder + "upper.tar";
    if (reader_->has(bulk_stream(upper))) continue;
    auto status = reader_->status(upper);
    if (!status) status = reader_->status(upper + std::string(kZstd));
    tell(upper, status ? status->why : std::string());
  }
  for (const std::string& stream : reader_->streams()) {
    const auto status = reader_->status(stream);
    const bool is_object = std::ranges::any_of(kObjects, [&](const ObjectStream& one) {
      return stream.find("/" + std::string(one.prefix)) != std::string::npos;
    });
    if (is_object && status && status->outcome != bundle::Outcome::collected) tell(stream, status->why);
  }
  std::uint64_t lost = 0;
  const Emit<GapRecord> count = [&](GapRecord&& gap) -> Status {
    lost += gap.impact == Impact::lost;
    return Done{};
  };
  if (!list_gaps(count, task)) return;
  if (lost > 0)
    tell(name_, counted(lost, "gap says", "gaps say") +
                    " what was lost when it was collected: ctriage show lists them");
}

// A process of which no memory was taken: zombies have none.
void BundleSnapshot::tell_no_memory(const Process& process, const std::string& pages, Task& task) const {
  if (process.state == "Z") return;
  const auto status = reader_->status(pages);
  task.gaps.add(
      {Impact::degraded,
       "memory.pages",
       "pid " + std::to_string(process.pid),
       {Errc::unsupported, "its memory is not in the bundle" +
                               (status && !status->why.empty() ? ": " + status->why : std::string())}});
}

}  // namespace ctriage::source
