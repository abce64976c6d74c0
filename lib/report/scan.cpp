#include "lib/report/scan.h"

#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kShownStrings = 3;  // of a match; JSON has more

std::string where_of(const YaraMatch& match, const SearchOptions& options) {
  std::string text;
  if (options.containers.size() > 1) {
    const auto known = options.containers.find(match.container);
    text = known == options.containers.end() ? std::string("-  ") : safe(known->second) + "  ";
  }
  if (match.pid) text += "pid " + std::to_string(*match.pid) + "  ";
  if (match.address) {
    text += JsonWriter::hex_text(*match.address);
  } else {
    text +=
        std::string(to_text(match.kind)) + " +" + JsonWriter::hex_text(Hex{match.offset_bytes.value_or(0)});
  }
  if (!match.protection.empty()) text += " " + safe(match.protection);
  if (!match.path.empty()) text += " " + safe(match.path.raw);
  return text;
}

std::string match_text(const YaraMatch& match, const SearchOptions& options) {
  std::string text = painted(match.severity, pad_right(severity_word(match.severity), 5), options.style) +
                     safe(match.rule) + "  " + where_of(match, options) + "\n";
  std::size_t shown = 0;
  for (const YaraString& string : match.strings) {
    if (shown++ >= kShownStrings) break;
    const std::string at = string.address ? JsonWriter::hex_text(*string.address)
                                          : "+" + JsonWriter::hex_text(Hex{string.offset_bytes.value_or(0)});
    text += "       " + pad_right(at, 16) + safe(string.id) + "  " + safe(string.bytes.raw) + "\n";
  }
  if (match.string_count > shown && shown > 0)
    text += "       " +
            counted(match.string_count - std::min<std::uint64_t>(shown, kShownStrings), "string more",
                    "strings more") +
            "\n";
  return text;
}

std::string end_text(const SearchEnd& end, const SearchOptions& options) {
  const SearchSummary& summary = end.summary;
  std::string out =
      "-- " + (summary.matches > 0 ? counted(summary.matches, "match", "matches") : "no match") + " of " +
      counted(summary.patterns, "rule", "rules") + " in " + human_size(summary.searched_bytes) + " of " +
      counted(summary.processes, "process", "processes") + " and " +
      counted(summary.objects, "object", "objects");
  if (!summary.complete) out += ": NOT all of it could be looked at, see the gaps";
  out += ", " + seconds_text(summary.took_ns, 2) + "\n";
  GapTally gaps;
  for (const GapRecord& gap : end.gaps) gaps.add(gap);
  if (gaps.total() > 0) out += gaps_block(gaps, options.every_gap, options.style);
  return out;
}

Status scan_json(const std::function<Status(const Emit<YaraMatch>&)>& run,
                 const std::function<SearchEnd()>& end, Format format, const Out& out) {
  Document document(format, out);
  document.begin("ctriage.scan/1");
  auto done = document.many<YaraMatch>(
      "matches", [&](const auto& take) { return run([&](YaraMatch&& found) { return take(found); }); });
  if (!done) return done;
  const SearchEnd ended = end();
  const bool lines = format == Format::jsonl;
  if (!lines) done = document.one("summary", ended.summary);
  if (done) {
    done = document.many<GapRecord>("gaps", [&](const auto& take) -> Status {
      for (const GapRecord& gap : ended.gaps) {
        if (auto taken = take(gap); !taken) return taken;
      }
      return Done{};
    });
  }
  if (done && lines) done = document.one("summary", ended.summary);
  return done ? document.end() : done;
}

}  // namespace

Status scan_report(const std::function<Status(const Emit<YaraMatch>&)>& run,
                   const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out) {
  if (options.format != Format::text) return scan_json(run, end, options.format, out);
  if (auto done = run([&](YaraMatch&& match) { return out(match_text(match, options)); }); !done) return done;
  return out(end_text(end(), options));
}

}  // namespace ctriage::report
