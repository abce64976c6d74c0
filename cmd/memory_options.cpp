#include "cmd/memory_options.h"

#include <CLI/CLI.hpp>

namespace ctriage {

void add_memory_options(CLI::App& sub, source::TargetQuery& query, MemoryChoice& choice, const char* of_pid) {
  add_target_options(sub, query);
  add_spool_option(sub, query.spool);
  add_label_option(sub, query.labels);
  auto* pid = add_pid_option(sub, choice.pid, of_pid);
  sub.add_flag("--all", choice.all, "the whole container of pid:N")->excludes(pid);
  sub.add_option("--file-pages", choice.file_pages,
                 "of mapped files, live: changed (private copies) or all (every page in memory)")
      ->check(CLI::IsMember({"changed", "all"}));
  add_swap_option(sub, choice.swap_in);
}

Result<MemoryQuery> memory_query_of(Snapshot& snapshot, const MemoryChoice& choice, const std::string& token,
                                    std::string& container, const Task& task) {
  MemoryQuery query;
  query.pid = choice.pid.pid;
  if (!choice.pid.container.empty()) {
    const auto chosen = source::choose_one(snapshot, choice.pid, task);
    if (!chosen) return chosen.error();
    query.pid = chosen->pid;
    container = chosen->container;
  }
  if (query.pid == 0 && !choice.all) {
    const auto of_token = source::parse_pid_token(token);
    if (of_token && *of_token) query.pid = **of_token;
  }
  query.all_file_pages = choice.file_pages == "all";
  query.swap_in = choice.swap_in;
  return query;
}

}  // namespace ctriage
