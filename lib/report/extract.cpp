#include "lib/report/extract.h"

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

// What was not looked for is not "none": a gap of the kind says why.
bool is_untold(ObjectKind kind, const std::vector<GapRecord>& gaps) {
  const std::string artifact = "extract." + std::string(to_text(kind));
  return std::ranges::any_of(gaps, [&](const GapRecord& gap) { return gap.artifact == artifact; });
}

std::string count_text(const ObjectCount& count, const ExtractResult& result) {
  if (count.files == 0 && count.entries == 0 && count.incomplete == 0)
    return is_untold(count.kind, result.gaps) ? "none seen, and not all was looked at: the gaps say why"
                                              : "none";
  std::string out = counted(count.files, "file", "files") + ", " + human_size(count.size_bytes);
  if (count.data_bytes < count.size_bytes) out += " (" + human_size(count.data_bytes) + " without holes)";
  if (count.entries > 0) out += ", " + with_commas(count.entries) + " in the manifest alone";
  if (count.incomplete > 0) out += ", " + with_commas(count.incomplete) + " NOT WHOLE";
  if (count.files > 0) out += "   " + safe(result.directory.raw + "/" + std::string(to_text(count.kind)));
  return out;
}

}  // namespace

std::string extract_json(const ExtractResult& result) { return document(result); }

std::string extract_text(const ExtractResult& result, bool every_gap, const Style& style) {
  std::string out = labelled("target", safe(result.target.raw));
  for (const ObjectCount& count : result.counts)
    out += labelled(std::string(to_text(count.kind)), count_text(count, result));
  out += labelled("manifest", safe(result.manifest.raw) + "   what each was called; NOT ENCRYPTED");
  out += labelled("sha256", result.manifest_sha256 + "   of the manifest");
  out += labelled("done", seconds_text(result.took_ns) +
                              (result.complete ? "" : ", evidence was lost: the gaps say what"));
  GapTally gaps;
  for (const GapRecord& gap : result.gaps) gaps.add(gap);
  if (gaps.total() > 0) out += gaps_block(gaps, every_gap, style);
  return out;
}

}  // namespace ctriage::report
