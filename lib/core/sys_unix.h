#pragma once
// Connecting to a socket of the file system, unix(7): part of sys.h, apart since few need it. Before the
// sandbox; sending and receiving go on inside.
#include <string>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"

namespace ctriage::sys {

Result<UniqueFd> unix_connect(const std::string& path);  // a stream that never waits: EAGAIN

}  // namespace ctriage::sys
