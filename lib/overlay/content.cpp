#include "lib/overlay/content.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "lib/core/hash.h"
#include "lib/core/sys.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;  // hashed and passed on while it is in the cache
constexpr std::size_t kZeroBytes = 64 << 10;
constexpr std::uint64_t kMaxBridgeBytes =
    64 << 10;  // a hole up to this is read as zeros when there are too many runs

constexpr std::size_t kFewerRuns = kMaxRuns / 4 * 3;  // what bridging must reach, or it would never pay

// Makes fewer runs of too many by reading small holes as zeros.
void bridge(std::vector<archive::DataRun>& runs, std::uint64_t hole_bytes) {
  std::size_t kept = 0;
  for (std::size_t i = 1; i < runs.size(); ++i) {
    archive::DataRun& last = runs[kept];
    if (runs[i].offset_bytes - (last.offset_bytes + last.size_bytes) <= hole_bytes) {
      last.size_bytes = runs[i].offset_bytes + runs[i].size_bytes - last.offset_bytes;
    } else {
      runs[++kept] = runs[i];
    }
  }
  runs.resize(std::min(runs.size(), kept + 1));
}

}  // namespace

Runs find_runs(int fd, const FileInfo& info, std::string_view name) {
  Runs found;
  const std::uint64_t size = info.size_bytes;
  found.size_bytes = size;
  if (size == 0) return found;
  if (info.allocated_bytes >= size) {  // no hole worth two system calls
    found.runs.push_back({0, size});
    return found;
  }
  std::uint64_t at = 0;
  while (at < size) {
    const auto data = sys::lseek(fd, static_cast<std::int64_t>(at), SEEK_DATA, name);
    if (!data && data.error().number == ENXIO) break;  // only a hole is left
    const auto hole = data ? sys::lseek(fd, static_cast<std::int64_t>(*data), SEEK_HOLE, name) : data;
    if (!hole && hole.error().number == ENXIO) break;  // cut short meanwhile
    if (!hole) {                                       // not known to this file system
      found.runs.push_back({at, size - at});
      break;
    }
    const std::uint64_t begin = std::max(*data, at);
    const std::uint64_t end = std::min(*hole, size);
    if (begin >= size || end <= begin) break;
    if (end > kMaxRunOffset) {
      found.cut = "sparse: data from offset " + std::to_string(begin) + " on was not taken";
      break;
    }
    found.runs.push_back({begin, end - begin});
    at = end;
    if (found.runs.size() <= kMaxRuns) continue;
    for (std::uint64_t hole_bytes = 4 << 10;
         found.runs.size() > kFewerRuns && hole_bytes <= kMaxBridgeBytes;) {
      bridge(found.runs, hole_bytes);
      hole_bytes *= 2;
    }
    if (found.runs.size() > kFewerRuns) {
      found.cut = "sparse: over " + std::to_string(kMaxRuns) + " runs of data, from offset " +
                  std::to_string(end) + " on was not taken";
      break;
    }
  }
  std::uint64_t data_bytes = 0;
  for (const auto& run : found.runs) data_bytes += run.size_bytes;
  found.hole_bytes = size - data_bytes;
  return found;
}

bool looks_like_program(const std::array<char, 4>& magic) {
  return std::memcmp(magic.data(), "\177ELF", 4) == 0 || std::memcmp(magic.data(), "#!", 2) == 0;
}

ContentReader::ContentReader(Task& task) : task_(task), block_(kBlockBytes), zeros_(kZeroBytes) {}

Result<Content> ContentReader::read(int fd, const Runs& runs, std::string_view name, const OnData& on_data) {
  Content content;
  const bool hashing = !runs.cut && runs.hole_bytes <= std::min(kMaxHoleBytes, hole_bytes_left_);
  if (hashing) {
    hole_bytes_left_ -= runs.hole_bytes;
  } else {
    content.not_hashed =
        runs.cut ? *runs.cut : "sparse: " + std::to_string(runs.hole_bytes) + " bytes of holes not hashed";
  }
  const auto hash = hashing ? std::make_shared<LateSha256>() : nullptr;
  const auto hash_hole = [&](std::uint64_t bytes) -> Status {
    while (hashing && bytes > 0) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, zeros_.size()));
      hash->update(std::span<const std::byte>(zeros_).first(part));
      bytes -= part;
      if (bytes % kBlockBytes < part) {
        if (auto go_on = task_.check(); !go_on) return go_on;
      }
    }
    return Done{};
  };
  std::uint64_t at = 0;
  for (const auto& run : runs.runs) {
    if (auto status = hash_hole(run.offset_bytes - at); !status) return std::move(status).error();
    at = run.offset_bytes;
    for (const std::uint64_t end = at + run.size_bytes; at < end;) {
      if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
      const auto block =
          std::span(block_).first(static_cast<std::size_t>(std::min<std::uint64_t>(end - at, block_.size())));
      std::size_t got = 0;
      if (!content.failed) {
        auto read = sys::pread_full(fd, block, at, name);
        if (read) got = *read;
        task_.passed(got);
        if (!read) content.failed = std::move(read).error();
        if (!content.failed && got < block.size()) {
          content.failed =
              Error{Errc::truncated, std::string(name) + ": ends at " + std::to_string(at + got) + " of " +
                                         std::to_string(runs.size_bytes) + " bytes"};
        }
      }
      if (got < block.size()) {
        std::fill(block.begin() + static_cast<std::ptrdiff_t>(got), block.end(), std::byte{0});
        content.zeroed_bytes += block.size() - got;
      }
      if (at == 0)
        std::memcpy(content.magic.data(), block.data(), std::min(content.magic.size(), block.size()));
      const std::uint64_t hashed = hashing ? hash->size_bytes() : 0;
      if (on_data) {
        if (auto status = on_data(at, block, hash); !status) return std::move(status).error();
      }
      if (hashing && hash->size_bytes() == hashed) hash->update(block);
      at += block.size();
    }
  }
  if (auto status = hash_hole(runs.size_bytes - at); !status) return std::move(status).error();
  if (hashing && hash->size_bytes() != runs.size_bytes)
    throw std::logic_error(std::string(name) + ": hashed by half");
  if (hashing && !content.failed) content.sha256 = to_hex(hash->digest());
  if (content.failed) content.not_hashed = content.failed->what;
  return content;
}

}  // namespace ctriage::overlay
