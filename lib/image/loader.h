#pragma once
// Where the loader of an image looks for libraries. Not for other modules.
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/task.h"
#include "lib/elf/elf_file.h"
#include "lib/image/files.h"

namespace ctriage::image {

struct LoaderSettings {
  bool musl = false;
  std::vector<std::string> environment;  // of LD_LIBRARY_PATH
  std::vector<std::string> directories;  // configured, then its own
};
// For programs with this interpreter. A configuration that cannot be read is a gap.
LoaderSettings read_loader(Files& files, std::string_view interpreter, std::string_view machine,
                           std::string_view library_path, Task& task);

// A directory of RPATH with $ORIGIN and $LIB in their place.
std::string expand(std::string_view directory, std::string_view origin, std::string_view machine);

}  // namespace ctriage::image
