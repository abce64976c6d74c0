#pragma once
// What `search` and `strings` find.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class AreaKind : std::uint8_t {
  memory,
  shared,
  ghost,
  queue,
  pipe,
  ipc,
  tmpfs,
  layer,
  volume,
  program,
  log
};
constexpr auto enum_names(AreaKind) {
  return std::array<std::string_view, 11>{"memory", "shared", "ghost",  "queue",   "pipe", "ipc",
                                          "tmpfs",  "layer",  "volume", "program", "log"};
}

struct MemoryMatch {
  std::string container;
  std::optional<std::int32_t> pid;
  std::optional<std::int32_t> container_pid;
  AreaKind kind = AreaKind::memory;
  std::optional<Hex> address;
  std::string protection;
  Bytes path;
  std::optional<std::uint64_t> offset_bytes;
  Bytes pattern;
  std::uint64_t size_bytes = 0;
  Bytes before;
  Bytes bytes;
  Bytes after;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "its id");
    v("pid", self.pid, "the process whose memory it is in; of a shared object the first that maps it");
    v("container_pid", self.container_pid, "as the container sees it");
    v("kind", self.kind,
      "what has these bytes: memory: pages of a process; of a checkpoint also shared: shared memory or a "
      "memfd; ghost: a file without a name; queue: what sockets had not delivered; pipe; ipc: System V "
      "shared "
      "memory and messages; of a checkpoint or bundle tmpfs: a file in one; layer: a file that was changed; "
      "volume: a file of one; program: one that was running; log");
    v("address", self.address, "of the first byte");
    v("protection", self.protection, "of the mapping: rwxp or rwxs with - for what is not allowed");
    v("path", self.path, "mapped file, [heap], [stack], the object's name, or empty");
    v("offset_bytes", self.offset_bytes, "of the first byte in the mapped file or the object");
    v("pattern", self.pattern, "as it was given, or of the preset");
    v("size_bytes", self.size_bytes, "of the match: 4,096 at most");
    v("before", self.before, "what stands before it: 32 bytes at most, of the same run of pages");
    v("bytes", self.bytes, "the match");
    v("after", self.after, "what stands after it, likewise");
  }
};

enum class TextEncoding : std::uint8_t { ascii, utf16le };
constexpr auto enum_names(TextEncoding) { return std::array<std::string_view, 2>{"ascii", "utf16le"}; }

struct FoundString {
  std::string container;
  std::optional<std::int32_t> pid;
  std::optional<std::int32_t> container_pid;
  AreaKind kind = AreaKind::memory;
  std::optional<Hex> address;
  std::string protection;
  Bytes path;
  std::optional<std::uint64_t> offset_bytes;
  TextEncoding encoding = TextEncoding::ascii;
  std::string text;
  bool goes_on = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "its id");
    v("pid", self.pid, "the process whose memory it is in; of a shared object the first that maps it");
    v("container_pid", self.container_pid, "as the container sees it");
    v("kind", self.kind, "what has these bytes: as of match");
    v("address", self.address, "of the first character");
    v("protection", self.protection, "of the mapping: rwxp or rwxs with - for what is not allowed");
    v("path", self.path, "mapped file, [heap], [stack], the object's name, or empty");
    v("offset_bytes", self.offset_bytes, "of the first character in the mapped file or the object");
    v("encoding", self.encoding, "one byte a character, or two");
    v("text", self.text, "printable ASCII and tabs");
    v("goes_on", self.goes_on,
      "the next one of this encoding continues it: 4,096 characters at most are one");
  }
};

struct PatternCount {
  Bytes pattern;
  std::uint64_t matches = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("pattern", self.pattern, "as it was given, or of the preset");
    v("matches", self.matches, "how often it was found");
  }
};

// How a search ended: what was found, and how much of memory that can speak for.
struct SearchSummary {
  Bytes target;
  std::uint64_t matches = 0;
  std::uint64_t patterns = 0;
  std::uint64_t processes = 0;
  std::uint64_t objects = 0;
  std::uint64_t searched_bytes = 0;
  bool complete = false;
  std::vector<PatternCount> counts;
  std::int64_t took_ns = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("matches", self.matches, "or strings");
    v("patterns", self.patterns, "that were looked for");
    v("processes", self.processes, "whose memory was read");
    v("objects", self.objects, "shared memory, files without names, queues and the like that were read");
    v("searched_bytes", self.searched_bytes, "of all of them");
    v("complete", self.complete,
      "nothing of what was to be read was lost, nor left in swap or untouched: without it no match does not "
      "mean "
      "that nothing is there; the gaps say what else was not read");
    v("counts", self.counts, "of the patterns that were found, the most frequent first: 1,000 at most");
    v("took_ns", self.took_ns, "to read and search");
  }
};

template <>
inline constexpr std::string_view kKind<MemoryMatch> = "match";
template <>
inline constexpr std::string_view kKind<FoundString> = "string";
template <>
inline constexpr std::string_view kKind<PatternCount> = "pattern_count";
template <>
inline constexpr std::string_view kKind<SearchSummary> = "search_summary";

}  // namespace ctriage
