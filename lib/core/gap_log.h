#pragma once
// Where everything that we could not see is written down. A sink, not a hoard: each gap goes out at once, the
// first kMaxGapsPerKind of a kind in full, the rest as one count per kind.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lib/core/result.h"

namespace ctriage {

enum class Impact : std::uint8_t {
  note,      // by plan, or this kind of source cannot know
  degraded,  // weaker than it looks
  lost,      // evidence is missing: exit status 3
};

struct Gap {
  Impact impact = Impact::lost;
  std::string artifact;  // stable key for the report: "proc.process"
  std::string
      origin;  // the way to the byte: "layer-3.tar!etc/passwd+0x1f0". Raw bytes of evidence are allowed
  Error error;
};

class GapLog {
 public:
  using Sink = std::function<void(const Gap&)>;
  // Without a sink the gaps are kept (at most kMaxGapsPerKind of each kind) and kept() gives them.
  explicit GapLog(Sink sink = nullptr) : sink_(std::move(sink)) {}

  void add(const Gap& gap);
  // One more gap per kind that overflowed, saying how many were counted and not written. Once, at the end.
  void finish();

  [[nodiscard]] std::uint64_t count(Impact impact) const;
  [[nodiscard]] std::uint64_t total() const;
  [[nodiscard]] const std::vector<Gap>& kept() const { return kept_; }
  // Workers fill their own log; they are merged in input order, so that a report never depends on scheduling.
  void merge(GapLog&& other);

 private:
  using Kind = std::tuple<Impact, std::string, Errc>;
  void pass_on(const Gap& gap);

  Sink sink_;
  std::map<Kind, std::uint64_t> seen_;
  std::vector<Gap> kept_;
};

}  // namespace ctriage
