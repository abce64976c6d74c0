#pragma once
// The Snapshot of a checkpoint: an archive of Podman, CRI-O or containerd, an export of ctr, a directory of
// Docker's, CRIU images alone.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/model/object.h"
#include "lib/model/pages.h"
#include "lib/model/snapshot.h"
#include "lib/source/checkpoint/layout.h"
#include "lib/source/checkpoint/tasks.h"
#include "lib/source/checkpoint/view.h"

namespace ctriage::source {

class CheckpointSnapshot final : public Snapshot {
 public:
  // Reads everything but what is long: mappings, descriptors, changes.
  static Result<std::unique_ptr<CheckpointSnapshot>> open(std::unique_ptr<CheckpointStore> store, Task& task);

  [[nodiscard]] Coverage covers(Facet facet) const override;
  [[nodiscard]] std::vector<CompletenessRow> completeness() const override;
  Result<Source> describe(Task& task) override;
  Status list_containers(const Emit<Container>& emit, Task& task) override;
  Status list_processes(const std::string& container, const Emit<Process>& emit, Task& task) override;
  Status list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) override;
  Status list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task) override;
  Status list_descriptors(const std::string& container, const Emit<Descriptor>& emit, Task& task) override;
  Status list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) override;
  Status list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task) override;
  Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) override;
  Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) override;
  Result<std::unique_ptr<ByteSource>> open_log(const LogFile& log, Task& task) override;
  Status list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) override;
  Status list_postures(const Emit<Posture>& emit, Task& task) override;
  // What the archive has of them: lib/source/checkpoint/view.h.
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override;
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override;
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override;
  // objects.h
  Status visit_objects(const ObjectQuery& query, ObjectVisitor& visitor, Task& task);
  // list_changes() reads changed files from now on, and has their SHA-256: all of the layer is unpacked then.
  void hash_changes() { hash_changes_ = true; }
  // What the images of a container say beyond the lists; null: it has none. Errc::not_found.
  Result<CheckpointTasks*> tasks_of(const std::string& container);
  // From now on it has these containers alone, by id; at least one. Defined in open.cpp, for -c.
  void keep(const std::set<std::string>& ids);

 private:
  // What the engines call the container's log: Podman with k8s-file or json-file, containerd, CRI-O; and
  // CRIU's.
  static constexpr std::string_view kLogNames[] = {"ctr.log", "container.log", "io.kubernetes.cri-o.LogPath",
                                                   "dump.log"};
  struct Held {
    CheckpointPart part;
    std::optional<CheckpointTasks> tasks;
    std::unique_ptr<CheckpointView> files = nullptr;  // made when it is asked for
  };
  Result<CheckpointView*> files_of(const std::string& container);
  explicit CheckpointSnapshot(Checkpoint&& checkpoint) : checkpoint_(std::move(checkpoint)) {}
  static bool is_log_name(std::string_view name);
  void tell_completeness(const Held& held, Task& task) const;
  [[nodiscard]] Coverage covers(Facet facet, const Held& held) const;
  [[nodiscard]] Coverage memory_of_all() const;
  [[nodiscard]] Coverage deleted_of_all() const;
  [[nodiscard]] Coverage network_of_all() const;
  [[nodiscard]] Coverage logs_of_all() const;
  Result<Held*> find(const std::string& container);
  static std::optional<FileChange> change_of(const archive::TarMember& member, const Held& held);
  Status list_added(Held& held, const Emit<FileChange>& emit, Task& task);
  Status list_deleted(Held& held, const Emit<FileChange>& emit, Task& task);

  Checkpoint checkpoint_;
  std::vector<Held> held_;
  bool hash_changes_ = false;
};

}  // namespace ctriage::source
