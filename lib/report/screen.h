#pragma once
// The lines `collect` prints while it works and when it ends. Labels take 10 columns. Callers pass raw text:
// it is escaped here.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/finding.h"
#include "lib/report/report.h"

namespace ctriage::report {

struct Hint {  // a command and what it is for; both go to the "next" lines
  std::string command;
  std::string purpose;
};

struct Closing {  // the end of a collect
  std::int64_t took_ns = 0;
  int exit_status = 0;
  FindingTally findings;
  ChangeTally changes;
  bool changes_taken = false;  // false: no word about changes
  GapTally gaps;
  std::vector<std::string> left_out;  // by plan: "memory (not in this version)"
  std::string touched;                // "0 bytes in the container, 0 ms frozen, access times unchanged"
  Bytes bundle;                       // path; empty when there is none
  std::uint64_t bundle_bytes = 0;
  std::uint64_t recipients = 0;  // of the encryption; none: NOT ENCRYPTED
  std::string signed_by;         // fingerprint; empty: no word about it
  bool partial = false;          // still NAME.part
  bool every_gap = false;
  std::string sha256;
  std::vector<Hint> next;
  std::vector<std::pair<std::string, std::string>> keep;  // "keep pod" and the command that does it
};

class Screen {
 public:
  using Write = std::function<void(std::string_view)>;  // stderr; it may fail in silence
  Screen(Write write, Style style) : write_(std::move(write)), style_(style) {}

  // "target    shop/web on node: 2 containers"; `right` stands at the right edge where there is room.
  void line(std::string_view label, std::string_view text, std::string_view right = {}) const;
  // "1 state   0.6 s   9 processes, 31 sockets        sealed, digest 9f3c51aa07d2e61b"
  void phase(unsigned number, std::string_view name, std::int64_t took_ns, std::string_view text,
             std::string_view right = {}) const;
  // "   CRIT F1  pid 48213 runs a deleted file"
  void finding(const Finding& finding) const;
  void closing(const Closing& closing) const;

 private:
  Write write_;
  Style style_;
};

// The right-hand time of a line: "12:03:07.180Z".
std::string clock_text(Timestamp at);

}  // namespace ctriage::report
