#pragma once
// Subcommands for a finished bundle in other hands.
#include "cmd/commands.h"

namespace ctriage {

void add_pack(CLI::App& app, const Common& common, Action& chosen);
// custody show, custody add, custody check.
void add_custody(CLI::App& app, const Common& common, Action& chosen);
void add_receive(CLI::App& app, const Common& common, Action& chosen);

}  // namespace ctriage
