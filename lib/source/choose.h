#pragma once
// Which process of a source --pid means.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/source/target.h"

namespace ctriage::source {

// A process as --pid names it: "N", or "N@CONTAINER", where N is the pid inside that container.
struct PidChoice {
  std::int32_t pid = 0;   // 0: none was named
  std::string container;  // by name; empty: the pid is that of the source
};
// Errc::malformed for what is neither.
Result<PidChoice> parse_pid_choice(std::string_view text);

// Whether the source is a file or a directory, by its form or because there is one of that name: then
// open_source() gives no live target.
bool is_file_source(const TargetQuery& query);

struct ChosenProcess {
  std::string container;   // id
  std::string name;        // of the container
  std::int32_t pid = 0;    // as the records of the source have it
  std::int32_t inner = 0;  // inside of its container; 0: it has none, or that is not known
};

// All that are meant: several where the source has several containers whose pids are their own, and none was
// named. Errc::not_found: there is none, or no such container. What cannot be seen is told by who reads the
// process.
Result<std::vector<ChosenProcess>> choose_process(Snapshot& snapshot, const PidChoice& choice,
                                                  const Task& task);
// The one that is meant. Errc::mismatch where several are: the message lists them.
Result<ChosenProcess> choose_one(Snapshot& snapshot, const PidChoice& choice, const Task& task);

}  // namespace ctriage::source
