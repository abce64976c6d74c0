#include "lib/report/dump.h"

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string process_text(const DumpedProcess& process) {
  std::string out = "pid " + std::to_string(process.pid) + ", " + safe(process.exe.raw) + ": " +
                    human_size(process.data_bytes) + " of memory (" + human_size(process.mapped_bytes) +
                    " mapped, " + human_size(process.left_bytes) + " left out";
  if (process.lost_bytes > 0) out += ", " + human_size(process.lost_bytes) + " LOST";
  return out + "), " + counted(process.threads, "thread", "threads") + " (" +
         with_commas(process.threads_with_registers) + " with registers), " +
         counted(process.segments, "segment", "segments") + ", " + seconds_text(process.took_ns) + ", " +
         (process.frozen && process.frozen_ns == 0 ? "was frozen already"
                                                   : milliseconds_text(process.frozen_ns) + " frozen") +
         (process.stopped_ns > 0 ? ", " + milliseconds_text(process.stopped_ns) + " stopped for registers"
                                 : "");
}

}  // namespace

std::string dump_json(const DumpResult& result) { return document(result); }

std::string dump_text(const DumpResult& result, bool every_gap, const Style& style) {
  std::string out;
  for (const DumpedProcess& process : result.processes) {
    out += labelled("memory", process_text(process));
    out += labelled("core", safe(process.core.raw) + "   " + human_size(process.size_bytes) +
                                ", NOT ENCRYPTED; what each page is: " + safe(process.pages.raw));
    out += labelled("sha256", process.sha256 + "   of the core");
    out += labelled("", process.pages_sha256 + "   of the ranges");
    out += labelled("open", safe(process.opens_with.raw));
    if (process.start_ticks == 0)  // of a checkpoint, which has none
      out += labelled("", "with the image's files: their directory in place of /nonexistent");
  }
  GapTally gaps;
  for (const GapRecord& gap : result.gaps) gaps.add(gap);
  if (gaps.total() > 0) out += gaps_block(gaps, every_gap, style);
  return out;
}

}  // namespace ctriage::report
