#pragma once
// What a run takes and what it leaves out, and about how much that is.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/collect/collect.h"

namespace ctriage::collect {

// The collectors that --only, --skip and --memory leave: names of groups or of collectors. "containers" is
// always taken, "processes" where "programs", "libraries" or memory is, and "mappings" where libraries or
// memory are: nothing can be told of those without them. Errc::malformed for a name that is none, with those
// that are.
Result<LeftOut> leave_out(std::span<const std::string> only, std::span<const std::string> skip,
                          MemoryMode memory = MemoryMode::automatic);

// In LeftOut: it is no option that leaves it out.
constexpr std::string_view kGone = "has ended";
// Adds what a target of which nothing runs has no more.
void leave_out_gone(const source::LiveSnapshot& snapshot, LeftOut& left_out);

struct PlanLine {
  const Collector* collector = nullptr;
  std::string left_out;                // by which option; empty: it is taken
  std::optional<std::uint64_t> bytes;  // before compression; absent: not known before it is read
};
// In the order of taking. Of a snapshot that holds already.
std::vector<PlanLine> plan_of(const source::LiveSnapshot& snapshot, const LeftOut& left_out,
                              const MemoryOptions& memory);

// About how long that takes, from what was measured of reading, hashing and writing (bench/): not a promise.
double estimated_seconds(std::span<const PlanLine> plan);

}  // namespace ctriage::collect
