#pragma once
// Which containers a checkpoint has and where the parts of each lie, told apart by content:
// lib/criu/FORMAT.md, "Layouts".
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/container.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

enum class CheckpointForm : std::uint8_t { images, podman, crio, containerd, docker, ctr };
std::string_view to_text(CheckpointForm form);  // "CRIU images", "Podman", "kubelet/CRI-O", ...
// Podman and CRI-O look for changed files at their paths on the node, not in the container: a changed file of
// the image is in the tar only where the node happens to have one of that name. Whiteouts are not in it.
bool leaves_out_changes(CheckpointForm form);
// deleted.files of Podman and CRI-O.
constexpr std::string_view kDeletedFiles = "deleted.files";

struct CheckpointPart {  // one container
  CheckpointForm form = CheckpointForm::images;
  Container container;
  std::optional<Timestamp> taken_at;
  bool restored = false;  // it came from a checkpoint itself

  CheckpointStore* images = nullptr;  // null: there are none
  std::string image_dir;              // "checkpoint/", or empty
  CheckpointStore* base = nullptr;    // where the engine's files are; null: none
  std::string base_dir;
  CheckpointStore* layer_store = nullptr;  // of the changes of the root file system; null: not there
  std::string layer;
};

struct Checkpoint {
  std::vector<std::unique_ptr<archive::BytesAt>> blobs;  // that stores are made of; outlive them
  std::vector<std::unique_ptr<CheckpointStore>> stores;
  std::vector<CheckpointPart> parts;
};

// Errc::malformed: nothing of a checkpoint is in it.
Result<Checkpoint> find_checkpoints(std::unique_ptr<CheckpointStore> store, const Task& task);

// What lies in JSON, records_json.cpp.
struct OciDescriptor {
  std::string media_type;
  std::string digest;  // "sha256:" and 64 digits: checked
  std::uint64_t size_bytes = 0;
};
struct OciIndex {
  std::vector<OciDescriptor> manifests;
  std::vector<OciDescriptor> layers;
  std::string image;  // annotation org.opencontainers.image.ref.name
};
Result<OciIndex> parse_oci_index(std::string_view json);

struct ConfigDump {
  std::string id, name, image, image_id;
  std::optional<Timestamp> created_at, checkpointed_at;
  bool restored = false;
  std::vector<Bytes> labels;
};
Result<ConfigDump> parse_config_dump(std::string_view json);
// "ID" of Docker's config.v2.json.
Result<std::string> parse_docker_id(std::string_view json);
// containerd's `status`: when the container started, and the node's pid of its init.
struct ContainerdStatus {
  std::optional<Timestamp> created_at, started_at;
  std::int32_t pid = 0;
};
Result<ContainerdStatus> parse_containerd_status(std::string_view json);
Result<std::vector<std::string>> parse_string_list(std::string_view json);

}  // namespace ctriage::source
