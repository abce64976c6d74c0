#include "lib/model/snapshot.h"

#include <string>
#include <utility>

namespace ctriage {
namespace {

// "None" is never confused with "cannot know": a list that a source does not give is an answer with its
// reason.
Status cannot_know(Snapshot& source, Facet facet, const std::string& container, Task& task) {
  Coverage coverage = source.covers(facet);
  if (coverage.why.empty()) coverage.why = "this kind of source does not record it";
  std::string origin;
  if (auto described = source.describe(task)) origin = described->kind + ":" + described->target.raw;
  if (!container.empty()) origin += (origin.empty() ? "" : " ") + container;
  const std::string name(to_text(facet));
  task.gaps.add({Impact::note, name, std::move(origin), {Errc::unsupported, name + ": " + coverage.why}});
  return Done{};
}

}  // namespace

std::vector<CompletenessRow> Snapshot::completeness() const {
  std::vector<CompletenessRow> rows;
  for (std::size_t i = 0; i < enum_names(Facet{}).size(); ++i) {
    const auto facet = static_cast<Facet>(i);
    if (facet != Facet::findings && facet != Facet::gaps)
      rows.push_back({std::string(to_text(facet)), covers(facet)});
  }
  return rows;
}

Status Snapshot::list_containers(const Emit<Container>&, Task& task) {
  return cannot_know(*this, Facet::containers, {}, task);
}
Status Snapshot::list_processes(const std::string& container, const Emit<Process>&, Task& task) {
  return cannot_know(*this, Facet::processes, container, task);
}
Status Snapshot::list_threads(const std::string& container, const Emit<Thread>&, Task& task) {
  return cannot_know(*this, Facet::threads, container, task);
}
Status Snapshot::list_mappings(const std::string& container, const Emit<Mapping>&, Task& task) {
  return cannot_know(*this, Facet::mappings, container, task);
}
Status Snapshot::list_descriptors(const std::string& container, const Emit<Descriptor>&, Task& task) {
  return cannot_know(*this, Facet::descriptors, container, task);
}
Status Snapshot::list_sockets(const std::string& container, const Emit<Socket>&, Task& task) {
  return cannot_know(*this, Facet::sockets, container, task);
}
Status Snapshot::list_mounts(const std::string& container, const Emit<Mount>&, Task& task) {
  return cannot_know(*this, Facet::mounts, container, task);
}
Status Snapshot::list_layers(const std::string& container, const Emit<Layer>&, Task& task) {
  return cannot_know(*this, Facet::layers, container, task);
}
Status Snapshot::list_changes(const std::string& container, const Emit<FileChange>&, Task& task) {
  return cannot_know(*this, Facet::changes, container, task);
}
Status Snapshot::list_logs(const std::string& container, const Emit<LogFile>&, Task& task) {
  return cannot_know(*this, Facet::logs, container, task);
}
Status Snapshot::list_files(const FileKey& key, const Emit<FileEntry>&, Task&) {
  return Error{Errc::unsupported, key.path + ": this kind of source has no files to look at"};
}
Result<OpenedFile> Snapshot::open_file(const FileKey& key, Task&) {
  return Error{Errc::unsupported, key.path + ": this kind of source has no files to look at"};
}
Status Snapshot::visit_memory(const MemoryQuery&, MemoryVisitor&, Task& task) {
  const auto source = describe(task);
  return Error{Errc::unsupported, (source ? source->kind : "this source") +
                                      ": its memory is not looked through by this version"};
}
Status Snapshot::list_findings(const Emit<Finding>&, Task& task) {
  return cannot_know(*this, Facet::findings, {}, task);
}
Status Snapshot::list_gaps(const Emit<GapRecord>&, Task& task) {
  return cannot_know(*this, Facet::gaps, {}, task);
}

}  // namespace ctriage
