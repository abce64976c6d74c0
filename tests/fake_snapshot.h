#pragma once
// A snapshot of a small intrusion with names an attacker would choose: escape sequences, line ends, bidi
// controls, bytes that are not UTF-8, blanks that would fake a column.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/stream.h"
#include "lib/model/snapshot.h"

namespace ctriage::test {

struct FakeSnapshot final : Snapshot {
  Source source;
  std::vector<Container> containers;
  std::vector<Process> processes;
  std::vector<Thread> threads;
  std::vector<Mapping> mappings;
  std::vector<Descriptor> descriptors;
  std::vector<Socket> sockets;
  std::vector<Mount> mounts;
  std::vector<FileChange> changes;
  std::vector<Posture> postures;     // none: this source does not know
  std::vector<NodeFact> node_facts;  // likewise
  std::vector<Finding> findings;
  std::vector<GapRecord> gaps;
  std::vector<Facet> missing;  // covers() calls these none
  std::map<std::string, std::string>
      files;  // "layer:/path" -> bytes; "merged" is upper over image; none: no files at all

  [[nodiscard]] Coverage covers(Facet facet) const override {
    for (const Facet each : missing) {
      if (each == facet) return {Coverage::Level::none, "this source does not keep them"};
    }
    if (facet == Facet::changes) return {Coverage::Level::part, "redirected directories are not followed"};
    return {Coverage::Level::whole, ""};
  }
  Result<Source> describe(Task&) override { return source; }
  Status list_containers(const Emit<Container>& emit, Task&) override { return all(containers, emit); }
  Status list_processes(const std::string& c, const Emit<Process>& emit, Task&) override {
    return of(processes, c, emit);
  }
  Status list_threads(const std::string& c, const Emit<Thread>& emit, Task&) override {
    return of(threads, c, emit);
  }
  Status list_mappings(const std::string& c, const Emit<Mapping>& emit, Task&) override {
    return of(mappings, c, emit);
  }
  Status list_descriptors(const std::string& c, const Emit<Descriptor>& emit, Task&) override {
    return of(descriptors, c, emit);
  }
  Status list_sockets(const std::string& c, const Emit<Socket>& emit, Task&) override {
    return of(sockets, c, emit);
  }
  Status list_mounts(const std::string& c, const Emit<Mount>& emit, Task&) override {
    return of(mounts, c, emit);
  }
  Status list_layers(const std::string&, const Emit<Layer>&, Task&) override { return Done{}; }
  Status list_logs(const std::string&, const Emit<LogFile>&, Task&) override { return Done{}; }
  Status list_changes(const std::string& c, const Emit<FileChange>& emit, Task&) override {
    return of(changes, c, emit);
  }
  Status list_postures(const Emit<Posture>& emit, Task& task) override {
    return postures.empty() ? Snapshot::list_postures(emit, task) : all(postures, emit);
  }
  Status list_node_facts(const Emit<NodeFact>& emit, Task& task) override {
    return node_facts.empty() ? Snapshot::list_node_facts(emit, task) : all(node_facts, emit);
  }
  Status list_findings(const Emit<Finding>& emit, Task&) override { return all(findings, emit); }
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override {
    if (files.empty()) return Snapshot::open_file(key, task);
    OpenedFile opened;
    opened.entry.path = Bytes(key.path);
    const std::string* found = find(key);
    if (found != nullptr) {
      opened.entry.file.type = FileType::regular;
      opened.entry.file.size_bytes = found->size();
      opened.bytes = std::make_unique<MemorySource>(*found);
      return opened;
    }
    const std::string below = key.path == "/" ? "/" : key.path + '/';
    for (const auto& [name, text] : files) {
      if (!is_in(name, key.layer) || !name.substr(name.find(':') + 1).starts_with(below)) continue;
      opened.entry.file.type = FileType::directory;
      return opened;
    }
    return Error{Errc::not_found, key.path};
  }
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override {
    if (files.empty()) return Snapshot::list_files(key, emit, task);
    std::vector<std::string> names;
    for (const auto& [name, text] : files) {
      const std::string path = name.substr(name.find(':') + 1);
      if (is_in(name, key.layer) && path.starts_with(key.path == "/" ? "/" : key.path + '/'))
        names.push_back(path);
    }
    if (names.empty()) return Error{Errc::not_found, key.path};
    for (const std::string& name : names) {
      FileEntry entry;
      entry.path = Bytes(name);
      if (auto done = emit(std::move(entry)); !done) return done;
    }
    return Done{};
  }
  Status list_gaps(const Emit<GapRecord>& emit, Task&) override { return all(gaps, emit); }

 private:
  static bool is_in(const std::string& name, const std::string& layer) {
    return name.starts_with(layer + ':') || layer == "merged";
  }
  [[nodiscard]] const std::string* find(const FileKey& key) const {
    for (const std::string layer : {"upper", "image"}) {
      if (layer != key.layer && key.layer != "merged") continue;
      const auto at = files.find(layer + ':' + key.path);
      if (at != files.end()) return &at->second;
    }
    return nullptr;
  }
  template <class T>
  static Status all(const std::vector<T>& items, const Emit<T>& emit) {
    for (T item : items) {
      if (auto done = emit(std::move(item)); !done) return done;
    }
    return Done{};
  }
  template <class T>
  static Status of(const std::vector<T>& items, const std::string& container, const Emit<T>& emit) {
    for (T item : items) {
      if (item.container != container) continue;
      if (auto done = emit(std::move(item)); !done) return done;
    }
    return Done{};
  }
};

// Everything above filled in.
FakeSnapshot make_intrusion();

}  // namespace ctriage::test
