// A source and the rules it is judged by, as one Snapshot.
#include <utility>

#include "lib/verdict/verdict.h"

namespace ctriage::verdict {
namespace {

class JudgedSnapshot final : public Snapshot {
 public:
  JudgedSnapshot(std::unique_ptr<Snapshot> inner, rules::RuleSet rules, ListPatchedCode patched)
      : inner_(std::move(inner)), rules_(std::move(rules)), patched_(std::move(patched)) {}

  [[nodiscard]] Coverage covers(Facet facet) const override {
    Coverage own = inner_->covers(facet);
    if (facet != Facet::findings || own.level != Coverage::Level::none) return own;
    Coverage processes = inner_->covers(Facet::processes);
    Coverage changes = inner_->covers(Facet::changes);
    const bool fewer = changes.level < processes.level;
    Coverage less = fewer ? changes : processes;
    const Coverage& more = fewer ? processes : changes;
    if (more.level != Coverage::Level::none && less.level == Coverage::Level::none)
      less.level = Coverage::Level::part;
    return less;
  }
  [[nodiscard]] std::vector<CompletenessRow> completeness() const override { return inner_->completeness(); }
  Result<Source> describe(Task& task) override { return inner_->describe(task); }
  Status list_containers(const Emit<Container>& emit, Task& task) override {
    return inner_->list_containers(emit, task);
  }
  Status list_processes(const std::string& container, const Emit<Process>& emit, Task& task) override {
    return inner_->list_processes(container, emit, task);
  }
  Status list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) override {
    return inner_->list_threads(container, emit, task);
  }
  Status list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task) override {
    return inner_->list_mappings(container, emit, task);
  }
  Status list_descriptors(const std::string& container, const Emit<Descriptor>& emit, Task& task) override {
    return inner_->list_descriptors(container, emit, task);
  }
  Status list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) override {
    return inner_->list_sockets(container, emit, task);
  }
  Status list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task) override {
    return inner_->list_mounts(container, emit, task);
  }
  Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) override {
    return inner_->list_layers(container, emit, task);
  }
  Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) override {
    return inner_->list_changes(container, emit, task);
  }
  Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) override {
    return inner_->list_logs(container, emit, task);
  }
  Result<std::unique_ptr<ByteSource>> open_log(const LogFile& log, Task& task) override {
    return inner_->open_log(log, task);
  }
  Status list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) override {
    return inner_->list_trees(container, emit, task);
  }
  Status list_postures(const Emit<Posture>& emit, Task& task) override {
    return inner_->list_postures(emit, task);
  }
  Status list_node_facts(const Emit<NodeFact>& emit, Task& task) override {
    return inner_->list_node_facts(emit, task);
  }
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override {
    return inner_->list_files(key, emit, task);
  }
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override {
    return inner_->open_file(key, task);
  }
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override {
    return inner_->visit_memory(query, visitor, task);
  }
  Status list_findings(const Emit<Finding>& emit, Task& task) override {
    judging_.tally = {};
    Options options = judging_.options;
    options.patched = patched_;
    return judge(*inner_, rules_, options, emit, judging_.tally, task);
  }
  Status list_custody(const Emit<CustodyAction>& emit, Task& task) override {
    return inner_->list_custody(emit, task);
  }
  Status list_gaps(const Emit<GapRecord>& emit, Task& task) override { return inner_->list_gaps(emit, task); }

  [[nodiscard]] Judging* judging() { return &judging_; }
  [[nodiscard]] Snapshot& inner() { return *inner_; }

 private:
  std::unique_ptr<Snapshot> inner_;
  Judging judging_;
  rules::RuleSet rules_;
  ListPatchedCode patched_;
};

}  // namespace

std::unique_ptr<Snapshot> judged(std::unique_ptr<Snapshot> snapshot, rules::RuleSet rules,
                                 ListPatchedCode patched) {
  return std::make_unique<JudgedSnapshot>(std::move(snapshot), std::move(rules), std::move(patched));
}

Snapshot& source_of(Snapshot& snapshot) {
  auto* judged = dynamic_cast<JudgedSnapshot*>(&snapshot);
  return judged == nullptr ? snapshot : judged->inner();
}

Judging* judging_of(Snapshot& snapshot) {
  auto* judged = dynamic_cast<JudgedSnapshot*>(&snapshot);
  return judged == nullptr ? nullptr : judged->judging();
}

}  // namespace ctriage::verdict
