#pragma once
// What of a live target may be made to stand still while its memory is read, and by which switch. The rules
// are in lib/memory/SEMANTICS.md, "Freeze".
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "lib/core/task.h"
#include "lib/memory/dump.h"
#include "lib/proc/freezer.h"
#include "lib/source/live/cgroups.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

struct FreezeChoice {
  memory::FreezeMode mode = memory::FreezeMode::automatic;
  bool typed = false;  // by the user: static pods are frozen then, too
  std::int64_t most_ns = memory::kMostFreezeNs;
};

class Freezers {
 public:
  Freezers(const Node& node, const FreezeChoice& choice) : node_(node), choice_(choice) {}
  // For a dump of the process. Where nothing may be stopped that is told, once a container.
  memory::FreezeOptions options_for(const LiveContainer& live, std::int32_t pid, Task& task);
  // How long that took: with `auto` a container stands for kMostFreezeNs in all.
  void stood(const LiveContainer& live, std::int64_t frozen_ns);

 private:
  struct OfContainer {
    std::optional<proc::Freezer> freezer;
    std::int64_t frozen_ns = 0;
    bool told = false;
  };
  Result<proc::Freezer> of_container(const LiveContainer& live, Task& task);
  Result<proc::Freezer> of_process(const LiveContainer& live, std::int32_t pid);
  // ctriage and those that started it.
  [[nodiscard]] Result<std::set<std::int32_t>> list_ours() const;
  [[nodiscard]] std::optional<Error> forbids(std::int32_t pid);
  [[nodiscard]] std::optional<Error> forbids(const LiveContainer& live, const proc::Freezer& freezer);
  std::uint64_t most_kept_bytes(Task& task);

  const Node& node_;
  const FreezeChoice& choice_;
  std::map<std::string, OfContainer> by_container_;
  std::optional<proc::Freezer> of_process_;
  std::optional<std::uint64_t> most_kept_bytes_;
  std::optional<Result<std::set<std::int32_t>>> ours_;
};

}  // namespace ctriage::source
