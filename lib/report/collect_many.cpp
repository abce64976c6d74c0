#include "lib/report/collect_many.h"

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/collect_screen.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string findings_text(std::uint64_t critical, std::uint64_t high, std::uint64_t all) {
  if (all == 0) return "no finding";
  std::string text;
  if (critical > 0) text += with_commas(critical) + " critical, ";
  if (high > 0) text += with_commas(high) + " high, ";
  return text + counted(all, "finding", "findings") + " in all";
}

void add_left_out(const std::vector<Bytes>& left_out, std::string& out) {
  for (std::size_t i = 0; i < left_out.size(); ++i)
    out += labelled(i == 0 ? "left out" : "", safe(left_out[i].raw));
}

}  // namespace

std::string taken_line(std::size_t number, std::size_t of, const CollectedTarget& taken) {
  std::string text = safe(taken.target.raw) + "   ";
  if (taken.bundle) {
    const CollectResult& bundle = *taken.bundle;
    text += seconds_text(bundle.took_ns) + ", exit " + std::to_string(taken.exit_status) + ": " +
            findings_text(taken.critical, taken.high, bundle.counts.findings) +
            (bundle.counts.changes ? "; " + counted(*bundle.counts.changes, "change", "changes") : "") +
            (bundle.counts.gaps_lost > 0 ? "; " + with_commas(bundle.counts.gaps_lost) + " LOST" : "") +
            "; " + human_size(bundle.size_bytes) + (bundle.not_sealed ? ", NOT SEALED (.part)" : "");
  }
  if (taken.error)
    text += "NO BUNDLE, exit " + std::to_string(taken.exit_status) + ": " + safe(taken.error->raw);
  return labelled(std::to_string(number) + " of " + std::to_string(of), text);
}

std::string collect_many_text(const CollectManyResult& result, bool every_gap, const Style& style) {
  std::uint64_t critical = 0;
  std::uint64_t high = 0;
  std::uint64_t findings = 0;
  std::uint64_t complete = 0;
  std::uint64_t sealed = 0;
  GapTally gaps;
  for (const GapRecord& gap : result.gaps) gaps.add(gap);
  for (const CollectedTarget& taken : result.bundles) {
    critical += taken.critical;
    high += taken.high;
    if (!taken.bundle) continue;
    findings += taken.bundle->counts.findings;
    complete += taken.bundle->complete;
    sealed += taken.bundle->manifest_sha256.has_value();
    for (GapRecord gap : taken.bundle->gaps) {
      gap.origin = Bytes(taken.target.raw + ": " + gap.origin.raw);
      gaps.add(gap);
    }
  }
  std::string out = labelled(
      "done", seconds_text(result.took_ns) + ", exit " + std::to_string(result.exit_status) + ": of " +
                  counted(result.bundles.size(), "target", "targets") + " " + with_commas(sealed) +
                  (sealed == 1 ? " has" : " have") + " a bundle, " + with_commas(complete) + " complete");
  out += labelled("findings", findings_text(critical, high, findings));
  out += gaps.total() == 0 ? labelled("gaps", "none") : gaps_block(gaps, every_gap, style);
  add_left_out(result.left_out, out);
  const bool plain = std::any_of(
      result.bundles.begin(), result.bundles.end(),
      [](const CollectedTarget& taken) { return taken.bundle && taken.bundle->encrypted_to.empty(); });
  const std::string encrypted = result.bundles.empty() || plain ? ", NOT ENCRYPTED" : ", encrypted";
  out += labelled("bundles",
                  human_size(result.size_bytes) + encrypted + "; note the digests down, off this node");
  std::vector<std::pair<std::string, std::string>> hints;
  for (const CollectedTarget& taken : result.bundles) {
    if (!taken.bundle) continue;
    out += labelled(
        "", (taken.bundle->manifest_sha256 ? *taken.bundle->manifest_sha256 : std::string("not sealed")) +
                "   " + safe(taken.bundle->path.raw));
    if (!taken.bundle->encrypted_to.empty()) continue;
    if (hints.empty() || taken.critical > 0) {
      if (hints.size() < 3)
        hints.emplace_back("ctriage show " + shell_word(taken.bundle->path.raw), "what was seen");
    }
  }
  return out + next_lines("next", hints, style);
}

std::string collect_many_json(const CollectManyResult& result) { return document(result); }
std::string plan_many_json(const PlanManyResult& result) { return document(result); }

std::string plan_many_text(const PlanManyResult& result, const Style& style) {
  std::string out;
  for (const PlanResult& plan : result.plans) out += plan_text(plan, style) + "\n";
  add_left_out(result.left_out, out);
  return out + counted(result.plans.size(), "target", "targets") + ": about " +
         std::to_string(result.seconds) + " s in all, one after the other.\n";
}

}  // namespace ctriage::report
