#pragma once
// What `scan --yara` finds.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/finding.h"
#include "lib/model/kinds.h"
#include "lib/model/search.h"

namespace ctriage {

struct YaraMeta {
  std::string name;
  Bytes value;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "as the rule has it");
    v("value", self.value, "whole numbers in decimal, true or false: 1,024 bytes at most");
  }
};

struct YaraString {
  std::string id;
  std::optional<Hex> address;
  std::optional<std::uint64_t> offset_bytes;
  std::uint64_t size_bytes = 0;
  Bytes bytes;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("id", self.id, "$name of the string");
    v("address", self.address, "of the first byte in the process");
    v("offset_bytes", self.offset_bytes, "of the first byte in the mapped file or the object");
    v("size_bytes", self.size_bytes, "of what it matched");
    v("bytes", self.bytes, "of that the first 64");
  }
};

struct YaraMatch {
  std::string rule;
  std::string file;
  Severity severity = Severity::medium;
  std::vector<std::string> tags;
  std::vector<YaraMeta> meta;
  std::string container;
  std::optional<std::int32_t> pid;
  std::optional<std::int32_t> container_pid;
  AreaKind kind = AreaKind::memory;
  std::optional<Hex> address;
  std::string protection;
  Bytes path;
  std::optional<std::uint64_t> offset_bytes;
  std::vector<YaraString> strings;
  std::uint64_t string_count = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("rule", self.rule, "its name");
    v("file", self.file, "of the rule");
    v("severity", self.severity, "its meta 'severity' where it is one of these, else medium");
    v("tags", self.tags, "of the rule: 64 at most");
    v("meta", self.meta, "of the rule: 64 at most");
    v("container", self.container, "its id");
    v("pid", self.pid, "the process whose memory it is in, or that has or runs the file");
    v("container_pid", self.container_pid, "as the container sees it");
    v("kind", self.kind, "what has these bytes: as of match");
    v("address", self.address, "of the first string, else of the first byte that was looked at");
    v("protection", self.protection, "of the mapping: rwxp or rwxs with - for what is not allowed");
    v("path", self.path, "mapped file, [heap], [stack], the object's name, or empty");
    v("offset_bytes", self.offset_bytes, "likewise, in the mapped file or the object");
    v("strings", self.strings, "what matched, by offset: of each string the first 8, and 64 in all");
    v("string_count", self.string_count, "all that matched; a rule may need none");
  }
};

template <>
inline constexpr std::string_view kKind<YaraMeta> = "yara_meta";
template <>
inline constexpr std::string_view kKind<YaraString> = "yara_string";
template <>
inline constexpr std::string_view kKind<YaraMatch> = "yara_match";

}  // namespace ctriage
