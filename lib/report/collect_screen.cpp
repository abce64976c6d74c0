#include "lib/report/collect_screen.h"

#include "lib/core/text.h"
#include "lib/report/text.h"

namespace ctriage::report {

CollectScreen::CollectScreen(Screen::Write write, Style style)
    : screen_(std::move(write), style), plain_([this](std::string_view text) { so_far_ += text; }, {}) {}

void CollectScreen::line(std::string_view label, std::string_view text, std::string_view right) const {
  screen_.line(label, text, right);
  plain_.line(label, text, right);
}

void CollectScreen::held(std::uint64_t files, std::uint64_t programs, std::uint64_t tmpfs, bool complete,
                         Timestamp at) const {
  std::string text = counted(files, "file", "files") + ", " + counted(programs, "program", "programs") +
                     ", " + with_commas(tmpfs) + " tmpfs are open now and outlive the container";
  if (!complete) text += "; not all of the upper layer fits";
  line("held", text, clock_text(at));
}

void CollectScreen::phase_ended(unsigned number, std::string_view name, std::int64_t took_ns,
                                std::string_view text, std::string_view digest) const {
  const std::string right = digest.empty() ? "" : "sealed, digest " + std::string(digest.substr(0, 16));
  for (const Screen* each : {&screen_, &plain_}) each->phase(number, name, took_ns, text, right);
}

void CollectScreen::found(const Finding& finding) {
  findings_.add(finding.severity);
  screen_.finding(finding);
  plain_.finding(finding);
}

void CollectScreen::gap(const Gap& gap) {
  if (gap.artifact == "atime") link_times_kept_ = false;
  gaps_.add(gap);
}

std::string CollectScreen::summary_text(std::int64_t took_ns, bool changes_known) const {
  return so_far_ + labelled("took", std::to_string(took_ns / 1'000'000) + " ms") +
         labelled("findings", findings_.text() + (changes_known ? "; " + changes_.text() : "")) +
         gaps_block(gaps_, true, {});
}

void CollectScreen::close(Closing closing) const {
  closing.findings = findings_;
  closing.changes = changes_;
  closing.gaps = gaps_;
  screen_.closing(closing);
}

std::string touched_text(const CollectResult& result, bool link_times_kept) {
  const std::int64_t grown = result.resident_growth_bytes / 1024;
  const std::int64_t tenths = result.cpu_ns / 100'000'000;
  return "0 bytes in the container, " + milliseconds_text(result.frozen_ns) + " frozen, its memory " +
         std::string(grown < 0 ? "" : "+") + std::to_string(grown) + " KiB, " +
         (link_times_kept ? "access times unchanged, " : "access times of links may have changed, ") +
         std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " CPU s";
}

}  // namespace ctriage::report
