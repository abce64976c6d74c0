#pragma once
// Which container of this node something belongs to: a path, a pid, an address, a port, a hash.
#include <string>
#include <string_view>
#include <vector>

#include "lib/source/live/live.h"

namespace ctriage::source {

struct Belongs {
  Container container;
  std::string as;      // pid, container, path, cgroup, address, port, program, image
  std::string detail;  // "layer 3, /usr/bin/x"; raw: it may be evidence
};

// Everything that `token` may mean is tried: bare digits are a pid; ":N" a port that somebody listens on, or
// has a connection from; 64 hexadecimal digits a container, a program or an image; "sha256:..." an image or a
// program; an IP address; else an absolute path on the node or of a cgroup; else a container by name or id.
// In the order of runtime::list_containers. What could not be looked into is a gap: nothing found is then not
// an answer.
Result<std::vector<Belongs>> whois(Node& node, const std::string& token, Task& task);

}  // namespace ctriage::source
