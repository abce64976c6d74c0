#include "lib/compare/project.h"

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/model/json.h"

namespace ctriage::compare {
namespace {

constexpr std::uint64_t kAccessMode = 3;  // O_ACCMODE

std::string hex(Hex value) { return JsonWriter::hex_text(value); }

std::string numbers(const std::vector<std::uint32_t>& values) {
  std::string out;
  for (const std::uint32_t value : values) out += (out.empty() ? "" : " ") + std::to_string(value);
  return out;
}

// Each but the last ended by a NUL, as /proc/PID/cmdline has them.
std::string joined(const std::vector<Bytes>& parts) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? "" : std::string(1, '\0')) + parts[i].raw;
  return out;
}

std::string sorted_words(const std::vector<std::string>& words) {
  std::vector<std::string> sorted = words;
  std::ranges::sort(sorted);
  std::string out;
  for (const std::string& word : sorted) out += (out.empty() ? "" : " ") + word;
  return out;
}

// NAME=value, each a field of its own; the same name again is another one.
void add_environment(const std::vector<Bytes>& environ, Item& item) {
  std::map<std::string_view, std::size_t> seen;
  for (const Bytes& variable : environ) {
    const std::string_view text = variable.view();
    const std::string_view name = text.substr(0, text.find('='));
    const std::size_t times = ++seen[name];
    item.add("env " + std::string(name) + (times > 1 ? " (" + std::to_string(times) + ")" : ""),
             std::string(text.substr(std::min(text.size(), name.size() + 1))), true);
  }
}

std::string bounded(std::string key) {
  if (key.size() > kMaxKeyBytes) key.resize(kMaxKeyBytes);
  return key;
}

}  // namespace

Result<const Projector::Members*> Projector::members(const std::string& container, Task& task) {
  if (const auto known = members_.find(container); known != members_.end()) return &known->second;
  Members found;
  std::unordered_map<std::int32_t, bool> taken;
  std::int32_t first = 0;
  bool too_many = false;
  const Emit<Process> take = [&](Process&& process) -> Status {
    if (found.inner.size() >= kMaxCriuTasks) {
      too_many = true;
      return Done{};
    }
    const std::int32_t own = process.container_pid > 0 ? process.container_pid : process.pid;
    const bool free = taken.emplace(own, true).second;
    // In a pid namespace of its own one may have the number of another: it goes by the node's.
    found.inner.emplace(process.pid, free ? own : -process.pid);
    if (first == 0 || own < first) {
      first = own;
      found.namespaces.clear();
      for (const NamespaceId& each : process.namespaces) found.namespaces[each.type] = each.inode.value;
    }
    return Done{};
  };
  if (snapshot_.covers(Facet::processes).level != Coverage::Level::none) {
    GapLog aside;  // told when the processes themselves are listed
    Task looking = task.with(aside);
    if (auto listed = snapshot_.list_processes(container, take, looking); !listed)
      return std::move(listed).error();
  }
  if (too_many)
    task.gaps.add(
        {Impact::lost,
         "compare.process",
         container,
         {Errc::limit, "more than " + with_commas(kMaxCriuTasks) + " processes: the rest is not compared"}});
  return &members_.emplace(container, std::move(found)).first->second;
}

Result<std::int32_t> Projector::inner_pid(const std::string& container, std::int32_t pid, Task& task) {
  auto known = members(container, task);
  if (!known) return std::move(known).error();
  const auto found = (*known)->inner.find(pid);
  return found == (*known)->inner.end() ? pid : found->second;
}

Result<std::int32_t> Projector::pid_of(const std::string& container, std::int32_t inner, Task& task) {
  auto known = members(container, task);
  if (!known) return std::move(known).error();
  for (const auto& [pid, own] : (*known)->inner) {
    if (own == inner) return pid;
  }
  return 0;
}

Result<std::vector<Bounds>> Projector::list_bounds(const std::vector<std::string>& containers, Task& task) {
  std::vector<Bounds> bounds;
  if (snapshot_.covers(Facet::mappings).level == Coverage::Level::none) return bounds;
  GapLog aside;  // told where mappings are compared
  Task looking = task.with(aside);
  for (const std::string& container : containers) {
    auto listed = snapshot_.list_mappings(
        container,
        [&](Mapping&& mapping) -> Status {
          if (bounds.size() < kMaxKeptMappings)
            bounds.push_back({mapping.pid, mapping.start.value, mapping.end.value});
          return Done{};
        },
        looking);
    if (!listed) return std::move(listed).error();
  }
  std::ranges::sort(bounds, {}, [](const Bounds& one) { return std::pair(one.pid, one.start); });
  return bounds;
}

Item item_of(const Container& container) {
  Item item;
  item.what = container.name.raw;
  item.add("state", std::string(to_text(container.state)));
  item.add_known("image", container.image.raw);
  item.add_known("image_id", container.image_id.raw);
  item.add_known("image_digest", container.image_digest.raw);
  item.add_known("args", joined(container.args));
  item.add_known("cwd", container.cwd.raw);
  if (!container.args.empty()) {  // a specification was there
    item.add("user", std::to_string(container.uid) + ":" + std::to_string(container.gid));
    item.add("capabilities", sorted_words(container.capabilities));
    item.add("rights", sorted_words(container.rights));
    item.add("seccomp", container.seccomp ? "on" : "off");
    item.add("no_new_privs", container.no_new_privs ? "on" : "off");
    item.add("read_only_root", container.read_only_root ? "on" : "off");
  }
  if (container.exit_code) item.add("exit_code", std::to_string(*container.exit_code));
  if (!container.environ.empty()) add_environment(container.environ, item);
  return item;
}

Status Projector::list(const ListRequest& request, const Emit<Item>& emit, Task& task) {
  if (request.kind == ComparedKind::file) return list_files(request, emit, task);
  if (request.kind == ComparedKind::mount) return list_mounts(request, emit, task);
  if (request.kind == ComparedKind::layer) return list_layers(request, emit, task);
  auto known = members(request.container, task);
  if (!known) return std::move(known).error();
  if (request.kind == ComparedKind::process) return list_processes(request, **known, emit, task);
  if (request.kind == ComparedKind::mapping) return list_mappings(request, **known, emit, task);
  if (request.kind == ComparedKind::descriptor) return list_descriptors(request, **known, emit, task);
  if (request.kind == ComparedKind::socket) return list_sockets(request, **known, emit, task);
  return Error{Errc::unsupported, std::string(to_text(request.kind)) + " is no list"};
}

Status Projector::list_processes(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                                 Task& task) {
  const Emit<Process> take = [&](Process&& process) -> Status {
    const auto inner = members.inner.find(process.pid);
    if (inner == members.inner.end()) return Done{};
    if (request.pid != 0 && inner->second != request.pid) return Done{};
    Item item;
    item.pid = inner->second;
    item.key = key_of(item.pid);
    item.start = process.start_ticks;
    item.what = joined(process.argv);
    if (item.what.empty()) item.what = process.exe.path.empty() ? process.comm.raw : process.exe.path.raw;
    item.what.resize(std::min(item.what.size(), kMaxFieldBytes));
    const bool has_ended = process.state == "Z";
    if (has_ended) item.add("state", "has ended (zombie)", true);
    item.add_known("exe", process.exe.path.raw);
    if (!process.exe.path.empty()) item.add("exe deleted", process.exe.deleted ? "yes" : "no");
    if (process.exe.origin != Origin::unknown) item.add("exe from", std::string(to_text(process.exe.origin)));
    if (process.exe.size_bytes > 0) item.add("exe size", std::to_string(process.exe.size_bytes));
    if (process.exe.sha256) item.add("exe sha256", *process.exe.sha256);
    if (!has_ended) item.add("argv", joined(process.argv));
    item.add("comm", process.comm.raw);
    item.add_known("cwd", process.cwd.raw);
    item.add_known("root", process.root.raw);
    item.add_known("uids", numbers(process.credentials.uids));
    item.add_known("gids", numbers(process.credentials.gids));
    if (!process.credentials.uids.empty()) item.add("groups", numbers(process.credentials.groups));
    item.add("capabilities inheritable", hex(process.capabilities.inheritable));
    item.add("capabilities permitted", hex(process.capabilities.permitted));
    item.add("capabilities effective", hex(process.capabilities.effective));
    item.add("capabilities bounding", hex(process.capabilities.bounding));
    item.add("capabilities ambient", hex(process.capabilities.ambient));
    item.add("no_new_privs", process.no_new_privs ? "on" : "off");
    item.add("seccomp", std::to_string(process.seccomp));
    if (process.lsm_label) item.add("lsm_label", process.lsm_label->raw);
    item.add("traced", process.tracer_pid == 0 ? "no" : "yes");
    // Numbers of namespaces are those of a node, or of CRIU: whether the first process has the same is not.
    for (const NamespaceId& each : process.namespaces) {
      const auto own = members.namespaces.find(each.type);
      if (own == members.namespaces.end()) continue;
      item.add("namespace " + each.type,
               own->second == each.inode.value ? "the container's" : "another than the container's");
    }
    if (!process.environ.empty()) add_environment(process.environ, item);
    return emit(std::move(item));
  };
  return snapshot_.list_processes(request.container, take, task);
}

Status Projector::list_mappings(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                                Task& task) {
  const Emit<Mapping> take = [&](Mapping&& mapping) -> Status {
    const auto inner = members.inner.find(mapping.pid);
    if (inner == members.inner.end()) return Done{};
    if (request.pid != 0 && inner->second != request.pid) return Done{};
    Item item;
    item.pid = inner->second;
    item.start = mapping.start.value;
    item.what = mapping.path.raw;
    const std::uint64_t size = mapping.end.value - std::min(mapping.end.value, mapping.start.value);
    if (request.by_address) {
      item.key = key_of(item.pid) + key_of(mapping.start.value);
      item.add("protection", mapping.protection);
      item.add("size", std::to_string(size));
      item.add("path", mapping.path.raw, true);
      if (!mapping.path.empty() && !mapping.path.view().starts_with('['))
        item.add("offset", std::to_string(mapping.offset_bytes));
    } else {
      // Of what has no name, only code says something in another process.
      const bool named = !mapping.path.empty() && !mapping.path.view().starts_with('[');
      if (!named && mapping.protection.find('x') == std::string::npos) return Done{};
      item.key = bounded(key_of(item.pid) + mapping.path.raw) + key_of(named ? mapping.offset_bytes : 0);
      item.start = 0;
      item.add("protection", mapping.protection);
      if (named) item.add("size", std::to_string(size));
    }
    return emit(std::move(item));
  };
  return snapshot_.list_mappings(request.container, take, task);
}

namespace {

std::string socket_text(const Socket& socket) {
  const bool has_peer = !socket.remote.empty() && !socket.remote.view().starts_with("socket:[");
  std::string text = socket.family;
  if (!socket.local.empty()) text += " " + socket.local.raw;
  if (has_peer) text += " > " + socket.remote.raw;
  return text;
}

// "pipe:[179218]" is a number of this node.
std::string unnumbered(const std::string& target) {
  const auto open = target.find(":[");
  const std::string_view kind = std::string_view(target).substr(0, open);
  return open != std::string::npos && (kind == "pipe" || kind == "socket" || kind == "net" || kind == "mnt")
             ? std::string(kind)
             : target;
}

}  // namespace

Status Projector::list_descriptors(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                                   Task& task) {
  std::unordered_map<std::uint64_t, std::string> sockets;
  if (snapshot_.covers(Facet::sockets).level != Coverage::Level::none) {
    GapLog aside;  // told where sockets are compared
    Task looking = task.with(aside);
    auto listed = snapshot_.list_sockets(
        request.container,
        [&](Socket&& socket) -> Status {
          if (sockets.size() < kMaxKeptSockets && socket.inode.value != 0)
            sockets.emplace(socket.inode.value, socket_text(socket));
          return Done{};
        },
        looking);
    if (!listed) return listed;
  }
  const Emit<Descriptor> take = [&](Descriptor&& file) -> Status {
    const auto inner = members.inner.find(file.pid);
    if (inner == members.inner.end()) return Done{};
    if (request.pid != 0 && inner->second != request.pid) return Done{};
    Item item;
    item.pid = inner->second;
    // A table of its own has the number of the thread on this node: by descriptor then, one after the other.
    item.key = key_of(item.pid) + key_of(file.fd) + (file.tid == 0 ? '0' : '1');
    std::string target = unnumbered(file.target.raw);
    if (file.kind == "socket") {
      const auto socket = sockets.find(file.inode.value);
      target = socket == sockets.end() ? "socket" : socket->second;
    }
    item.what = std::to_string(file.fd) + " " + target;
    item.add("target", target);
    item.add("kind", file.kind);
    if (file.kind == "regular") item.add("deleted", file.deleted ? "yes" : "no");
    item.add("access", (file.flags.value & kAccessMode) == 0   ? "read"
                       : (file.flags.value & kAccessMode) == 1 ? "write"
                                                               : "read and write");
    return emit(std::move(item));
  };
  return snapshot_.list_descriptors(request.container, take, task);
}

Status Projector::list_sockets(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                               Task& task) {
  const Emit<Socket> take = [&](Socket&& socket) -> Status {
    std::vector<std::int32_t> pids;
    for (const std::int32_t pid : socket.pids) {
      const auto inner = members.inner.find(pid);
      pids.push_back(inner == members.inner.end() ? pid : inner->second);
    }
    std::ranges::sort(pids);
    if (request.pid != 0 && std::ranges::find(pids, request.pid) == pids.end()) return Done{};
    Item item;
    item.what = socket_text(socket);
    item.key = bounded(item.what);
    item.add("state", socket.state);
    constexpr std::size_t kFew = 64;
    std::string holders;
    for (std::size_t i = 0; i < pids.size() && i < kFew; ++i)
      holders += (i == 0 ? "" : " ") + std::to_string(pids[i]);
    if (pids.size() > kFew) holders += " and " + std::to_string(pids.size() - kFew) + " more";
    if (!members.inner.empty()) item.add("held by", holders.empty() ? "nobody inside" : holders);
    return emit(std::move(item));
  };
  return snapshot_.list_sockets(request.container, take, task);
}

Status Projector::list_mounts(const ListRequest& request, const Emit<Item>& emit, Task& task) {
  const Emit<Mount> take = [&](Mount&& mount) -> Status {
    Item item;
    item.what = mount.mountpoint.raw;
    item.key = bounded(item.what);
    item.add("type", mount.fstype.raw);
    item.add("root", mount.root.raw);
    item.add_known("source", mount.source.raw);
    std::vector<std::string> options;
    for (const std::string_view option : split(mount.options.view(), ',')) options.emplace_back(option);
    item.add_known("options", sorted_words(options));
    return emit(std::move(item));
  };
  return snapshot_.list_mounts(request.container, take, task);
}

Status Projector::list_layers(const ListRequest& request, const Emit<Item>& emit, Task& task) {
  const Emit<Layer> take = [&](Layer&& layer) -> Status {
    if (layer.upper) return Done{};  // what is in it, is compared
    Item item;
    item.what = "layer " + std::to_string(layer.number);
    item.key = key_of(std::uint64_t{layer.number});
    if (layer.digest) item.add("digest", *layer.digest);
    item.add_known("path", layer.path.raw);
    return emit(std::move(item));
  };
  return snapshot_.list_layers(request.container, take, task);
}

}  // namespace ctriage::compare
