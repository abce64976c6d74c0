#pragma once
// Containers that no process leads to any more: those that ended, from what the engines keep on disk.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {

// Files below the node's / that an engine keeps of this container alone.
std::vector<std::string> record_files(const Container& container);

struct EngineRoot {  // of a containerd
  Root node;
  std::string path;
};

// The container of an engine whose root is `root`, or one that only a cgroup names; by its id, and its
// namespace where that has one. Ids alone are anybody's to choose.
Found* find_container(std::vector<Found>& in, const std::string& id, const std::string& root,
                      const std::string& engine_namespace = "");

// Each adds what `into` does not have yet and completes what it has; a damaged record is a gap that names the
// file. Errors: stopped or timeout.
//
// <data root>/containers/<id>/config.v2.json
Status add_docker_records(const Root& node, const std::vector<std::string>& data_roots,
                          std::vector<Found>& into, Task& task);
// containers.json of all storages that are known, with
// <storage>/<driver>-containers/<id>/userdata/config.json and CRI-O's state.json beside it;
// libpod/bolt_state.db or db.sql of Podman
Status add_storage_records(const Storages& storages, std::vector<Found>& into, Task& task);
void add_podman_bolt(const Root& node, const Storage& storage, std::vector<Found>& into, Task& task);
// Since 4.8: db.sql in the graph root, or in libpod/ below it where that was configured,
// libpod/sqlite_state.go; ContainerConfig(ID, Name, PodID, JSON) and ContainerState(ID, State, ExitCode,
// JSON).
void add_podman_sqlite(const Root& node, const Storage& storage, std::vector<Found>& into, Task& task);
struct PodmanRecord {
  std::string id;
  std::string config;  // JSON
  std::string state;   // JSON
};
void add_podman_record(const PodmanRecord& record, const std::string& file, const Storage& storage,
                       std::vector<Found>& into, Task& task);
// <root>/io.containerd.metadata.v1.bolt/meta.db, and the CRI's containers/<id>/status
Status add_containerd_records(const EngineRoot& root, std::vector<Found>& into, Task& task);
// What is left of removed ones in meta.db, marked recovered. After all others: what is known is no such one.
Status add_removed_containers(const EngineRoot& root, std::vector<Found>& into, Task& task);

// What the records hold, in *_json.cpp. CRI-O's state.json: {started, finished, exitCode}.
Status parse_crio_state(std::string_view json, Container& into);
// The CRI plugin's status: {StartedAt, FinishedAt: nanoseconds, ExitCode}.
Status parse_cri_status(std::string_view json, Container& into);
// The CRI plugin's metadata: {Metadata: {Config: {metadata: {attempt}}}}, which instance of its name it is.
Status parse_cri_metadata(std::string_view json, Container& into);
// libpod's state of a container: {state: number, startedTime, finishedTime, exitCode}, and its configuration:
// {id, name, rootfsImageName, rootfsImageID, createdTime, labels}.
Status parse_podman_state(std::string_view json, Container& into);
Status parse_podman_config(std::string_view json, Container& into);

// A protobuf Any, {type URL = 1, value = 2}: its value, or nothing.
std::optional<std::string_view> value_of_any(std::string_view bytes);
// Go's time.MarshalBinary: version 1 or 2, seconds since the year 1 i64, nanoseconds i32, zone i16;
// big-endian.
std::optional<Timestamp> parse_go_time(std::string_view bytes);

}  // namespace ctriage::runtime
