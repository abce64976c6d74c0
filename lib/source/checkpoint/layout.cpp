#include "lib/source/checkpoint/layout.h"

#include <algorithm>
#include <array>
#include <set>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/records.h"
#include "lib/runtime/runtime.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kInventory = "inventory.img";
constexpr std::size_t kMaxIndexDepth = 3;
constexpr std::size_t kMaxStores = 16;  // the archive and those in it
constexpr std::string_view kCriuTar = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
constexpr std::string_view kSpecBlob = "application/vnd.containerd.container.checkpoint.config.v1+proto";

// "a/b/" of "a/b/c", empty of "c".
std::string directory_of(std::string_view name) {
  const auto slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(name.substr(0, slash + 1));
}

// The same without its last directory: "a/" of "a/b/".
std::string above(std::string_view directory) {
  return directory.empty() ? std::string() : directory_of(directory.substr(0, directory.size() - 1));
}

class Finder {
 public:
  Finder(Checkpoint& into, const Task& task) : into_(into), task_(task) {}

  // Everything in one store: image directories, engine files without images, OCI layouts.
  Status look_into(CheckpointStore& store, std::size_t depth) {
    std::vector<std::string> bases;
    for (const auto& [name, file] : store.files()) {
      if (file.type != FileType::regular) continue;
      const std::string directory = directory_of(name);
      const std::string_view base = std::string_view(name).substr(directory.size());
      if (base == kInventory) {
        if (auto added = add_images(store, directory); !added) return added;
        bases.push_back(above(directory));
      } else if (base == "config.dump" && store.find(directory + "spec.dump") != nullptr) {
        engine_dirs_.emplace_back(&store, directory);
      }
    }
    for (const auto& [owner, directory] : engine_dirs_) {
      if (owner != &store || std::ranges::find(bases, directory) != bases.end()) continue;
      if (auto added = add_without_images(store, directory); !added) return added;
    }
    if (store.find("index.json") == nullptr || store.find("oci-layout") == nullptr) return Done{};
    return look_at_index(store, "index.json", {}, depth);
  }

 private:
  Result<CheckpointPart*> add() {
    if (into_.parts.size() >= kMaxCheckpoints)
      return Error{Errc::limit, "over " + std::to_string(kMaxCheckpoints) + " checkpoints in one archive"};
    return &into_.parts.emplace_back();
  }

  Status add_images(CheckpointStore& store, const std::string& directory) {
    // What was taken before the container stopped; its pages are found through the later one.
    if (directory.ends_with("pre-checkpoint/")) return Done{};
    auto part = add();
    if (!part) return std::move(part).error();
    (*part)->images = &store;
    (*part)->image_dir = directory;
    const std::string base = above(directory);
    if (store.find(base + "spec.dump") != nullptr || store.find(base + "config.dump") != nullptr) {
      read_engine_files(**part, store, base);
    } else if (const std::string docker = above(base); store.find(docker + "config.v2.json") != nullptr) {
      read_docker(**part, store, docker);
    }
    complete(**part);
    return Done{};
  }

  Status add_without_images(CheckpointStore& store, const std::string& directory) {
    auto part = add();
    if (!part) return std::move(part).error();
    read_engine_files(**part, store, directory);
    complete(**part);
    task_.gaps.add({Impact::lost,
                    "checkpoint.images",
                    store.name() + "!" + directory,
                    {Errc::not_found,
                     "the engine's files and no inventory.img: CRIU wrote its images to another place "
                     "(images-dir in runc.conf or default.conf)"}});
    return Done{};
  }

  std::optional<std::string> read(CheckpointStore& store, const std::string& name) {
    if (store.find(name) == nullptr) return std::nullopt;
    auto text = store.read(name, kMaxJsonBytes);
    if (text) return *std::move(text);
    lost(store, name, std::move(text).error());
    return std::nullopt;
  }

  void lost(const CheckpointStore& store, const std::string& name, Error error) {
    task_.gaps.add({Impact::lost, "checkpoint.record", store.name() + "!" + name, std::move(error)});
  }

  void read_engine_files(CheckpointPart& part, CheckpointStore& store, const std::string& base) {
    part.base = &store;
    part.base_dir = base;
    Container& container = part.container;
    const auto config_text = read(store, base + "config.dump");
    std::optional<ConfigDump> config;
    if (config_text) {
      auto parsed = parse_config_dump(*config_text);
      if (parsed) {
        config = *std::move(parsed);
      } else {
        lost(store, base + "config.dump", std::move(parsed).error());
      }
    }
    if (config) container.id = config->id;
    if (const auto spec = read(store, base + "spec.dump")) {
      if (auto parsed = runtime::parse_spec(*spec, container); !parsed)
        lost(store, base + "spec.dump", std::move(parsed).error());
    }
    // Of what is no engine's: containerd writes a status beside its status.dump.
    if (container.engine.empty() && store.find(base + "status") != nullptr) container.engine = "containerd";
    part.form = container.engine == "podman"  ? CheckpointForm::podman
                : container.engine == "cri-o" ? CheckpointForm::crio
                                              : CheckpointForm::containerd;
    if (config) {
      if (container.name.empty()) container.name = Bytes(config->name);
      if (container.image.empty()) container.image = Bytes(config->image);
      if (container.image_id.empty()) container.image_id = Bytes(config->image_id);
      if (container.labels.empty()) container.labels = std::move(config->labels);
      container.created_at = config->created_at;
      part.taken_at = config->checkpointed_at;
      part.restored = config->restored;
    }
    if (const auto text = read(store, base + "status"); text && part.form == CheckpointForm::containerd) {
      const auto status = parse_containerd_status(*text);
      if (!status) lost(store, base + "status", status.error());
      if (status) {
        if (status->created_at) container.created_at = status->created_at;
        container.started_at = status->started_at;
        container.init_pid = status->pid;
      }
    }
    if (store.find(base + "rootfs-diff.tar") != nullptr) {
      part.layer_store = &store;
      part.layer = base + "rootfs-diff.tar";
    }
  }

  void read_docker(CheckpointPart& part, CheckpointStore& store, const std::string& base) {
    part.form = CheckpointForm::docker;
    part.base = &store;
    part.base_dir = base;
    part.container.engine = "docker";
    const std::string name = base + "config.v2.json";
    const auto text = read(store, name);
    if (!text) return;
    const auto id = parse_docker_id(*text);
    if (!id) return lost(store, name, id.error());
    part.container.id = *id;
    if (auto parsed = runtime::parse_docker_record(*text, part.container); !parsed)
      lost(store, name, std::move(parsed).error());
  }

  // What all have; ids must differ, since everything is asked for by them.
  void complete(CheckpointPart& part) {
    Container& container = part.container;
    container.state = ContainerState::checkpointed;
    if (container.engine.empty()) container.engine = "unknown";
    if (container.id.empty()) container.id = proc::parse_cgroup_owner(container.cgroup.raw).container_id;
    if (part.images != nullptr && !part.taken_at && part.images->form() != "directory")
      part.taken_at = part.images->find(part.image_dir + std::string(kInventory))->mtime;
    if (container.id.empty()) {
      container.id =
          part.image_dir.empty() ? "checkpoint" : part.image_dir.substr(0, part.image_dir.size() - 1);
    }
    if (container.name.empty()) container.name = Bytes(container.id);
    const std::string id = container.id;
    const auto taken = [&] {
      return std::ranges::count(into_.parts, container.id,
                                [](const CheckpointPart& each) { return each.container.id; }) > 1;
    };
    for (std::size_t number = 2; taken(); ++number) container.id = id + "#" + std::to_string(number);
  }

  // The blob of a descriptor as a file of the store.
  static std::string blob_name(const OciDescriptor& descriptor) {
    return "blobs/sha256/" + descriptor.digest.substr(descriptor.digest.find(':') + 1);
  }

  Status look_at_index(CheckpointStore& store, const std::string& name, std::string image,
                       std::size_t depth) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (!looked_at_.emplace(&store, name).second) return Done{};
    auto text = store.read(name, kMaxJsonBytes);
    if (!text) {
      lost(store, name, std::move(text).error());
      return Done{};
    }
    const auto index = parse_oci_index(*text);
    if (!index) {
      lost(store, name, index.error());
      return Done{};
    }
    if (!index->image.empty()) image = index->image;
    const auto images = std::ranges::find(index->manifests, kCriuTar, &OciDescriptor::media_type);
    if (images != index->manifests.end()) return add_ctr(store, *index, *images, image);
    if (depth >= kMaxIndexDepth)
      return Error{Errc::limit, "an OCI index over " + std::to_string(kMaxIndexDepth) + " levels deep"};
    for (const OciDescriptor& manifest : index->manifests) {
      if (store.find(blob_name(manifest)) == nullptr || !manifest.media_type.ends_with("+json")) continue;
      if (auto looked = look_at_index(store, blob_name(manifest), image, depth + 1); !looked) return looked;
    }
    // A checkpoint image: its layers are an archive of the engine.
    for (const OciDescriptor& layer : index->layers) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      if (!looked_at_.emplace(&store, blob_name(layer)).second) continue;
      auto opened = open_blob(store, blob_name(layer));
      if (!opened) {
        lost(store, blob_name(layer), std::move(opened).error());
        continue;
      }
      if (auto looked = look_into(**opened, depth + 1); !looked) return looked;
    }
    return Done{};
  }

  Result<CheckpointStore*> open_blob(CheckpointStore& store, const std::string& name) {
    if (into_.stores.size() >= kMaxStores)
      return Error{Errc::limit, "over " + std::to_string(kMaxStores) + " archives in one another"};
    auto bytes = store.bytes_of(name);
    if (!bytes) return std::move(bytes).error();
    auto opened = CheckpointStore::open_tar(*std::move(bytes), store.name() + "!" + name, task_);
    if (!opened) return std::move(opened).error();
    into_.stores.push_back(*std::move(opened));
    return into_.stores.back().get();
  }

  // `ctr container checkpoint`: a flat list of blobs by media type.
  Status add_ctr(CheckpointStore& store, const OciIndex& index, const OciDescriptor& images,
                 const std::string& image) {
    auto part = add();
    if (!part) return std::move(part).error();
    CheckpointPart& made = **part;
    made.form = CheckpointForm::ctr;
    made.container.engine = "containerd";
    for (const OciDescriptor& blob : index.manifests) {
      const std::string name = blob_name(blob);
      if (blob.media_type == kSpecBlob) {
        const auto text = read(store, name);
        const auto spec = text ? runtime::value_of_any(*text) : std::nullopt;
        auto parsed = spec ? runtime::parse_spec(*spec, made.container)
                           : Status(Error{Errc::malformed, "no specification in it"});
        if (!parsed) lost(store, name, std::move(parsed).error());
      }
      if (blob.media_type.find("image.layer") != std::string::npos && store.find(name) != nullptr) {
        made.layer_store = &store;
        made.layer = name;
      }
    }
    if (made.container.image.empty()) made.container.image = Bytes(image);
    auto opened = open_blob(store, blob_name(images));
    if (!opened) {
      lost(store, blob_name(images), std::move(opened).error());
    } else if ((*opened)->find(kInventory) == nullptr) {
      lost(store, blob_name(images), {Errc::not_found, "no inventory.img in it"});
    } else {
      made.images = *opened;
    }
    complete(made);
    return Done{};
  }

  Checkpoint& into_;
  const Task& task_;
  std::vector<std::pair<const CheckpointStore*, std::string>> engine_dirs_;
  std::set<std::pair<const CheckpointStore*, std::string>> looked_at_;  // indexes and layers by their blobs
};

}  // namespace

std::string_view to_text(CheckpointForm form) {
  constexpr std::array<std::string_view, 6> kNames{"CRIU images", "Podman", "kubelet/CRI-O",
                                                   "containerd",  "Docker", "ctr"};
  return kNames[static_cast<std::size_t>(form)];
}

bool leaves_out_changes(CheckpointForm form) {
  return form == CheckpointForm::podman || form == CheckpointForm::crio;
}

Result<Checkpoint> find_checkpoints(std::unique_ptr<CheckpointStore> store, const Task& task) {
  Checkpoint checkpoint;
  CheckpointStore& first = *checkpoint.stores.emplace_back(std::move(store));
  Finder finder(checkpoint, task);
  if (auto looked = finder.look_into(first, 0); !looked) return std::move(looked).error();
  if (checkpoint.parts.empty())
    return Error{Errc::malformed, first.name() + ": no checkpoint in it: no inventory.img, no config.dump"};
  return checkpoint;
}

}  // namespace ctriage::source
