// The ends of `collect` and `verify`: one JSON document each, and verify's lines.
#include "lib/core/text.h"
#include "lib/report/collect_screen.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string verdict_text(const VerifyResult& result) {
  switch (result.verdict) {
    case Soundness::whole:
      return "whole: every byte is as it was sealed";
    case Soundness::wrong:
      return "WRONG";
    case Soundness::cut:
      return "CUT: it ends early, what is there is whole so far; vouched for up to phase " +
             (result.last_phase ? safe(result.last_phase->raw) : std::string("(none)"));
  }
  return "?";
}

std::string custody_text(const VerifyResult& result) {
  std::string out = "no records";
  if (result.custody_records > 0) {
    out = counted(result.custody_records, "record", "records") + ", chain " +
          (result.verdict == Soundness::wrong ? "see problems" : "unbroken");
  }
  return out;
}

std::string stream_line(const SalvagedStream& stream) {
  return labelled(stream.whole ? "whole" : "PARTLY", safe(stream.stream.raw) + "   " +
                                                         human_size(stream.size_bytes) +
                                                         (stream.why ? "   " + safe(stream.why->raw) : ""));
}

}  // namespace

std::string collect_json(const CollectResult& result) { return document(result); }
std::string whois_json(const WhoisResult& result) { return document(result); }

std::string whois_text(const WhoisResult& result) {
  std::string out;
  for (const WhoisMatch& match : result.matches) {
    std::string name = match.pod ? safe(match.pod->ns) + "/" + safe(match.pod->name) + "/" : std::string();
    name += safe(match.name.raw);
    out += name + "  " + short_id(match.container) + "  " + match.as + ": " + safe(match.detail.raw) + "\n";
  }
  return out;
}

std::string plan_json(const PlanResult& plan) { return document(plan); }

std::string plan_text(const PlanResult& plan, const Style& style) {
  const std::vector<Column> columns{
      {"TAKES", 12}, {"GROUP", 6}, {"GONE WITH", 9}, {"ABOUT", 6, true}, {"WHAT", 0}};
  std::string out = labelled("target", safe(plan.target.raw)) + table_head(columns);
  for (const PlannedStep& step : plan.steps) {
    const std::string size = step.size_bytes ? column_size(*step.size_bytes) : "-";
    out += table_row(columns,
                     {step.name, step.group, step.gone_with, step.left_out ? "-" : size,
                      step.left_out ? "left out (" + *step.left_out + "): " + step.what : step.what},
                     style);
  }
  return out + "about " + std::to_string(plan.seconds) +
         " s, and what has no size yet. Nothing was taken. --only and --skip take names of either column.\n";
}

std::string verify_json(const VerifyResult& result) { return document(result); }

std::string verify_text(const VerifyResult& result, bool every_gap, const Style& style) {
  std::string out = labelled("bundle", safe(result.path.raw) + "   " + human_size(result.size_bytes) + ", " +
                                           counted(result.members, "member", "members") + ", " +
                                           counted(result.streams, "stream", "streams"));
  out += labelled("verdict", verdict_text(result));
  for (const Bytes& problem : result.problems) out += labelled("problem", safe(problem.raw));
  if (result.problem_count > result.problems.size()) {
    out += labelled("problem", "and " + with_commas(result.problem_count - result.problems.size()) + " more");
  }
  if (result.encrypted) out += labelled("encrypted", "with age; it was read with the identity given");
  if (result.signed_by) {
    out += labelled("signed", "by " + *result.signed_by + ", " +
                                  (result.signer ? "which is " + safe(result.signer->raw)
                                                 : "nobody said whether to trust it (--signers)"));
  } else if (result.manifest_sha256) {
    out += labelled("signed", "no");
  }
  out += labelled("custody", custody_text(result));
  for (const SalvagedStream& stream : result.not_whole) out += stream_line(stream);
  GapTally gaps;
  for (const GapRecord& gap : result.gaps) gaps.add(gap);
  if (gaps.total() > 0) out += gaps_block(gaps, every_gap, style);
  if (result.manifest_sha256) {
    out += labelled("sha256", *result.manifest_sha256 +
                                  "   of manifest.json; compare it with the one noted down: --digest");
  }
  if (!result.salvage) {
    if (result.verdict != Soundness::cut) return out;
    return out + next_lines("next", {{"ctriage verify --salvage " + shell_word(result.path.raw), ""}}, style);
  }
  for (const SalvagedStream& stream : *result.salvage) out += stream_line(stream);
  if (result.salvaged_into)
    out += labelled("written", "what can be read, to " + safe(result.salvaged_into->raw));
  return out;
}

}  // namespace ctriage::report
