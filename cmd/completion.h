#pragma once
// Shell completion generated from the same tree of subcommands and options that --help prints.
#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace ctriage {

enum class Shell : std::uint8_t { bash, zsh, fish };

// A script for the shell to source. Walks the app: hidden subcommands and options (empty group) are left out.
std::string completion_script(const CLI::App& app, Shell shell);

}  // namespace ctriage
