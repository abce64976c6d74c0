#pragma once
// The Snapshot of a bundle: what collect wrote, read back stream by stream.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/bundle/reader.h"
#include "lib/model/memory.h"
#include "lib/model/object.h"
#include "lib/model/snapshot.h"

namespace ctriage::source {

class BundleSnapshot final : public Snapshot {
 public:
  static Result<std::unique_ptr<BundleSnapshot>> open(std::unique_ptr<bundle::Reader> reader,
                                                      std::string name, Task& task);

  [[nodiscard]] Coverage covers(Facet facet) const override;
  Result<Source> describe(Task& task) override;
  Status list_containers(const Emit<Container>& emit, Task& task) override;
  Status list_processes(const std::string& container, const Emit<Process>& emit, Task& task) override;
  Status list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) override;
  Status list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task) override;
  Status list_descriptors(const std::string& container, const Emit<Descriptor>& emit, Task& task) override;
  Status list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) override;
  Status list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task) override;
  Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) override;
  Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) override;
  Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) override;
  Result<std::unique_ptr<ByteSource>> open_log(const LogFile& log, Task& task) override;
  Status list_custody(const Emit<CustodyAction>& emit, Task& task) override;
  Status list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) override;
  Status list_postures(const Emit<Posture>& emit, Task& task) override;
  Status list_node_facts(const Emit<NodeFact>& emit, Task& task) override;
  // What was taken: the UpperDir, the tmpfs and volumes. Files of the image are not in a bundle.
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override;
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override;
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override;
  // objects.h
  Status visit_objects(const ObjectQuery& query, ObjectVisitor& visitor, Task& task);
  // From now on it has these containers alone, by id; findings of no container stay.
  void keep(const std::set<std::string>& ids);
  Status list_findings(const Emit<Finding>& emit, Task& task) override;
  Status list_gaps(const Emit<GapRecord>& emit, Task& task) override;

 private:
  BundleSnapshot(std::unique_ptr<bundle::Reader> reader, std::string name)
      : reader_(std::move(reader)), name_(std::move(name)) {}
  Result<Container> read_container(const std::string& stream, Task& task);
  struct Taken;  // a file whose bytes are in the bundle
  // "containers/app/upper.tar" as it is stored: so, or compressed.
  [[nodiscard]] std::string bulk_stream(const std::string& plain) const {
    return reader_->has(plain) ? plain : plain + ".zst";
  }
  [[nodiscard]] Error not_here(const std::string& path) const;
  // The lists of its tmpfs and volumes.
  [[nodiscard]] std::vector<std::string> tree_streams(const std::string& folder) const;
  Status list_tree(const std::string& stream, const Emit<TreeFile>& emit, Task& task);
  Status list_ranges(const std::string& stream, const Emit<PageRange>& emit, Task& task);
  // `alone`: no other process is looked at.
  Status walk_core(const std::string& pages, MemoryArea like, bool alone, MemoryVisitor& visitor, Task& task);
  Status visit_programs(const std::string& container, const ObjectQuery& query, ObjectVisitor& visitor,
                        Task& task);
  // A .tar of the container's folder, whose members are objects.
  Status visit_layer(const std::string& stream, ObjectKind kind, const std::string& container,
                     const std::string& below, ObjectVisitor& visitor, Task& task);
  void tell_not_taken(Task& task);
  void tell_no_memory(const Process& process, const std::string& pages, Task& task) const;
  Status each_taken(const FileKey& key, const Emit<Taken>& emit, Task& task);
  template <class T>
  Status list(const std::string& stream, const Emit<T>& emit, Task& task);
  template <class T>
  Status read_lines(const std::string& stream, const Emit<T>& emit, Task& task);
  template <class T>
  Status list_of(const std::string& container, std::string_view file, const Emit<T>& emit, Task& task);

  std::unique_ptr<bundle::Reader> reader_;
  std::string name_;
  std::map<std::string, std::string> folders_;  // container id -> "containers/app/"
  bool narrowed_ = false;                       // by keep()
  std::string deleted_;                         // what each_taken saw of the path it was asked for
  std::set<std::string> listed_;                // streams whose gaps were told
};

}  // namespace ctriage::source
