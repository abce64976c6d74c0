#pragma once
#include "cmd/commands.h"

namespace ctriage {

void add_extract(CLI::App& app, const Common& common, Action& chosen);

}  // namespace ctriage
