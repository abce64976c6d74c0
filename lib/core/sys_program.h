#pragma once
// Becoming another program: part of sys.h, apart since few need it.
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"

namespace ctriage::sys {

// memfd_create(2): a file without a name, mode 0600, gone with its last descriptor.
Result<UniqueFd> nameless_file(std::string_view name);
// From now on a program that we become keeps it, under its number.
Status keep_over_exec(int fd);
// execveat(2) of the file itself, no name is looked up. Comes back only when it fails. `words`: the program's
// own name first; `environment`: NAME=VALUE.
Error become(int program, std::span<const std::string> words, std::span<const std::string> environment);

}  // namespace ctriage::sys
