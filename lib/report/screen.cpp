#include "lib/report/screen.h"

#include <fmt/format.h>

#include "lib/core/text.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxGapLines = 6;

std::string with_right(std::string line, std::string_view right, const Style& style) {
  if (right.empty()) return line;
  const std::string shown = safe(right);
  const std::size_t has = display_width(line) + display_width(shown) + 2;
  if (style.width == 0 || has > style.width) return line + "  " + shown;
  return pad_right(std::move(line), style.width - display_width(shown)) + shown;
}

}  // namespace

void Screen::line(std::string_view label, std::string_view text, std::string_view right) const {
  write_(with_right(pad_right(safe(label), kLabelColumns - 1) + ' ' + safe(text), right, style_) + '\n');
}

void Screen::phase(unsigned number, std::string_view name, std::int64_t took_ns, std::string_view text,
                   std::string_view right) const {
  const std::string head = pad_right(fmt::format("{} {}", number, safe(name)), kLabelColumns - 1);
  write_(with_right(fmt::format("{} {:<7} {}", head, seconds_text(took_ns), safe(text)), right, style_) +
         '\n');
}

void Screen::finding(const Finding& finding) const {
  write_(fmt::format("   {} {}  {}\n",
                     painted(finding.severity, pad_right(severity_word(finding.severity), 4), style_),
                     pad_right(safe(finding.id), 3), safe(finding.what.raw)));
}

void Screen::closing(const Closing& closing) const {
  std::string out;
  std::string done = fmt::format("{}, exit {}", seconds_text(closing.took_ns), closing.exit_status);
  const auto lost = closing.gaps.count(Impact::lost);
  if (lost > 0) done += ": " + counted(lost, "gap", "gaps");
  out += labelled("done", done);
  std::string findings = closing.findings.text();
  if (closing.changes_taken) findings += "; " + closing.changes.text();
  out += labelled("findings", findings);
  const auto gaps = closing.gaps.lines(closing.every_gap ? SIZE_MAX : kMaxGapLines);
  if (gaps.empty()) out += labelled("gaps", "none");
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    out +=
        labelled(i == 0 ? "gaps" : "", fit(gaps[i], closing.every_gap ? 0 : 2 * std::size_t{style_.width}));
  }
  for (std::size_t i = 0; i < closing.left_out.size(); ++i) {
    out += labelled(i == 0 ? "left out" : "", safe(closing.left_out[i]));
  }
  if (!closing.touched.empty()) out += labelled("touched", safe(closing.touched));
  if (!closing.bundle.empty()) {
    out += labelled(
        "bundle", fmt::format("{}   {}{}{}", safe(closing.bundle.raw), human_size(closing.bundle_bytes),
                              closing.recipients > 0
                                  ? ", encrypted to " + counted(closing.recipients, "recipient", "recipients")
                                  : ", NOT ENCRYPTED",
                              closing.partial ? ", NOT SEALED (.part)" : ""));
  }
  if (!closing.signed_by.empty()) out += labelled("signed", "by " + safe(closing.signed_by));
  if (!closing.sha256.empty()) {
    out += labelled("sha256", safe(closing.sha256) + "   note it down, off this node");
  }
  std::vector<std::pair<std::string, std::string>> hints;
  for (const Hint& hint : closing.next) hints.emplace_back(hint.command, hint.purpose);
  out += next_lines("next", hints, style_);
  for (const auto& [label, command] : closing.keep) out += labelled(label, safe(command));
  write_(out);
}

std::string clock_text(Timestamp at) {
  const std::string text = to_rfc3339(at);
  return text.size() > 23 && text[0] != '@' ? text.substr(11, 12) + 'Z' : text;
}

}  // namespace ctriage::report
