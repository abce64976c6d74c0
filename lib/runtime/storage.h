#pragma once
// containers/storage, where Podman and CRI-O keep layers and the names of containers:
//
//   <graph root>/<driver>-containers/containers.json, volatile-containers.json (CRI-O's, and podman run --rm)
//   <graph root>/<driver>/<layer>/{diff,work,merged,link,lower}
//   file = [{id, names: [text], image, layer, created, metadata: JSON as text}]    containers/storage
//   containers.go metadata = {image-name, image-id, name, pod-name, pod-id, namespace, uid, ...}  of Podman
//   and of CRI-O
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"

namespace ctriage::runtime {

struct StorageRecord {
  std::string id;
  std::string name;
  std::string image_name;
  std::string image_id;
  std::string layer;
  std::string pod_name;
  std::string pod_id;
  std::string pod_namespace;
  std::string pod_uid;
  std::string container_name;  // Kubernetes' own, CRI-O's "metadata-name"
  std::optional<Timestamp> created_at;
};
Result<std::vector<StorageRecord>> parse_storage_records(std::string_view json);

struct Storage {
  std::string graph_root;
  std::string driver;
  std::uint32_t owner = 0;                       // who could have written what it says
  std::map<std::string, StorageRecord> records;  // by id
  std::map<std::string, std::string> files;      // id -> the file that has it
};

// The storage that `inside`, a path on the node, lies in: the graph root is one of the directories above it.
// A file that is damaged is a gap and its records are missing.
class Storages {
 public:
  const Storage* find(const Root& node, std::string_view inside, Task& task);
  // All that were found so far, with the node they were found on.
  struct Known {
    FileInfo identity;  // of the directory with the records
    Root node;
    Storage storage;
  };
  [[nodiscard]] const std::vector<Known>& all() const { return all_; }

 private:
  std::vector<Known> all_;
};

// Container::engine_namespace of a user's engine: "uid N"; nothing for root's.
Bytes namespace_of(std::uint32_t uid);

// What the storage knows and the spec does not: name, image.
void complete(const StorageRecord& record, Container& into);

}  // namespace ctriage::runtime
