#pragma once
// The Snapshot of containers that no process leads to: those that have ended, and all of a disk that nothing
// runs on. What their engine keeps of them: the record, the logs, the layers, so the changes and the files.
// Processes, memory and tmpfs are gone, which is not the same as none.
#include <memory>
#include <string>
#include <vector>

#include "lib/core/root.h"
#include "lib/model/snapshot.h"
#include "lib/overlay/overlay.h"
#include "lib/rules/rules.h"
#include "lib/runtime/runtime.h"
#include "lib/source/layered.h"
#include "lib/source/remembered.h"
#include "lib/source/target.h"

namespace ctriage::source {

// The layers of a container that does not run, by its engine's records. Before forbid_clones().
Result<overlay::Stack> open_recorded_layers(const Root& node, const Container& container, Task& task);
bool has_ended(const Container& container);
// What the spec asked to mount there is not in the layers.
std::vector<Mount> mounts_asked_for(const Container& container);
constexpr std::string_view kNoProcesses = "the container has ended: its processes and memory are gone";

struct EndedPlace {
  Root node;   // its /
  Bytes name;  // of the node
  bool runs = false;
};

class EndedSnapshot final : public Snapshot {
 public:
  // Those of `all` that the query means; of a node that runs, those of them that have ended. Errc::not_found
  // and mismatch as resolve_target. A container whose layers cannot be found is there all the same, with a
  // lost gap. Before forbid_clones().
  static Result<std::unique_ptr<EndedSnapshot>> open(EndedPlace place, const TargetQuery& query,
                                                     std::vector<runtime::Found> all,
                                                     std::vector<rules::Rule> rules, Task& task);

  [[nodiscard]] const Root& node() const { return place_.node; }
  [[nodiscard]] Coverage covers(Facet facet) const override;
  Result<Source> describe(Task& task) override;
  Status list_containers(const Emit<Container>& emit, Task& task) override;
  Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) override;
  Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) override;
  Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) override;
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override;
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override;
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override;
  Status list_findings(const Emit<Finding>& emit, Task& task) override;

 private:
  struct Ended {
    Container container;
    std::optional<overlay::Stack> stack;
    std::string no_stack;
    std::vector<Mount> mounts;  // as the spec asked for them
  };
  EndedSnapshot(EndedPlace place, std::string name, std::vector<rules::Rule> rules)
      : place_(std::move(place)), name_(std::move(name)), rules_(std::move(rules)) {}
  void add(Container container, Task& task);
  [[nodiscard]] const Ended* find(const std::string& container) const;
  static Layered layered(const Ended& ended);

  EndedPlace place_;
  std::string name_;
  std::vector<rules::Rule> rules_;
  std::vector<Ended> ended_;
  Remembered<FileChange> changes_{16 << 20};
};

}  // namespace ctriage::source
