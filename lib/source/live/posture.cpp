#include "lib/source/live/posture.h"

#include <algorithm>
#include <array>

#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"
#include "lib/source/live/tmpfs.h"
#include "lib/source/live/volumes.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxTokenBytes = 64 << 10;
constexpr std::size_t kMaxExecs = 10'000;
constexpr std::size_t kMaxPidBytes = 64;
// File systems of which nothing on a disk of the node is shown.
constexpr std::array<std::string_view, 15> kOfTheKernel = {
    "proc",    "sysfs",   "cgroup", "cgroup2",  "devpts", "mqueue",      "devtmpfs", "securityfs",
    "tracefs", "debugfs", "bpf",    "configfs", "pstore", "binfmt_misc", "hugetlbfs"};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

GrantKind kind_of_source(std::string_view source) {
  if (is_empty_dir(source)) return GrantKind::empty_dir;
  if (is_secret(source)) return GrantKind::secret;
  if (contains(source, "/volumes/kubernetes.io~") || contains(source, "/volume-subpaths/"))
    return GrantKind::volume;
  for (const std::string_view made :
       {"/io.containerd.grpc.v1.cri/sandboxes/", "/overlay-containers/", "/docker/containers/"}) {
    if (contains(source, made)) return GrantKind::engine;
  }
  // <kubelet>/pods/UID/etc-hosts and the termination log, pods/UID/containers/NAME/HEX.
  if (contains(source, "/pods/") && (source.ends_with("/etc-hosts") || contains(source, "/containers/")))
    return GrantKind::engine;
  return GrantKind::host_path;
}

namespace {

bool shares(const Node& node, std::int32_t pid, std::string_view type, Task& task) {
  const auto its = proc::read_namespace(node.proc, pid, type);
  const auto of_node = proc::read_namespace(node.proc, node.host, type);
  if (its && of_node) return *its == *of_node;
  task.gaps.add({Impact::lost, "container.posture", pid_text(pid),
                 needs(its ? of_node.error() : its.error(), "CAP_SYS_PTRACE")
                     .within("whether it shares the node's namespace of type " + std::string(type))});
  return false;
}

std::optional<std::string> from_base64url(std::string_view text) {
  std::string plain(text);
  std::ranges::replace(plain, '-', '+');
  std::ranges::replace(plain, '_', '/');
  plain.append((4 - plain.size() % 4) % 4, '=');
  return from_base64(plain);
}

// Of the tmpfs that kubelet fills; files elsewhere, which the container could have made, are in their layers.
void read_tokens(const Node& node, const LiveContainer& live, const std::vector<Mount>& of_node,
                 Posture& into, Task& task) {
  for (const Mount& mount : live.mounts) {
    if (mount.fstype.raw != "tmpfs" || owner_of_tmpfs(mount, of_node) != TmpfsOwner::secrets) continue;
    const std::string path = mount.mountpoint.raw + "/token";
    if (server_on_the_way(live, path) != nullptr) continue;  // told when the tmpfs was held
    auto root = node.proc.descend_magic(proc::live_path(node.proc, live.container.init_pid) + "/root");
    auto top = root ? root->descend_in_root(mount.mountpoint.raw) : Result<Root>(root.error());
    if (!top) {
      task.gaps.add({Impact::lost, "container.token", path, std::move(top).error()});
      continue;
    }
    if (mount_id(node.proc, top->fd()) != mount.id) continue;  // mounted over
    auto text = top->read_file_in_root("token", kMaxTokenBytes);
    if (!text) {
      if (text.error().code != Errc::not_found)
        task.gaps.add({Impact::lost, "container.token", path, std::move(text).error()});
      continue;
    }
    auto token = parse_token(*text);
    if (!token) {
      task.gaps.add({Impact::note, "container.token", path, Error{Errc::malformed, "is no JSON web token"}});
      continue;
    }
    token->path = Bytes(path);
    into.tokens.push_back(*std::move(token));
  }
}

// <bundle>/<exec id>.pid of each exec that has not ended in order; then members that came so.
void read_execs(const Node& node, const LiveContainer& live, Posture& into, Task& task) {
  const auto is_member = [&](std::int32_t pid) {
    const auto held = live.processes.find(pid);
    return held != live.processes.end() && !held->second.gone && !held->second.ended;
  };
  constexpr std::string_view kSuffix = ".pid";
  if (live.shim_pid > 0 && !live.container.bundle_dir.empty()) {
    auto root = node.proc.descend_magic(std::to_string(live.shim_pid) + "/root");
    auto bundle = root ? root->descend_in_root(live.container.bundle_dir.raw) : Result<Root>(root.error());
    auto block = bundle ? list_names(*bundle, "") : Result<NameBlock>(bundle.error());
    if (!block) {
      task.gaps.add({Impact::lost, "container.execs", live.container.id, std::move(block).error()});
      block = NameBlock{};
    }
    for (const std::string& name : block->names) {
      if (!name.ends_with(kSuffix) || name == "init.pid" || into.execs.size() >= kMaxExecs) continue;
      ExecTrace trace;
      trace.id = Bytes(name.substr(0, name.size() - kSuffix.size()));
      if (const auto text = bundle->read_file_in_root(name, kMaxPidBytes)) {
        trace.pid = parse_number<std::int32_t>(trim(*text)).value_or(0);
      } else {
        task.gaps.add({Impact::lost, "container.execs", name, text.error()});
      }
      if (const auto info = bundle->stat_beneath(name)) trace.at = info->mtime;
      trace.running = is_member(trace.pid);
      into.execs.push_back(std::move(trace));
    }
  }
  for (const auto& [pid, held] : live.processes) {
    if (held.membership != Membership::executed_in || into.execs.size() >= kMaxExecs) continue;
    if (std::ranges::find(into.execs, pid, &ExecTrace::pid) != into.execs.end()) continue;
    ExecTrace trace;
    trace.pid = pid;
    trace.running = is_member(pid);
    trace.at = proc::time_of_ticks(node.clock, held.start_ticks);
    into.execs.push_back(std::move(trace));
  }
}

}  // namespace

std::optional<Grant> grant_of(const Mount& mount, const std::vector<Mount>& of_node) {
  if (mount.mountpoint.raw == "/" || mount.fstype.raw == "overlay" ||
      std::ranges::find(kOfTheKernel, mount.fstype.raw) != kOfTheKernel.end())
    return std::nullopt;
  const std::string source = true_source(mount, of_node);
  if (source.empty()) return std::nullopt;
  Grant grant;
  grant.destination = mount.mountpoint;
  grant.source = Bytes(source);
  grant.fstype = mount.fstype;
  grant.kind = kind_of_source(source);
  if (mount.mountpoint.raw == "/dev/shm" && source != "/dev/shm" && source.ends_with("/shm"))
    grant.kind = GrantKind::engine;
  grant.writable = is_writable(mount);
  return grant;
}

std::optional<TokenClaims> parse_token(std::string_view text) {
  const auto parts = split(trim(text), '.');
  if (parts.size() != 3 || parts[0].empty() || parts[1].empty()) return std::nullopt;
  auto header = from_base64url(parts[0]);
  auto claims = from_base64url(parts[1]);
  if (!header || !claims || !header->starts_with('{') || !claims->starts_with('{')) return std::nullopt;
  TokenClaims token;
  token.sha256 = sha256_hex(text);
  token.header = Bytes(*std::move(header));
  token.claims = Bytes(*std::move(claims));
  return token;
}

Posture read_posture(const Node& node, const LiveContainer& live, const std::vector<Mount>& of_node,
                     Task& task) {
  const Container& container = live.container;
  const std::int32_t init = container.init_pid;
  Posture posture;
  posture.container = container.id;
  posture.name = container.name;
  posture.privileged = std::ranges::find(container.rights, "priv") != container.rights.end();
  posture.host_pid = shares(node, init, "pid", task);
  posture.host_ipc = shares(node, init, "ipc", task);
  posture.host_network = shares(node, init, "net", task);
  posture.host_user_namespace = shares(node, init, "user", task);
  posture.read_only_root = container.read_only_root;
  for (const Mount& mount : live.mounts) {
    if (mount.mountpoint.raw != "/") continue;
    const auto options = split(mount.options.view(), ',');
    posture.read_only_root = posture.read_only_root || std::ranges::find(options, "ro") != options.end();
  }
  Process first;
  const auto process = proc::open_process(node.proc, init, container.init_start_ticks);
  auto text = process ? process->read_file_in_root("status", kMaxProcTextBytes)
                      : Result<std::string>(process.error());
  const Status parsed = text ? proc::parse_status(*text, first) : Status(text.error());
  if (!parsed) task.gaps.add({Impact::lost, "container.posture", pid_text(init), parsed.error()});
  if (first.credentials.uids.size() > 1) posture.uid = first.credentials.uids[1];
  posture.capabilities = first.capabilities;
  posture.no_new_privs = first.no_new_privs;
  posture.seccomp = first.seccomp;
  if (process) {
    if (auto label = process->read_file_in_root("attr/current", kMaxTokenBytes); label && !label->empty()) {
      while (label->ends_with('\n') || label->ends_with('\0')) label->pop_back();
      if (!label->empty()) posture.lsm_label = Bytes(*std::move(label));
    }
  }
  if (!live.alone) {
    for (const Mount& mount : live.mounts) {
      if (auto grant = grant_of(mount, of_node)) posture.grants.push_back(*std::move(grant));
    }
    read_tokens(node, live, of_node, posture, task);
    read_execs(node, live, posture, task);
  }
  return posture;
}

}  // namespace ctriage::source
