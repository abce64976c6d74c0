#pragma once
// Places of the node from which something is run, trusted or loaded: what a container that broke out leaves
// behind. Each file there that is newer than the pod is named; nobody can set ctime and birth time.
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/node.h"

namespace ctriage::source {

enum class Keep : std::uint8_t {
  name,   // opened by nobody
  hash,   // secrets, programs
  bytes,  // and the bytes of small ones
};

struct Watched {
  std::string group;
  std::string path;    // a file or a directory; begins with "/"
  unsigned depth = 1;  // levels of directories below it
  Keep keep = Keep::bytes;
};

// `passwd`: the node's, for the homes. `static_pods` where the kubelet's configuration names it.
std::vector<Watched> watched_places(std::string_view passwd, const std::string& release,
                                    const std::string& kubelet_root, const std::string& static_pods);
// The directories that users start in, passwd(5).
std::vector<std::string> parse_homes(std::string_view passwd);
// The value of a top-level key of a kubelet configuration, YAML or JSON: "staticPodPath".
std::string find_config_value(std::string_view text, std::string_view key);

struct NewerFile {
  NodeFact fact;
  std::optional<std::string> bytes;
};

struct NewerOptions {
  Timestamp since;
  // Whether a file system that asks a server, which may never answer, is mounted at or above this path.
  std::function<bool(std::string_view path)> asks_server;
  std::size_t most_entries = 200'000;
  std::uint64_t most_hashed_bytes = std::uint64_t{1} << 30;
  std::uint64_t most_bytes = 16 << 20;  // that are kept
};
// What changed there since. A place that does not exist is no gap.
Status list_newer(const Root& root, std::span<const Watched> places, const NewerOptions& options,
                  const Emit<NewerFile>& emit, Task& task);

}  // namespace ctriage::source
