// The OCI runtime specification's config.json, as the engines write it:
//
//   spec    = { process?: {args, env, cwd, user: {uid, gid}, capabilities: {bounding}, noNewPrivileges,
//   terminal},
//               root?: {path, readonly}, mounts?: [{destination, type, source, options}], annotations?: {key:
//               text}, linux?: {cgroupsPath, namespaces: [{type, path?}], maskedPaths, seccomp, resources:
//               {devices}} }
//
// opencontainers/runtime-spec config.md and config-linux.md. null is as good as absent (Go writes nil lists
// so).
#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/text.h"
#include "lib/model/json_limits.h"
#include "lib/proc/proc.h"
#include "lib/runtime/members.h"
#include "lib/runtime/runtime.h"

namespace ctriage::runtime {
namespace {

using nlohmann::json;

// Capabilities outside the default set of containerd and Docker that open the node or the other containers.
constexpr std::array<std::string_view, 7> kPowerful{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_MODULE",
                                                    "CAP_NET_ADMIN", "CAP_BPF",        "CAP_DAC_READ_SEARCH",
                                                    "CAP_SYS_RAWIO"};

void read_process(Members& members, const json* spec, Container& into) {
  const json* process = members.object(spec, "process");
  into.args = members.bytes(process, "args");
  into.environ = members.bytes(process, "env");
  if (const auto* cwd = members.text(process, "cwd")) into.cwd = Bytes(*cwd);
  const json* user = members.object(process, "user");
  into.uid = members.id(user, "uid");
  into.gid = members.id(user, "gid");
  into.terminal = members.flag(process, "terminal");
  into.no_new_privs = members.flag(process, "noNewPrivileges");
  into.capabilities = members.texts(members.object(process, "capabilities"), "bounding");
}

void read_mounts(Members& members, const json* spec, Container& into) {
  const json* mounts = members.list(spec, "mounts");
  if (mounts == nullptr) return;
  for (const json& element : *mounts) {
    const json* mount = members.element(element, "mounts");
    HostMount& read = into.mounts.emplace_back();
    if (const auto* text = members.text(mount, "destination")) read.destination = Bytes(*text);
    if (const auto* text = members.text(mount, "source")) read.source = Bytes(*text);
    if (const auto* text = members.text(mount, "type")) read.type = Bytes(*text);
    read.options = members.bytes(mount, "options");
  }
}

std::string note(Members& members, const json* notes, const char* key) {
  return members.text_or_none(notes, key);
}

// containerd's pkg/cri/annotations. sandbox-uid is there since 1.7 and late 1.6; before, the cgroup and the
// name of the log directory, <namespace>_<pod>_<uid>, have it.
void read_containerd_pod(Members& members, const json* notes, Container& into) {
  PodRef pod;
  pod.sandbox_id = note(members, notes, "io.kubernetes.cri.sandbox-id");
  if (pod.sandbox_id.empty()) return;
  pod.ns = note(members, notes, "io.kubernetes.cri.sandbox-namespace");
  pod.name = note(members, notes, "io.kubernetes.cri.sandbox-name");
  pod.uid = note(members, notes, "io.kubernetes.cri.sandbox-uid");
  into.sandbox = note(members, notes, "io.kubernetes.cri.container-type") == "sandbox";
  into.name = Bytes(note(members, notes, "io.kubernetes.cri.container-name"));
  into.image = Bytes(note(members, notes, "io.kubernetes.cri.image-name"));
  if (into.image.empty()) into.image = Bytes(note(members, notes, "io.kubernetes.cri.podsandbox.image-name"));
  into.log_dir = Bytes(note(members, notes, "io.kubernetes.cri.sandbox-log-directory"));
  if (pod.uid.empty()) pod.uid = proc::parse_cgroup_owner(into.cgroup.raw).pod_uid;
  const std::string prefix = pod.ns + "_" + pod.name + "_";
  const std::string log_name = into.log_dir.raw.substr(into.log_dir.raw.rfind('/') + 1);
  if (pod.uid.empty() && log_name.starts_with(prefix)) pod.uid = log_name.substr(prefix.size());
  into.pod = std::move(pod);
}

// An annotation that is a JSON object in a string. A damaged one is an error of the whole spec.
std::optional<json> nested(Members& members, const json* notes, const char* key) {
  const std::string text = note(members, notes, key);
  if (text.empty()) return std::nullopt;
  auto document = parse_limited(text);
  if (document && document->is_object()) return *std::move(document);
  members.wrong(key);
  return std::nullopt;
}

// CRI-O's pkg/annotations. It has none for the pod's UID: the label, or the fourth part of
// SandboxName = k8s_<pod>_<namespace>_<uid>_<attempt>; no part has a '_' in it.
void read_crio_pod(Members& members, const json* notes, Container& into) {
  PodRef pod;
  pod.sandbox_id = note(members, notes, "io.kubernetes.cri-o.SandboxID");
  const std::string sandbox_name = note(members, notes, "io.kubernetes.cri-o.SandboxName");
  const auto parts = split(sandbox_name, '_');
  constexpr std::size_t kParts = 5;
  const bool is_name = parts.size() == kParts && parts[0] == "k8s";
  into.sandbox = note(members, notes, "io.kubernetes.cri-o.ContainerType") == "sandbox";
  const auto labels = nested(members, notes, "io.kubernetes.cri-o.Labels");
  const json* all = labels ? &*labels : nullptr;
  pod.name = note(members, notes, "io.kubernetes.cri-o.KubeName");
  if (!into.sandbox || pod.name.empty()) pod.name = members.text_or_none(all, "io.kubernetes.pod.name");
  if (pod.name.empty()) pod.name = note(members, notes, "io.kubernetes.pod.name");
  if (pod.name.empty() && is_name) pod.name = parts[1];
  pod.ns = members.text_or_none(all, "io.kubernetes.pod.namespace");
  if (pod.ns.empty()) pod.ns = note(members, notes, "io.kubernetes.pod.namespace");
  if (pod.ns.empty()) pod.ns = note(members, notes, "io.kubernetes.cri-o.Namespace");
  if (pod.ns.empty() && is_name) pod.ns = parts[2];
  pod.uid = members.text_or_none(all, "io.kubernetes.pod.uid");
  if (pod.uid.empty()) pod.uid = note(members, notes, "io.kubernetes.pod.uid");
  if (pod.uid.empty() && is_name) pod.uid = parts[3];
  if (pod.uid.empty()) pod.uid = proc::parse_cgroup_owner(into.cgroup.raw).pod_uid;

  into.name = Bytes(members.text_or_none(all, "io.kubernetes.container.name"));
  const auto metadata = nested(members, notes, "io.kubernetes.cri-o.Metadata");
  const json* about = metadata ? &*metadata : nullptr;
  if (!into.sandbox && into.name.empty()) into.name = Bytes(members.text_or_none(about, "name"));
  if (into.sandbox) into.name = Bytes();
  const auto attempt = members.integer(about, "attempt");
  if (attempt && (*attempt < 0 || *attempt > UINT32_MAX)) members.wrong("attempt");
  into.attempt = static_cast<std::uint32_t>(attempt.value_or(0));
  into.image = Bytes(note(members, notes, "io.kubernetes.cri-o.ImageName"));
  if (into.image.empty()) into.image = Bytes(note(members, notes, "io.kubernetes.cri-o.Image"));
  into.image_id = Bytes(note(members, notes, "io.kubernetes.cri-o.ImageRef"));
  const std::string log = note(members, notes, "io.kubernetes.cri-o.LogPath");
  if (log.find('/') != std::string::npos) into.log_dir = Bytes(log.substr(0, log.rfind('/')));
  if (all != nullptr) {
    for (const auto& [key, value] : all->items()) {
      if (const auto* text = value.get_ptr<const std::string*>()) into.labels.emplace_back(key + "=" + *text);
    }
  }
  into.pod = std::move(pod);
}

// Who made the bundle. conmon's containers say so; nerdctl gives those of containerd a name of their own.
void read_annotations(Members& members, const json* spec, Container& into) {
  const json* notes = members.object(spec, "annotations");
  read_containerd_pod(members, notes, into);
  const std::string manager = note(members, notes, "io.container.manager");
  if (manager == "cri-o") read_crio_pod(members, notes, into);
  if (manager == "cri-o") into.engine = manager;
  if (manager == "libpod") into.engine = "podman";
  if (const std::string name = note(members, notes, "nerdctl/name"); !name.empty()) into.name = Bytes(name);
}

// Whether the device cgroup lets everything through: the last rule for all devices decides.
bool all_devices(Members& members, const json* linux_part) {
  bool all = false;
  const json* rules = members.list(members.object(linux_part, "resources"), "devices");
  if (rules == nullptr) return false;
  for (const json& element : *rules) {
    const json* rule = members.element(element, "devices");
    if (rule == nullptr) return false;
    const auto* type = members.text(rule, "type");
    const auto* access = members.text(rule, "access");
    if (type != nullptr && !type->empty() && *type != "a") continue;
    if (rule->contains("major") || rule->contains("minor")) continue;
    const bool allow = members.flag(rule, "allow");
    if (!allow) all = false;
    if (allow && access != nullptr && *access == "rwm") all = true;
  }
  return all;
}

bool has_namespace(Members& members, const json* linux_part, std::string_view type) {
  const json* list = members.list(linux_part, "namespaces");
  if (list == nullptr) return false;
  bool found = false;
  for (const json& element : *list) {
    const auto* text = members.text(members.element(element, "namespaces"), "type");
    found = found || (text != nullptr && *text == type);
  }
  return found;
}

// Order: priv, host namespaces, capabilities, "/". A namespace with a path may still be the node's: only the
// live process tells, see init.cpp.
void read_rights(Members& members, const json* linux_part, Container& into) {
  auto has = [&](std::string_view name) {
    return std::find(into.capabilities.begin(), into.capabilities.end(), name) != into.capabilities.end();
  };
  const json* masked = members.list(linux_part, "maskedPaths");
  const bool priv = all_devices(members, linux_part) && (masked == nullptr || masked->empty()) &&
                    !into.seccomp && has("CAP_SYS_ADMIN");
  if (priv) into.rights.emplace_back("priv");
  if (linux_part != nullptr) {
    if (!has_namespace(members, linux_part, "pid")) into.rights.emplace_back("hostPID");
    if (!has_namespace(members, linux_part, "network")) into.rights.emplace_back("hostNetwork");
    if (!has_namespace(members, linux_part, "ipc")) into.rights.emplace_back("hostIPC");
  }
  for (const std::string_view name : kPowerful) {
    if (!priv && has(name)) into.rights.emplace_back(name);
  }
  const bool node_root = std::any_of(into.mounts.begin(), into.mounts.end(), [](const HostMount& mount) {
    return mount.source.raw.find_first_not_of('/') == std::string::npos && !mount.source.empty();
  });
  if (node_root) into.rights.emplace_back("/");
}

}  // namespace

Status parse_spec(std::string_view text, Container& into) {
  const auto document = parse_limited(text);
  if (!document) return Error(document.error()).within("OCI config");
  if (!document->is_object()) return Error{Errc::malformed, "OCI config: not an object"};
  const json* spec = &*document;

  Container read = into;
  Members members;
  read.rights.clear();
  read.mounts.clear();
  read.labels.clear();
  read_process(members, spec, read);
  const json* root = members.object(spec, "root");
  read.read_only_root = members.flag(root, "readonly");
  read.root_dir = Bytes(members.text_or_none(root, "path"));
  read_mounts(members, spec, read);
  const json* linux_part = members.object(spec, "linux");
  read.seccomp = members.object(linux_part, "seccomp") != nullptr;
  if (const auto* path = members.text(linux_part, "cgroupsPath")) read.cgroup = Bytes(*path);
  read_annotations(members, spec, read);
  read_rights(members, linux_part, read);
  if (members.error()) return Error(*members.error()).within("OCI config");
  into = std::move(read);
  return Done{};
}

}  // namespace ctriage::runtime
