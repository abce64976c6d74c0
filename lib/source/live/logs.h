#pragma once
// The log files of a container: what lies in the directory that its engine names.
#include <functional>
#include <string>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/model/file.h"

namespace ctriage::source {

// `log` lacks nothing but the stream it went to; `directory` is where it lies, for who opens it.
using TakeLog = std::function<void(LogFile&& log, const Root& directory, const std::string& name)>;
// Every regular file there, rotated ones too. `node`: whose path `container.log_dir` is. What is none, or
// cannot be one, is a gap.
void each_log(const Root& node, const Container& container, const TakeLog& take, Task& task);

}  // namespace ctriage::source
