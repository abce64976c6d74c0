#include "lib/runtime/records.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/runtime/bundles.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/sqlite.h"

namespace ctriage::runtime {
namespace {

constexpr std::size_t kMostRecords = 16'384;  // of all engines: the kubelet keeps a few hundred at most

void lost(Task& task, const std::string& file, Error error) {
  task.gaps.add({Impact::lost, "runtime.record", file, std::move(error).within(file)});
}

bool is_full(const std::vector<Found>& into, const std::string& file, Task& task) {
  if (into.size() < kMostRecords) return false;
  lost(task, file, {Errc::limit, "more than 16,384 containers: the rest is left out"});
  return true;
}

void add_docker_record(const Root& containers, const std::string& root, const std::string& id,
                       std::vector<Found>& into, Task& task) {
  Found* known = find_container(into, id, root);
  if (known != nullptr && !known->container.record.empty()) return;
  const std::string file = root + "/containers/" + id + "/config.v2.json";
  const auto text = containers.read_file_in_root(id + "/config.v2.json", kMaxJsonBytes);
  if (!text && text.error().code == Errc::not_found) return;  // being made or removed
  Found found;
  if (known != nullptr) found = *known;  // by its cgroup only
  found.container.id = id;
  const Status parsed = text ? parse_docker_record(*text, found.container) : Status(text.error());
  if (!parsed) lost(task, file, parsed.error());
  if (found.container.name.empty() && !found.container.sandbox) found.container.name = Bytes(id);
  found.container.engine = "docker";
  found.container.engine_namespace = Bytes("moby");
  found.container.engine_root = Bytes(root);
  found.container.record = Bytes(file);
  if (known != nullptr) {
    *known = std::move(found);
  } else {
    into.push_back(std::move(found));
  }
}

// Podman's and CRI-O's, in the storage: bundle and, of CRI-O, state.
void add_storage_record(const Root& node, const Storage& storage, const StorageRecord& record,
                        std::vector<Found>& into, Task& task) {
  if (Found* known = find_container(into, record.id, storage.graph_root)) {
    if (known->container.record.empty()) {
      known->container.record = Bytes(storage.files.at(record.id));
      complete(record, known->container);
    }
    return;
  }
  Found found;
  Container& container = found.container;
  const std::string path =
      storage.graph_root + "/" + storage.driver + "-containers/" + record.id + "/userdata";
  const auto bundle = node.descend_in_root(path);
  if (bundle) {
    const Status spec = read_spec(*bundle, path, found, task);
    if (!spec && !spec.error().is_gone()) lost(task, path + "/config.json", spec.error());
    const auto state = bundle->read_file_in_root("state.json", kMaxJsonBytes);
    if (container.engine == "cri-o" && state) {
      if (auto parsed = parse_crio_state(*state, container); !parsed)
        lost(task, path + "/state.json", parsed.error());
    }
    container.bundle_dir = Bytes(path);
    container.root_dir = Bytes(absolute_root(container));
  }
  container.id = record.id;
  container.record = Bytes(storage.files.at(record.id));
  container.engine_root = Bytes(storage.graph_root);
  container.engine_namespace = namespace_of(storage.owner);
  if (container.engine.empty()) container.engine = "unknown";  // Buildah's have no bundle
  if (container.state == ContainerState::unknown && bundle) container.state = ContainerState::exited;
  complete(record, container);
  if (container.name.empty() && !container.sandbox) container.name = Bytes(record.id);
  into.push_back(std::move(found));
}

}  // namespace

std::vector<std::string> record_files(const Container& container) {
  if (!is_identifier(container.id)) return {};
  if (container.engine == "docker") {
    const std::string& record = container.record.raw;
    if (!record.ends_with("/" + container.id + "/config.v2.json")) return {};
    return {record, record.substr(0, record.rfind('/')) + "/hostconfig.json"};
  }
  if (container.engine == "containerd" && container.pod) {
    const std::string kind = container.sandbox ? "/sandboxes/" : "/containers/";
    return {container.engine_root.raw + "/io.containerd.grpc.v1.cri" + kind + container.id + "/status"};
  }
  if (container.engine == "cri-o") return {container.bundle_dir.raw + "/state.json"};
  return {};  // of Podman's and of others there is one file for all
}

Found* find_container(std::vector<Found>& in, const std::string& id, const std::string& root,
                      const std::string& engine_namespace) {
  const auto at = std::find_if(in.begin(), in.end(), [&](const Found& one) {
    const Container& its = one.container;
    if (its.id != id) return false;
    if (its.bundle_dir.empty() && its.record.empty() && its.engine_root.empty()) return true;
    return its.engine_root.raw == root &&
           (engine_namespace.empty() || its.engine_namespace.raw == engine_namespace);
  });
  return at == in.end() ? nullptr : &*at;
}

Status add_docker_records(const Root& node, const std::vector<std::string>& data_roots,
                          std::vector<Found>& into, Task& task) {
  for (const std::string& root : data_roots) {
    const auto containers = node.descend_in_root(root + "/containers");
    if (!containers) {
      if (!containers.error().is_gone()) lost(task, root + "/containers", containers.error());
      continue;
    }
    std::string after;
    for (bool more = true; more;) {
      const auto block = list_names(*containers, after);
      if (!block) {
        lost(task, root + "/containers", block.error());
        break;
      }
      for (const std::string& id : block->names) {
        if (auto go_on = task.check(); !go_on) return go_on;
        if (!is_identifier(id)) continue;
        if (is_full(into, root + "/containers", task)) return Done{};
        add_docker_record(*containers, root, id, into, task);
      }
      more = block->more && !block->names.empty();
      if (more) after = block->names.back();
    }
  }
  return Done{};
}

void add_podman_record(const PodmanRecord& record, const std::string& file, const Storage& storage,
                       std::vector<Found>& into, Task& task) {
  Found* known = find_container(into, record.id, storage.graph_root);
  if (known == nullptr && is_full(into, file, task)) return;
  Found found;
  if (known != nullptr) found = std::move(*known);
  Container& container = found.container;
  container.id = record.id;
  Status parsed = parse_podman_config(record.config, container);
  if (parsed && container.init_pid == 0) parsed = parse_podman_state(record.state, container);
  if (!parsed) lost(task, file, Error(parsed.error()).within("container " + record.id));
  if (container.name.empty()) container.name = Bytes(record.id);
  if (container.engine.empty() || container.engine == "unknown") container.engine = "podman";
  if (container.engine_root.empty()) container.engine_root = Bytes(storage.graph_root);
  if (container.record.empty()) container.record = Bytes(file);
  if (known == nullptr) container.engine_namespace = namespace_of(storage.owner);
  if (known != nullptr) {
    *known = std::move(found);
  } else {
    into.push_back(std::move(found));
  }
}

void add_podman_sqlite(const Root& node, const Storage& storage, std::vector<Found>& into, Task& task) {
  for (const std::string_view name : {"/db.sql", "/libpod/db.sql"}) {
    const std::string file = storage.graph_root + std::string(name);
    const auto copy = copy_sqlite(node, file);
    if (!copy) {
      if (copy.error().code != Errc::not_found) lost(task, file, copy.error());
      continue;
    }
    std::map<std::string, PodmanRecord> records;  // by id
    std::size_t room = kMaxSqliteBytes;           // rows may share their pages, and be more than the file
    const auto read = [&](const std::string& table, std::string PodmanRecord::*json) {
      constexpr std::array<std::string_view, 2> kColumns{"ID", "JSON"};
      return read_sqlite(
          *copy, table, kColumns,
          [&](SqliteRow row) -> Status {
            if (!is_identifier(row[0])) return Error{Errc::malformed, table + ": not a container id"};
            const std::string id(row[0]);
            if (records.size() >= kMostRecords && !records.contains(id))
              return Error{Errc::limit, table + ": more than 16,384 containers"};
            if (row[1].size() > room)
              return Error{Errc::limit, table + ": more than " + human_size(kMaxSqliteBytes) + " of JSON"};
            room -= row[1].size();
            PodmanRecord& record = records[id];
            record.id = id;
            record.*json = std::string(row[1]);
            return Done{};
          },
          task);
    };
    // What was read before an error counts: one damaged page costs what is in it.
    for (const Status& table :
         {read("ContainerConfig", &PodmanRecord::config), read("ContainerState", &PodmanRecord::state)}) {
      if (!table) lost(task, file, table.error());
    }
    for (const auto& [id, record] : records) add_podman_record(record, file, storage, into, task);
  }
}

Status add_storage_records(const Storages& storages, std::vector<Found>& into, Task& task) {
  for (const Storages::Known& known : storages.all()) {
    for (const auto& [id, record] : known.storage.records) {
      if (auto go_on = task.check(); !go_on) return go_on;
      if (is_full(into, known.storage.files.at(id), task)) return Done{};
      add_storage_record(known.node, known.storage, record, into, task);
    }
    add_podman_bolt(known.node, known.storage, into, task);
    add_podman_sqlite(known.node, known.storage, into, task);
  }
  return Done{};
}

}  // namespace ctriage::runtime
