#include <nlohmann/json.hpp>
#include <utility>

#include "lib/model/json_limits.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/members.h"

namespace ctriage::runtime {
namespace {

using nlohmann::json;

// What cri-dockerd and dockershim label: names k8s_<container>_<pod>_<namespace>_<uid>_<attempt>.
void read_pod(Members& members, const json* labels, Container& into) {
  PodRef pod;
  pod.name = members.text_or_none(labels, "io.kubernetes.pod.name");
  if (pod.name.empty()) return;
  pod.ns = members.text_or_none(labels, "io.kubernetes.pod.namespace");
  pod.uid = members.text_or_none(labels, "io.kubernetes.pod.uid");
  into.sandbox = members.text_or_none(labels, "io.kubernetes.docker.type") == "podsandbox";
  pod.sandbox_id = into.sandbox ? into.id : members.text_or_none(labels, "io.kubernetes.sandbox.id");
  if (const auto* name = members.text(labels, "io.kubernetes.container.name")) into.name = Bytes(*name);
  if (into.sandbox) into.name = Bytes();
  into.pod = std::move(pod);
}

void read_state(Members& members, const json* state, Container& into) {
  if (into.state == ContainerState::unknown && state != nullptr) {
    into.state = ContainerState::exited;  // what runs has a shim
    if (!members.text(state, "StartedAt") || !members.time(state, "StartedAt"))
      into.state = ContainerState::created;
  }
  if (!into.started_at) into.started_at = members.time(state, "StartedAt");
  if (into.state != ContainerState::exited) return;
  into.finished_at = members.time(state, "FinishedAt");
  const auto code = members.integer(state, "ExitCode");
  if (code && (*code < INT32_MIN || *code > INT32_MAX)) members.wrong("ExitCode");
  if (code && into.finished_at) into.exit_code = static_cast<std::int32_t>(*code);
}

// Its bind mounts and volumes by their place in the container, as the spec had them.
void read_mounts(Members& members, const json* points, Container& into) {
  if (points == nullptr) return;
  for (const auto& [destination, element] : points->items()) {
    const json* point = members.element(element, "MountPoints");
    const auto* source = members.text(point, "Source");
    if (source == nullptr || source->empty()) continue;  // a tmpfs
    HostMount& read = into.mounts.emplace_back();
    read.destination = Bytes(destination);
    read.source = Bytes(*source);
    read.type = Bytes("bind");
    read.options.emplace_back(members.flag(point, "RW") ? "rw" : "ro");
  }
}

}  // namespace

Status parse_docker_record(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "Docker's config.v2.json";
  const auto document = parse_limited(text);
  if (!document) return Error(document.error()).within(kWhat);
  if (!document->is_object()) return Error{Errc::malformed, std::string(kWhat) + ": not an object"};
  const json* record = &*document;

  Container read = into;
  Members members;
  const std::string id = members.text_or_none(record, "ID");
  if (!members.error() && id != into.id) return Error{Errc::mismatch, std::string(kWhat) + ": is of " + id};
  std::string name = members.text_or_none(record, "Name");
  if (name.starts_with('/')) name.erase(0, 1);
  if (!name.empty()) read.name = Bytes(std::move(name));
  if (const auto created = members.time(record, "Created")) read.created_at = created;
  if (read.args.empty()) {  // no bundle
    if (const auto* path = members.text(record, "Path")) read.args.emplace_back(*path);
    for (Bytes& argument : members.bytes(record, "Args")) read.args.push_back(std::move(argument));
  }
  const json* config = members.object(record, "Config");
  if (read.environ.empty()) read.environ = members.bytes(config, "Env");
  if (const auto* image = members.text(config, "Image")) read.image = Bytes(*image);
  if (const auto* image = members.text(record, "Image")) read.image_id = Bytes(*image);
  if (const auto* digest = members.text(members.object(record, "ImageManifest"), "digest"))
    read.image_digest = Bytes(*digest);
  read.labels = members.pairs(config, "Labels");
  read_pod(members, members.object(config, "Labels"), read);
  read_state(members, members.object(record, "State"), read);
  if (read.mounts.empty()) read_mounts(members, members.object(record, "MountPoints"), read);
  const auto restarts = members.integer(record, "RestartCount").value_or(0);
  if (restarts < 0 || restarts > UINT32_MAX) members.wrong("RestartCount");
  read.attempt = static_cast<std::uint32_t>(restarts);
  const std::string log = members.text_or_none(record, "LogPath");
  if (log.starts_with('/')) read.log_dir = Bytes(log.substr(0, log.rfind('/')));
  if (members.error()) return Error(*members.error()).within(kWhat);
  into = std::move(read);
  return Done{};
}

Result<std::string> parse_daemon_config(std::string_view text) {
  const auto document = parse_limited(text);
  if (!document) return Error(document.error()).within("Docker's daemon.json");
  if (!document->is_object()) return Error{Errc::malformed, "Docker's daemon.json: not an object"};
  Members members;
  std::string root = members.text_or_none(&*document, "data-root");
  if (root.empty()) root = members.text_or_none(&*document, "graph");
  if (members.error()) return Error(*members.error()).within("Docker's daemon.json");
  return root;
}

}  // namespace ctriage::runtime
