#pragma once
// The parts of one verdict. Private to lib/verdict and its tests.
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/seen.h"
#include "lib/model/snapshot.h"
#include "lib/verdict/knowledge.h"
#include "lib/verdict/package_book.h"
#include "lib/verdict/verdict.h"

namespace ctriage::verdict {

// One container and what its artifacts are held against.
struct Scene {
  Snapshot& snapshot;
  const Container& container;
  const Knowledge& known;
  std::optional<ImageFacts> image;  // none: the source has no layers of the image
  std::vector<Mount> mounts;
  std::map<std::int32_t, Process> processes;    // without environment, arguments cut
  std::map<std::string, std::string> resolved;  // name that was looked up -> path it leads to, empty: none
};

// What the image of the scene's container has. Nothing where its layers cannot be looked at.
std::optional<ImageFacts> find_image_facts(const Scene& scene, Task& task);

// The file that an interpreter was told to run, as argv names it: empty where there is none (a command line,
// a module, standard input). `family` is the interpreter's name without its version.
std::string_view script_argument(std::string_view family, const std::vector<Bytes>& argv);
// "/a/c" of "/a/b/../c"; `directory` in front of what is not absolute. Text only: no link is followed.
std::string absolute_path(std::string_view directory, std::string_view path);
// exe.tool and script filled in, and what was noticed. The environment is still there.
Seen look_at(Process& process, Scene& scene, Task& task);

// Whether a mapping is executable memory of no file.
bool is_anonymous_code(const Mapping& mapping);
// Of a checkpoint: whether more pages of a file's code are in it than the one that CRIU's own code was
// written over and put back. Only private copies are.
bool has_copied_code(const Mapping& mapping);
Seen look_at(const Socket& socket);
// Neither the runtime's own nor asked for by the spec.
Seen look_at(const Mount& mount, const Container& container);

// Whose lines of passwd, shadow, group and gshadow are new: a trait, and the names as proof. Neither where
// the file is no such one or cannot be read.
void look_at_accounts(const FileChange& change, Scene& scene, Seen& seen, Task& task);

// File changes of one container, one after the other.
class ChangeLook {
 public:
  explicit ChangeLook(Scene& scene) : scene_(scene), book_(scene) {}
  // content, package, tool and, where nothing needs a look, explained filled in. What cannot be read is a
  // gap.
  Seen look_at(FileChange& change, Task& task);

 private:
  void look_at_bytes(FileChange& change, Seen& seen, Task& task);
  void look_at_package(FileChange& change, Seen& seen, Task& task);

  Scene& scene_;
  PackageBook book_;
};

}  // namespace ctriage::verdict
