#include "cmd/freeze.h"

#include <CLI/CLI.hpp>

#include "lib/core/text.h"
#include "lib/model/fields.h"

namespace ctriage {

void add_freeze_options(CLI::App& sub, FreezeArguments& arguments) {
  sub.add_option(
         "--freeze", arguments.mode,
         "while memory is read: auto (the container's cgroup, where that takes 250 ms at most; the default), "
         "cgroup, stop (SIGSTOP to the process) or none")
      ->check(CLI::IsMember({"auto", "cgroup", "none", "stop"}));
  sub.add_option("--freeze-max", arguments.most,
                 "the longest it may stand still at a time, 2s: probes fail beyond");
}

Result<source::FreezeChoice> freeze_choice_of(const FreezeArguments& arguments) {
  constexpr std::int64_t kMostSeconds = 3'600;
  source::FreezeChoice choice;
  choice.typed = !arguments.mode.empty();
  if (choice.typed)
    choice.mode = parse_enum<memory::FreezeMode>(arguments.mode).value_or(memory::FreezeMode::automatic);
  if (arguments.most.empty()) return choice;
  const auto seconds = parse_duration(arguments.most);
  if (!seconds || *seconds < 1 || *seconds > kMostSeconds)
    return Error{Errc::malformed, "--freeze-max " + arguments.most + ": not a time from 1s to 1h"};
  if (choice.mode == memory::FreezeMode::none)
    return Error{Errc::malformed, "--freeze-max: nothing is stopped with --freeze none"};
  choice.most_ns = *seconds * 1'000'000'000;
  return choice;
}

}  // namespace ctriage
