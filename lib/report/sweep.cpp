#include "lib/report/sweep.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMostFindings = 3;  // of a container on the screen
constexpr std::size_t kMostMatches = 20;  // of a container on the screen
constexpr std::size_t kMostShared = 20;
constexpr std::size_t kMostPlaces = 4;  // of a shared thing
constexpr std::size_t kNameColumns = 48;
constexpr std::string_view kInner = "        ";

bool is_remarkable(const SweptContainer& swept) {
  return !swept.matches.empty() || std::ranges::any_of(swept.findings, [](const Finding& finding) {
    return finding.severity > Severity::info;
  });
}

FindingTally tally_of(const SweptContainer& swept) {
  FindingTally tally;
  for (const Finding& finding : swept.findings) tally.add(finding.severity);
  return tally;
}

std::string container_lines(const SweptContainer& swept, const Style& style) {
  const FindingTally tally = tally_of(swept);
  const auto worst = tally.worst();
  const bool now = !swept.matches.empty() || (worst && *worst >= Severity::high);
  std::string said = tally.total() == 0 ? "" : tally.text();
  if (swept.findings_left_out > 0) said += " and " + with_commas(swept.findings_left_out) + " more";
  if (!swept.matches.empty())
    said += (said.empty() ? "" : ", ") + counted(swept.matches.size(), "indicator", "indicators");
  if (said.empty()) said = counted(swept.processes, "process", "processes") + ", nothing to remark";
  std::string out = (now ? "!! " : "   ") + pad_right(safe(container_name(swept.container)), kNameColumns) +
                    " " + said + "\n";
  for (std::size_t i = 0; i < std::min(kMostMatches, swept.matches.size()); ++i) {
    const IndicatorMatch& match = swept.matches[i];
    std::string line =
        std::string(kInner) + "IOC  " + safe(match.indicator.raw) + "  " + safe(match.where.raw);
    if (match.pid) line += ", pid " + std::to_string(*match.pid);
    out += fit(line, style.width) + "\n";
  }
  std::size_t shown = 0;
  for (const Finding& finding : swept.findings) {
    if (finding.severity == Severity::info || shown++ == kMostFindings) break;
    const std::string word = pad_right(severity_word(finding.severity), 4);
    out += std::string(kInner) + painted(finding.severity, word, style) + " " +
           fit(safe(finding.what.raw), style.width == 0 ? 0 : style.width - kInner.size() - 5) + "\n";
  }
  return out;
}

std::string shared_lines(const SweepResult& result, const Style& style) {
  std::string out;
  for (std::size_t i = 0; i < std::min(kMostShared, result.shared.size()); ++i) {
    const SharedThing& shared = result.shared[i];
    std::vector<std::string> places;
    for (std::size_t j = 0; j < std::min(kMostPlaces, shared.places.size()); ++j)
      places.push_back(safe(shared.places[j].raw));
    std::string line = shared.kind + " " +
                       safe(shared.value.raw.substr(0, shared.kind == "sha256" ? 12 : 64)) + " in " +
                       join(places, ", ");
    if (shared.places.size() > kMostPlaces)
      line += " and " + with_commas(shared.places.size() - kMostPlaces) + " more";
    out += labelled(i == 0 ? "shared" : "", fit(line, style.width == 0 ? 0 : style.width - kLabelColumns));
  }
  if (result.shared.size() > kMostShared)
    out += labelled("", with_commas(result.shared.size() - kMostShared) + " more shared things: --json");
  return out;
}

}  // namespace

std::string sweep_text(const SweepResult& result, const SweepOptions& options, const Style& style) {
  std::uint64_t containers = 0;
  std::uint64_t plain = 0;
  std::uint64_t matches = 0;
  std::string body;
  std::string worst;
  GapTally gaps;
  for (const GapRecord& gap : result.gaps) gaps.add(gap);
  for (const SweptTarget& target : result.targets) {
    for (const GapRecord& gap : target.gaps) gaps.add(gap);
    if (target.error)
      body += "?? " + pad_right(safe(target.target.raw), kNameColumns) +
              " NOT SWEPT: " + safe(target.error->raw) + "\n";
    for (const SweptContainer& swept : target.containers) {
      ++containers;
      matches += swept.matches.size();
      if (!is_remarkable(swept) && !options.all) {
        ++plain;
        continue;
      }
      if (worst.empty() && is_remarkable(swept)) worst = container_name(swept.container);
      body += container_lines(swept, style);
    }
  }
  std::string out = "node " + safe(result.node.raw) + "   " + counted(containers, "container", "containers") +
                    " in " + counted(result.targets.size(), "pod or container", "pods and containers") +
                    " swept in " + seconds_text(static_cast<std::int64_t>(result.took_ns)) + "\n" + body;
  if (plain > 0)
    out += fmt::format("   {} with nothing above info (--all)\n", counted(plain, "container", "containers"));
  for (const Finding& finding : result.replicas)
    out += labelled("replica", painted(finding.severity, severity_word(finding.severity), style) + " " +
                                   fit(safe(finding.what.raw), style.width == 0 ? 0 : style.width - 16));
  out += shared_lines(result, style);
  if (result.indicators > 0)
    out += labelled("looked for", counted(result.indicators, "indicator", "indicators") + ", " +
                                      (matches == 0 ? std::string("none seen")
                                                    : "found " + counted(matches, "time", "times")));
  for (const Bytes& left : result.left_out) out += labelled("left out", safe(left.raw));
  out += gaps_block(gaps, options.every_gap, style);
  if (worst.empty()) return out;
  const std::string word = shell_word(worst);
  return out + next_lines("next",
                          {{"ctriage show " + word, "what runs there"},
                           {"ctriage collect " + word + " -o DIR", "take it"}},
                          style);
}

std::string sweep_json(const SweepResult& result) { return document(result); }

}  // namespace ctriage::report
