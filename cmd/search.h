#pragma once
#include "cmd/commands.h"

namespace ctriage {

// search and strings.
void add_search(CLI::App& app, const Common& common, Action& chosen);
void add_strings(CLI::App& app, const Common& common, Action& chosen);

}  // namespace ctriage
