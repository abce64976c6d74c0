#pragma once
// `diff A B`.
#include "cmd/commands.h"
#include "lib/source/choose.h"

namespace ctriage {

struct DiffTwoArguments {
  source::TargetQuery before;
  source::TargetQuery after;
  bool processes = false;
  bool files = false;  // open ones, as show's
  bool sockets = false;
  bool mounts = false;
  bool maps = false;
  bool memory = false;
  bool changes = false;  // of files
  bool all = false;
  source::PidChoice pid;  // as the container sees it

  [[nodiscard]] bool names_a_section() const {
    return processes || files || sockets || mounts || maps || memory || changes;
  }
};

Exit run_diff_two(const DiffTwoArguments& arguments, const Common& common, Io& io);

}  // namespace ctriage
