#pragma once
// What a verdict says beside its findings.
#include <cstdint>
#include <string>

#include "lib/core/values.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct ExplainedChanges {
  std::string reason;
  std::uint64_t changes = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("reason", self.reason, "why these file changes need no look");
    v("changes", self.changes, "how many there are");
  }
};
template <>
inline constexpr std::string_view kKind<ExplainedChanges> = "explained";

struct ExplainedChange {
  std::string container;
  Bytes path;
  std::string reason;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("path", self.path, "in the container");
    v("reason", self.reason, "why this change needs no look");
  }
};
template <>
inline constexpr std::string_view kKind<ExplainedChange> = "explained_change";

struct VerdictCounts {  // file changes: changes = named + explained + other
  std::uint64_t changes = 0;
  std::uint64_t named = 0;
  std::uint64_t explained = 0;
  std::uint64_t other = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("changes", self.changes, "file changes that were judged; a bundle's findings were judged before, too");
    v("named", self.named, "of these a rule names");
    v("explained", self.explained, "of these need no look");
    v("other", self.other, "neither: plain data");
  }
};
template <>
inline constexpr std::string_view kKind<VerdictCounts> = "changes";

struct KeptBack {  // findings that somebody does not want to see
  std::string rule;
  std::string reason;
  std::string until;
  bool expired = false;
  std::uint64_t findings = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("rule", self.rule, "rule id; empty: of any rule");
    v("reason", self.reason, "of the suppression, or known good: the files are in --known-good");
    v("until", self.until, "last day of the suppression; empty: for good");
    v("expired", self.expired, "that day is over: these are findings again");
    v("findings", self.findings, "that it keeps back, or would");
  }
};
template <>
inline constexpr std::string_view kKind<KeptBack> = "kept_back";

}  // namespace ctriage
