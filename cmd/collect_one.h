#pragma once
// `collect` of one target: for itself, or as one of several, which hold at the same time and are taken one
// after the other.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cmd/collect_to.h"
#include "cmd/commands.h"
#include "cmd/freeze.h"
#include "cmd/seal_options.h"
#include "lib/collect/collect.h"
#include "lib/model/outcome.h"
#include "lib/report/collect_screen.h"
#include "lib/source/live/live.h"

namespace ctriage {

struct CollectArguments {
  source::TargetQuery query;         // what all targets share; its token is `targets`
  std::vector<std::string> targets;  // as typed
  bool all_pods = false;
  bool memory_typed = false;
  std::string output;
  bool ack = false;  // of output "-"
  ToArguments to;
  std::string compress = "zstd";
  std::string max_bytes;
  std::string volume_max;
  std::string deadline;
  std::string wait;
  std::string memory = "auto";
  SwapIn swap_in = SwapIn::automatic;
  std::string memory_each;
  std::string memory_max;
  FreezeArguments freeze;
  std::string file_pages = "changed";
  std::vector<std::string> only;
  std::vector<std::string> skip;
  std::vector<std::string> attach;
  bool plan = false;
  SealArguments seal;
  collect::Case about;
};

// What the arguments mean; anything wrong with them is a matter of usage.
struct Wanted {
  std::uint64_t max_bytes = UINT64_MAX;
  std::uint64_t volume_max_bytes = collect::kVolumeMaxBytes;
  std::optional<std::int64_t> deadline_s;
  std::optional<std::int64_t> wait_s;
  collect::LeftOut left_out;
  collect::MemoryOptions memory;
};

// Anything wrong with the arguments is a matter of usage.
Result<Wanted> wanted_of(const CollectArguments& arguments);

// What is left for this one and those after it.
struct Share {
  std::int64_t deadline_ns = INT64_MAX;
  std::uint64_t bytes = UINT64_MAX;
  std::uint64_t after = 0;  // how many come after this one
};
// Of `total` as much as leaves `least`, or an equal part, to each that comes after.
std::uint64_t own_share(std::uint64_t total, std::uint64_t after, std::uint64_t least);

// Called when the target is held; gives its share when its turn has come.
using TakeTurn = std::function<Result<Share>(source::LiveSnapshot& snapshot)>;

struct OneTarget {
  const CollectArguments& arguments;
  const Wanted& wanted;
  const Common& common;
  source::TargetQuery query;
  std::size_t hold_share = 1;  // HoldOptions::share
  TakeTurn turn;               // none: it is the only one
};

struct Taken {
  CollectResult result;
  std::optional<std::vector<ExportDestination>> sent;  // with --to
  Exit exit = Exit::complete;
  std::uint64_t critical = 0;
  std::uint64_t high = 0;
};
// The bundle, and the screen through `io`.
Result<Taken> collect_one(const OneTarget& one, Io& io);

// --plan: nothing is taken.
Result<PlanResult> plan_one(const OneTarget& one, GapLog& gaps, Io& io);

}  // namespace ctriage
