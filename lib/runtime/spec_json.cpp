// The OCI runtime specification's config.json, as containerd's CRI plugin and ctr write it:
//
//   spec    = { process?: {args, env, cwd, user: {uid, gid}, capabilities: {bounding}, noNewPrivileges,
//   terminal},
//               root?: {readonly}, mounts?: [{destination, type, source, options}], annotations?: {key:
//               text}, linux?: {cgroupsPath, namespaces: [{type, path?}], maskedPaths, seccomp, resources:
//               {devices}} }
//
// opencontainers/runtime-spec config.md and config-linux.md. null is as good as absent (Go writes nil lists
// so).
#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/model/json_limits.h"
#include "lib/proc/proc.h"
#include "lib/runtime/runtime.h"

namespace ctriage::runtime {
namespace {

using nlohmann::json;

// Capabilities outside the default set of containerd and Docker that open the node or the other containers.
constexpr std::array<std::string_view, 7> kPowerful{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_MODULE",
                                                    "CAP_NET_ADMIN", "CAP_BPF",        "CAP_DAC_READ_SEARCH",
                                                    "CAP_SYS_RAWIO"};

// Members of hostile JSON. Sticky: the first value of the wrong type is remembered and the rest reads as
// absent.
class Members {
 public:
  const json* find(const json* in, const char* key, json::value_t type) {
    if (in == nullptr || error_) return nullptr;
    const auto found = in->find(key);
    if (found == in->end() || found->is_null()) return nullptr;
    if (found->type() == type) return &*found;
    wrong(key);
    return nullptr;
  }
  const json* object(const json* in, const char* key) { return find(in, key, json::value_t::object); }
  const json* list(const json* in, const char* key) { return find(in, key, json::value_t::array); }
  // Nothing where the key is absent.
  const std::string* text(const json* in, const char* key) {
    const json* found = find(in, key, json::value_t::string);
    return found == nullptr ? nullptr : found->get_ptr<const std::string*>();
  }
  bool flag(const json* in, const char* key) {
    const json* found = find(in, key, json::value_t::boolean);
    return found != nullptr && *found->get_ptr<const bool*>();
  }
  std::uint32_t id(const json* in, const char* key) {
    const json* found = find(in, key, json::value_t::number_unsigned);
    if (found == nullptr) return 0;
    const auto value = *found->get_ptr<const std::uint64_t*>();
    if (value > UINT32_MAX) wrong(key);
    return static_cast<std::uint32_t>(value);
  }
  std::vector<std::string> texts(const json* in, const char* key) {
    std::vector<std::string> all;
    const json* found = list(in, key);
    if (found == nullptr) return all;
    for (const json& element : *found) {
      const auto* text = element.get_ptr<const std::string*>();
      if (text == nullptr) {
        wrong(key);
        return {};
      }
      all.push_back(*text);
    }
    return all;
  }
  std::vector<Bytes> bytes(const json* in, const char* key) {
    std::vector<Bytes> all;
    for (std::string& text : texts(in, key)) all.emplace_back(std::move(text));
    return all;
  }
  const json* element(const json& in, const char* key) {  // of a list of objects
    if (!in.is_object()) wrong(key);
    return in.is_object() && !error_ ? &in : nullptr;
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  void wrong(const char* key) {
    if (!error_) error_ = Error{Errc::malformed, std::string(key) + ": wrong type or out of range"};
  }
  std::optional<Error> error_;
};

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

// containerd's pkg/cri/annotations. sandbox-uid is there since 1.7 and late 1.6; before, the cgroup and the
// name of the log directory, <namespace>_<pod>_<uid>, have it.
void read_annotations(Members& members, const json* spec, Container& into) {
  const json* notes = members.object(spec, "annotations");
  auto note = [&](const char* key) {
    const auto* text = members.text(notes, key);
    return text == nullptr ? std::string{} : *text;
  };
  PodRef pod;
  pod.sandbox_id = note("io.kubernetes.cri.sandbox-id");
  if (pod.sandbox_id.empty()) return;
  pod.ns = note("io.kubernetes.cri.sandbox-namespace");
  pod.name = note("io.kubernetes.cri.sandbox-name");
  pod.uid = note("io.kubernetes.cri.sandbox-uid");
  into.sandbox = note("io.kubernetes.cri.container-type") == "sandbox";
  into.name = Bytes(note("io.kubernetes.cri.container-name"));
  into.image = Bytes(note("io.kubernetes.cri.image-name"));
  if (into.image.empty()) into.image = Bytes(note("io.kubernetes.cri.podsandbox.image-name"));
  into.log_dir = Bytes(note("io.kubernetes.cri.sandbox-log-directory"));
  if (pod.uid.empty()) pod.uid = proc::parse_cgroup_owner(into.cgroup.raw).pod_uid;
  const std::string prefix = pod.ns + "_" + pod.name + "_";
  const std::string log_name = into.log_dir.raw.substr(into.log_dir.raw.rfind('/') + 1);
  if (pod.uid.empty() && log_name.starts_with(prefix)) pod.uid = log_name.substr(prefix.size());
  into.pod = std::move(pod);
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
  read_process(members, spec, read);
  read.read_only_root = members.flag(members.object(spec, "root"), "readonly");
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
