#pragma once
// --freeze and --freeze-max of dump and collect.
#include <string>

#include "lib/source/live/freezers.h"

namespace CLI {
class App;
}

namespace ctriage {

struct FreezeArguments {
  std::string mode;  // empty: not typed
  std::string most;
};

void add_freeze_options(CLI::App& sub, FreezeArguments& arguments);
// Errc::malformed names the option.
Result<source::FreezeChoice> freeze_choice_of(const FreezeArguments& arguments);

}  // namespace ctriage
