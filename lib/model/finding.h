#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

enum class Severity : std::uint8_t { info, low, medium, high, critical };
constexpr auto enum_names(Severity) {
  return std::array<std::string_view, 5>{"info", "low", "medium", "high", "critical"};
}

// In Finding::next: whoever shows the finding puts what its reader would type for the source there.
constexpr std::string_view kSourcePlaceholder = "{source}";

struct Finding {  // an artifact that a rule names; "consistent with", never "compromised"
  std::string id;
  std::string key;
  std::string rule;
  std::string title;
  Severity severity = Severity::info;
  std::vector<std::string> attack;
  std::string artifact;
  std::string container;
  std::optional<std::int32_t> pid;
  std::optional<Bytes> path;
  Bytes what;
  std::optional<Timestamp> at;
  Bytes next;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("id", self.id, "F1, F2, ... in the order of discovery, fixed in a bundle");
    v("key", self.key, "short hash of rule and artifact, the same in every run");
    v("rule", self.rule, "rule id");
    v("title", self.title, "of the rule");
    v("severity", self.severity, "info < low < medium < high < critical");
    v("attack", self.attack, "MITRE ATT&CK techniques");
    v("artifact", self.artifact, "kind of the artifact: process, file_change, ...");
    v("container", self.container, "container id");
    v("pid", self.pid, "of a process");
    v("path", self.path, "of a file or program");
    v("what", self.what, "what was seen, in one line");
    v("at", self.at, "when it happened, as far as the artifact tells");
    v("next", self.next,
      "the command that shows more; in a bundle {source} stands for what the reader would type for it, views "
      "fill it in");
  }
};

}  // namespace ctriage
