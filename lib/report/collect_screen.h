#pragma once
// What `collect` tells a person while it runs, and the same words as the bundle's SUMMARY.txt; its JSON at
// the end.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/model/outcome.h"
#include "lib/report/screen.h"

namespace ctriage::report {

class CollectScreen {
 public:
  CollectScreen(Screen::Write write, Style style);

  void line(std::string_view label, std::string_view text, std::string_view right = {}) const;
  void held(std::uint64_t files, std::uint64_t programs, std::uint64_t tmpfs, bool complete,
            Timestamp at) const;
  // `digest`: of the bundle so far, in hexadecimal; empty where the phase has none.
  void phase_ended(unsigned number, std::string_view name, std::int64_t took_ns, std::string_view text,
                   std::string_view digest) const;
  void found(const Finding& finding);
  void changed(ChangeKind kind) { changes_.add(kind); }
  void gap(const Gap& gap);
  // What is known before the seal.
  [[nodiscard]] std::string summary_text(std::int64_t took_ns, bool changes_known) const;
  // Fills in what the screen has counted and closes it.
  void close(Closing closing) const;

  [[nodiscard]] std::optional<Severity> worst() const { return findings_.worst(); }
  [[nodiscard]] bool link_times_kept() const { return link_times_kept_; }

 private:
  std::string so_far_;
  Screen screen_;
  Screen plain_;  // the same words for SUMMARY.txt: no colour, 120 columns
  FindingTally findings_;
  ChangeTally changes_;
  GapTally gaps_;
  bool link_times_kept_ = true;
};

// "0 bytes in the container, 0 ms frozen, its memory +4 KiB, access times unchanged, 2.1 CPU s".
std::string touched_text(const CollectResult& result, bool link_times_kept);

// "ctriage.collect/1", "ctriage.whois/1", "ctriage.plan/1" and "ctriage.verify/1".
std::string collect_json(const CollectResult& result);
std::string whois_json(const WhoisResult& result);
// One line per match; gaps are told elsewhere.
std::string whois_text(const WhoisResult& result);
std::string plan_json(const PlanResult& plan);
std::string plan_text(const PlanResult& plan, const Style& style);
std::string verify_json(const VerifyResult& result);
std::string verify_text(const VerifyResult& result, bool every_gap, const Style& style);

}  // namespace ctriage::report
