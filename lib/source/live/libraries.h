#pragma once
// Files that members have mapped as code beside their own programs: the loader, shared libraries, what was
// put into a process. lib/collect/SEMANTICS.md.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/process.h"

namespace ctriage::source {

struct Node;
struct LiveContainer;
struct HeldProgram;

constexpr std::size_t kMaxLibraries = 8'192;           // of one container
constexpr std::size_t kMaxLibraryPathBytes = 2 << 20;  // of all their paths

struct LibraryId {  // as /proc/PID/maps has it
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::string path;
  auto operator<=>(const LibraryId&) const = default;
};

struct Library {
  std::int32_t pid = 0;  // one that maps it, and where
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  Origin origin = Origin::unknown;
  std::optional<std::string> sha256;  // of what is not the image's
  std::uint64_t size_bytes = 0;
  std::shared_ptr<HeldProgram> file;  // none: no descriptor was left, or it could not be looked at
};

// A mapping that may be executed and is of a file, one in memory too. Not the kernel's own and not shared
// anonymous memory, of which there is no file to take.
bool maps_code(const Mapping& mapping);
LibraryId library_id(const Mapping& mapping);
// Mapped from where the image is not: what a rule names.
bool is_foreign(Origin origin);

// Looks at each of the files that process `pid` has mapped as code and that is not known yet:
// live.libraries has them then. What could not be looked at is a gap and "unknown".
Status find_libraries(Node& node, LiveContainer& live, std::int32_t pid, Task& task);
// Its bytes from the beginning. Errc::vanished where nobody that we know has it mapped any more.
Result<std::unique_ptr<ByteSource>> read_library(Node& node, LiveContainer& live, const LibraryId& id,
                                                 Task& task);

}  // namespace ctriage::source
