#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "cmd/completion.h"

namespace ctriage {

void add_completion(CLI::App& app, Action& chosen) {
  auto shell = std::make_shared<std::string>();
  CLI::App* sub = app.add_subcommand("completion", "Completion script for a shell");
  sub->group("Other");
  sub->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  sub->footer("Example:\n  ctriage completion bash > /etc/bash_completion.d/ctriage\n");
  sub->callback([shell, &app, &chosen] {
    chosen = [shell, &app](Io& io) {
      const Shell kind = *shell == "zsh" ? Shell::zsh : *shell == "fish" ? Shell::fish : Shell::bash;
      if (auto written = io.out(completion_script(app, kind)); !written) return fail(io, written.error());
      return Exit::complete;
    };
  });
}

}  // namespace ctriage
