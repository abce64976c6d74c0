#include "lib/runtime/layers.h"

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {
namespace {

constexpr std::size_t kMaxLowerBytes = 64 << 10;  // 500 layers of 29 bytes are the most that Docker makes

// `directory` holds all layers: <directory>/<layer>/{diff, lower}.
Result<RootLayers> read_layer(const Root& node, const std::string& directory, const std::string& layer) {
  if (!is_identifier(layer)) return Error{Errc::malformed, "layer " + layer + ": not a name of a directory"};
  RootLayers found{directory, layer + "/diff", {}};
  const std::string file = directory + "/" + layer + "/lower";
  const auto lower = node.read_file_in_root(file, kMaxLowerBytes);
  if (!lower) return Error(lower.error()).within("the layers below are not known");
  for (const std::string_view name : split(trim(*lower), ':')) {
    if (name.empty()) return Error{Errc::malformed, file + ": an empty name: half-written?"};
    found.lowers.emplace_back(name);
  }
  return found;
}

Result<RootLayers> find_docker_layers(const Root& node, const Container& container) {
  const std::string& root = container.engine_root.raw;
  const std::string mounts = root + "/image/overlay2/layerdb/mounts/" + container.id;
  const auto id = node.read_file_in_root(mounts + "/mount-id", kMaxLineBytes);
  if (id) return read_layer(node, root + "/overlay2", std::string(trim(*id)));
  if (id.error().code != Errc::not_found) return Error(id.error()).within(mounts);
  // The image store of Docker 29 is containerd's, its own or that of the node.
  const std::string space = container.engine_namespace.empty() ? "moby" : container.engine_namespace.raw;
  for (const std::string& of : {root + "/containerd/daemon", root, std::string("/var/lib/containerd")}) {
    auto found = find_snapshot_layers(node, of, space, container.id);
    if (found || found.error().code != Errc::not_found) return found;
  }
  return Error{Errc::not_found,
               mounts + ": neither overlay2 nor an image store of containerd has layers of it"};
}

Result<RootLayers> find_storage_layers(const Root& node, const Container& container, Task& task) {
  constexpr std::string_view kDriver = "/overlay";
  const std::string directory = container.engine_root.raw + std::string(kDriver);
  Storages storages;
  const Storage* storage = storages.find(node, directory + "/x", task);
  if (storage == nullptr)
    return Error{Errc::unsupported, container.engine_root.raw + ": no records of the storage driver overlay"};
  const auto record = storage->records.find(container.id);
  if (record == storage->records.end())
    return Error{Errc::not_found, container.engine_root.raw + ": the storage has no record of it"};
  return read_layer(node, directory, record->second.layer);
}

}  // namespace

Result<RootLayers> find_layers(const Root& node, const Container& container, Task& task) {
  if (container.engine_root.empty())
    return Error{Errc::not_found, "where its engine keeps its files is not known"};
  if (container.engine == "docker") return find_docker_layers(node, container);
  if (container.engine == "podman" || container.engine == "cri-o")
    return find_storage_layers(node, container, task);
  if (container.engine == "containerd") {
    return find_snapshot_layers(node, container.engine_root.raw, container.engine_namespace.raw,
                                container.id);
  }
  return Error{Errc::unsupported, "layers of " + container.engine + " are not known to this version"};
}

}  // namespace ctriage::runtime
