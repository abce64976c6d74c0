#pragma once
// Which memory a person means, of what looks through memory: search, strings and scan.
#include <string>

#include "cmd/commands.h"
#include "cmd/pid_option.h"
#include "lib/model/pages.h"

namespace ctriage {

struct MemoryChoice {
  source::PidChoice pid;
  bool all = false;
  std::string file_pages = "changed";
  SwapIn swap_in = SwapIn::automatic;
};

// The options of a source, too. `of_pid` says what --pid narrows to.
void add_memory_options(CLI::App& sub, source::TargetQuery& query, MemoryChoice& choice, const char* of_pid);
// `token` is the source as typed: pid:N means N alone unless --all. `container`: the one that --pid
// N@CONTAINER means, else left as it is.
Result<MemoryQuery> memory_query_of(Snapshot& snapshot, const MemoryChoice& choice, const std::string& token,
                                    std::string& container, const Task& task);

}  // namespace ctriage
