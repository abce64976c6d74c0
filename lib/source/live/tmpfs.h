#pragma once
// Which tmpfs of a container's mount table are its own. A pod sees many: its /dev/shm and emptyDirs of
// memory, which are gone with it, but also its secrets and whatever of the node's /run was mounted into it.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/process.h"

namespace ctriage::source {

// Of a directory on the node, by the names that the kubelet gives, which no pod can choose:
// <kubelet>/pods/UID/volumes/kubernetes.io~<kind>/NAME.
bool is_empty_dir(std::string_view source);
bool is_secret(std::string_view source);  // a secret, a projected token, configuration

enum class TmpfsOwner : std::uint8_t {
  container,  // made for it, or by itself: gone with it
  secrets,    // secrets, projected tokens, configuration that the kubelet put there
  node,       // a part of the node's that was mounted into it
};

// Where on the node the directory or file lies that `mount` shows, by device and root: the mount table tells
// it, whatever the spec says. Empty: on no file system that the node has mounted.
std::string true_source(const Mount& mount, const std::vector<Mount>& of_node);
TmpfsOwner owner_of_tmpfs(const Mount& mount, const std::vector<Mount>& of_node);

}  // namespace ctriage::source
