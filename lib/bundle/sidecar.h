#pragma once
// NAME.custody.jsonl beside a bundle: later hands, one record each, chained to the bundle. FORMAT.md, "Later
// hands".
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/stored.h"
#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/core/values.h"

namespace ctriage::bundle {

constexpr std::size_t kMaxHandLine = 64 << 10;
constexpr std::size_t kMaxHands = 100'000;
constexpr std::size_t kMaxHandText = 16 << 10;  // of each: by, action, note

struct Attached {
  std::string name;  // "B.attach/report.pdf"
  std::uint64_t size_bytes = 0;
  Digest digest{};
};

struct Hand {  // one record
  std::uint64_t seq = 0;
  std::string at;  // RFC 3339
  std::string by;
  std::string action;
  std::string note;
  std::string of;  // of the first: what `previous` is the SHA-256 of, kOfManifest or kOfFile
  std::optional<Attached> attached;
  Digest previous{};
};

// The line with its '\n'.
std::string hand_line(const Hand& hand);
// A line without it. Errc::malformed; mismatch when the line is not as it was written.
Result<Hand> parse_hand(std::string_view line);

struct Sidecar {
  std::vector<Hand> hands;
  std::vector<std::string> problems;  // what is wrong, each in a line
  Digest last{};                      // SHA-256 of the last line
};
std::string sidecar_name(std::string_view stem);
// Reads the chain. Attached files are not looked at.
Result<Sidecar> read_sidecar(ByteSource& in);
// The sidecar of a bundle: nothing when there is none. Compares the first record with `name` and the attached
// files with what was noted.
Result<std::optional<Sidecar>> check_sidecar(const Root& beside, const std::string& stem,
                                             const Stored::Name& name, const Task& task);

struct NewHand {
  std::string by;
  std::string action;
  std::string note;
  std::string attach;  // path of a file, which is copied; empty: none
};
// Appends a record under a lock and syncs it. Errc::mismatch when what is there is wrong; then nothing is
// added.
Result<Hand> add_hand(const Root& beside, const std::string& stem, const Stored::Name& name,
                      const NewHand& hand, const Task& task);

}  // namespace ctriage::bundle
