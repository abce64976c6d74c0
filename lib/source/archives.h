#pragma once
// `list DIR`: the checkpoints and bundles that lie in files and directories, told apart by content.
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/archive.h"

namespace ctriage::source {

// Each of `paths` is a file or a directory. No link is followed, nothing but regular files is opened, no page
// of memory is read; a compressed archive is unpacked until the engine's records were met, or the limit. In
// the sandbox, which stays. An archive that is damaged is listed with what is wrong, which is a gap, too, as
// is what could not be looked at. Errc::not_found, denied: one of `paths`.
Result<ArchiveList> list_archives(const std::vector<std::string>& paths, Task& task);

}  // namespace ctriage::source
