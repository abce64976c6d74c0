#include "lib/source/whois.h"

#include <algorithm>
#include <set>

#include "lib/core/address.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/proc/network.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kHexDigits = 64;
constexpr std::size_t kMaxDetails = 32;  // of one container: many connections say the same

bool is_hex(std::string_view text) {
  return text.size() == kHexDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Below a directory that the records name; the root says nothing.
bool lies_in(std::string_view path, std::string_view directory) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.remove_suffix(1);
  return directory != "/" && is_at_or_below(path, directory);
}

struct Wanted {
  std::string token;
  std::optional<std::int32_t> pid;
  std::string address;
  std::string port;    // "443"
  std::string digest;  // 64 digits
  std::string path;
  // The node's directories on the way to `path`, the nearest first, with what is left of it below them.
  std::vector<std::pair<FileInfo, std::string>> way;
};

class Search {
 public:
  Search(Node& node, Wanted wanted, Task& task) : node_(node), wanted_(std::move(wanted)), task_(task) {}

  Status look(LiveContainer& live) {
    live_ = &live;
    look_at_records(live.container);
    if (!wanted_.path.empty()) look_at_layers();
    std::set<std::uint64_t> networks;
    for (auto& [pid, held] : live.processes) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      if (wanted_.pid == pid) tell("pid", process_text(pid, held));
      if (held.ended) continue;  // a zombie has nothing else
      if (!wanted_.address.empty() || !wanted_.port.empty()) look_at_network(pid, held, networks);
      if (!wanted_.digest.empty()) look_at_program(pid, held);
      if (!wanted_.path.empty()) look_at_cgroup(pid, held);
    }
    return Done{};
  }

  // What is known of a container without looking into it.
  void look_at_records(const Container& container) {
    container_ = &container;
    details_ = 0;
    if (!wanted_.digest.empty()) {
      if (container.id == wanted_.digest) tell("container", "its id");
      for (const auto& [text, what] :
           {std::pair{&container.image_digest, "digest of its image"},
            std::pair{&container.image_id, "id of its image"}, std::pair{&container.image, "its image"}}) {
        if (text->raw.find(wanted_.digest) != std::string::npos) tell("image", what + (" " + text->raw));
      }
    }
    if (wanted_.path.empty()) return;
    for (const auto& [directory, what] :
         {std::pair{&container.bundle_dir, "OCI bundle"}, std::pair{&container.root_dir, "root directory"},
          std::pair{&container.log_dir, "logs"}, std::pair{&container.record, "the engine's record"}}) {
      if (lies_in(wanted_.path, directory->raw)) tell("path", std::string(what) + " " + directory->raw);
    }
    for (const HostMount& mount : container.mounts) {
      if (lies_in(wanted_.path, mount.source.raw)) {
        tell("path", "mounted at " + mount.destination.raw + wanted_.path.substr(mount.source.raw.size()));
      }
    }
  }

  [[nodiscard]] std::optional<std::int32_t> pid() const { return wanted_.pid; }
  [[nodiscard]] bool looks_at_layers() const { return !wanted_.path.empty(); }
  std::vector<Belongs> found;

 private:
  void tell(std::string as, std::string detail) {
    if (++details_ > kMaxDetails) return;
    if (details_ == kMaxDetails) detail += "; more not listed";
    found.push_back({*container_, std::move(as), std::move(detail)});
  }

  // Who has ended belongs to nobody now.
  void lost(const char* what, std::int32_t pid, Error error) {
    if (error.code == Errc::vanished || error.code == Errc::not_found) return;
    task_.gaps.add({Impact::lost, what, pid_text(pid), std::move(error)});
  }

  std::string process_text(std::int32_t pid, const HeldProcess& held) {
    Executable exe;
    auto there = proc::open_living(node_.proc, pid, held.start_ticks);
    if (there) static_cast<void>(proc::look_at_program(*there, exe));
    std::string text = "pid " + std::to_string(pid);
    if (!exe.path.empty()) text += " " + exe.path.raw;
    if (held.membership != Membership::child) text += " (" + std::string(to_text(held.membership)) + ")";
    return text;
  }

  void look_at_layers() {
    if (!live_->stack) {
      if (!live_->alone)
        task_.gaps.add({Impact::lost, "container.layers", container_->id,
                        Error{Errc::unsupported, "its layers are not known: " + live_->no_stack}});
      return;
    }
    const auto& layers = live_->stack->layers();
    const auto directories = live_->stack->numbered_directories();
    for (const auto& [info, rest] : wanted_.way) {
      for (const auto& [number, directory] : directories) {
        if (!directory.same_inode(info)) continue;
        const bool upper = number == layers.size();
        tell("path",
             (upper ? std::string("UpperDir, ") : "layer " + std::to_string(number) + " of the image, ") +
                 (rest.empty() ? "/" : rest));
      }
    }
  }

  void look_at_cgroup(std::int32_t pid, const HeldProcess& held) {
    auto there = proc::open_living(node_.proc, pid, held.start_ticks);
    auto text = there ? there->read_file_in_root("cgroup", 64 << 10) : Result<std::string>(there.error());
    if (!text) return lost("proc.cgroup", pid, std::move(text).error());
    for (const proc::CgroupLine& line : proc::parse_cgroup(*text)) {
      const std::string& path = line.path;
      const bool named = wanted_.path == path || (wanted_.path.starts_with("/sys/fs/cgroup") &&
                                                  path.size() > 1 && wanted_.path.ends_with(path));
      if (path.size() > 1 && named) tell("cgroup", process_text(pid, held) + " is in " + path);
    }
  }

  void look_at_network(std::int32_t pid, const HeldProcess& held, std::set<std::uint64_t>& seen) {
    auto process = proc::open_living(node_.proc, pid, held.start_ticks);
    const auto net = process ? proc::read_namespace(*process, "net") : Result<Hex>(process.error());
    if (!net) return lost("proc.network", pid, net.error());
    for (const auto& [other, tid] : proc::list_thread_namespaces(*process, "net", task_)) {
      auto thread = process->descend("task/" + std::to_string(tid));
      if (!thread) {
        lost("proc.network", tid, std::move(thread).error());
      } else if (seen.insert(other).second) {
        look_at_namespace(*thread, pid);
      }
    }
    if (seen.insert(net->value).second) look_at_namespace(*process, pid);
  }

  // `process`: /proc/PID or a thread of it.
  void look_at_namespace(const Root& process, std::int32_t pid) {
    const Emit<Socket> socket = [&](Socket&& one) -> Status {
      for (const auto& [side, end] :
           {std::pair{"local", &one.local.raw}, std::pair{"remote", &one.remote.raw}}) {
        const auto colon = end->rfind(':');
        if (colon == std::string::npos || one.family == "unix") continue;
        std::string address = end->substr(0, colon);
        if (address.starts_with('[') && address.ends_with(']'))
          address = address.substr(1, address.size() - 2);
        const bool is_local = std::string_view(side) == "local";
        const std::string text = one.family + " " + one.state + " " + one.local.raw + " > " + one.remote.raw;
        if (!wanted_.port.empty() && is_local && end->substr(colon + 1) == wanted_.port) tell("port", text);
        if (!wanted_.address.empty() && canonical_address(address) == wanted_.address) tell("address", text);
      }
      return Done{};
    };
    if (auto listed = proc::list_sockets(process, pid, socket, task_); !listed)
      lost("proc.sockets", pid, std::move(listed).error());
    if (wanted_.address.empty()) return;
    const Emit<NetworkEntry> entry = [&](NetworkEntry&& one) -> Status {
      if (one.kind == NetworkKind::address && one.address &&
          canonical_address(*one.address) == wanted_.address)
        tell("address", "of its interface " + one.interface.raw);
      return Done{};
    };
    if (auto listed = proc::list_network(process, pid, nullptr, entry, task_); !listed)
      lost("proc.network", pid, std::move(listed).error());
  }

  void look_at_program(std::int32_t pid, const HeldProcess& held) {
    auto there = proc::open_living(node_.proc, pid, held.start_ticks);
    auto program = there ? hold_program(node_, *live_, *there, pid, task_)
                         : Result<std::shared_ptr<HeldProgram>>(there.error());
    if (program && !*program) return;
    const auto known = program ? digests_.find(*program) : digests_.end();
    Result<std::string> digest = std::string();
    if (known != digests_.end()) {
      digest = known->second;
    } else {
      auto source = program ? read_program(node_, *program, pid_text(pid), task_)
                            : Result<std::unique_ptr<ByteSource>>(program.error());
      digest = source ? hash_source(**source) : Result<std::string>(std::move(source).error());
      if (digest && program && !(*program)->crowded) digests_.emplace(*program, *digest);
    }
    if (!digest) {
      lost("proc.exe", pid, std::move(digest).error());
    } else if (*digest == wanted_.digest) {
      tell("program", process_text(pid, held));
    }
  }

  Node& node_;
  Wanted wanted_;
  Task& task_;
  LiveContainer* live_ = nullptr;
  const Container* container_ = nullptr;
  std::size_t details_ = 0;
  std::map<std::shared_ptr<HeldProgram>, std::string> digests_;
};

Wanted wanted_of(const Node& node, const std::string& token, Task& task) {
  Wanted wanted;
  wanted.token = token;
  wanted.pid = parse_number<std::int32_t>(token);
  wanted.address = canonical_address(token).value_or("");
  if (token.starts_with(':') && parse_number<std::uint16_t>(token.substr(1))) wanted.port = token.substr(1);
  const std::string digest = token.starts_with("sha256:") ? token.substr(7) : token;
  if (is_hex(digest)) wanted.digest = digest;
  if (!token.starts_with('/')) return wanted;
  wanted.path = token;
  while (wanted.path.size() > 1 && wanted.path.ends_with('/')) wanted.path.pop_back();
  auto root = node.proc.descend_magic(node.host_link("root"));
  if (!root) {
    task.gaps.add({Impact::lost, "node.root", token, root.error()});
    return wanted;
  }
  std::string rest;
  for (std::string at = wanted.path; at.size() > 1;) {
    if (auto info = root->stat_in_root(at); info && info->is_directory())
      wanted.way.emplace_back(*info, rest);
    const auto slash = at.rfind('/');
    rest.insert(0, at.substr(slash));
    at.resize(slash);
  }
  return wanted;
}

// A process in a mount namespace that is not the node's is in a container of some kind.
void tell_without_engine(const Node& node, std::int32_t pid, std::vector<Belongs>& found, Task& task) {
  const auto own = proc::read_namespace(node.proc, pid, "mnt");
  const auto host = proc::read_namespace(node.proc, node.host, "mnt");
  if (!own || !host) {
    const Error& why = own ? host.error() : own.error();
    if (why.code != Errc::not_found && why.code != Errc::vanished)
      task.gaps.add({Impact::lost, "proc.namespace", pid_text(pid), why});
    return;
  }
  if (*own == *host) return;
  Container container;
  container.id = "pid-" + std::to_string(pid);
  container.name = Bytes(container.id);
  container.engine = "none";
  found.push_back({std::move(container), "pid",
                   "in a mount namespace of its own, of no engine that we know: ctriage collect pid:" +
                       std::to_string(pid)});
}

}  // namespace

Result<std::vector<Belongs>> whois(Node& node, const std::string& token, Task& task) {
  if (!node.whole)
    task.gaps.add({Impact::lost, "node.procfs", "/proc", {Errc::denied, std::string(kNodeNotSeen)}});
  auto all = runtime::list_containers(node.proc, task);
  if (!all) return std::move(all).error();
  Wanted wanted = wanted_of(node, token, task);
  const bool by_name = !wanted.pid && wanted.address.empty() && wanted.port.empty() && wanted.path.empty() &&
                       wanted.digest.empty();
  Search search(node, std::move(wanted), task);
  if (by_name) {
    TargetQuery query;
    query.token = token;
    auto resolved = resolve_target(query, *all);
    if (!resolved) return std::move(resolved).error();
    for (const std::size_t index : resolved->containers)
      search.found.push_back({(*all)[index].container, "container", resolved->name});
    return std::move(search.found);
  }
  const auto inits = inits_of(*all);
  Survey survey(node.proc);
  for (runtime::Found& found : *all) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const Container container = found.container;
    if (container.init_pid <= 0 || container.state == ContainerState::exited) {
      search.look_at_records(container);
      if (search.looks_at_layers())
        task.gaps.add({Impact::degraded, "container.layers", container.id,
                       Error{Errc::unsupported, "it has ended: its layers are not looked at"}});
      continue;
    }
    auto live = open_container(node, std::move(found), inits, survey, task);
    if (!live) {
      task.gaps.add({Impact::lost, "container", container.id, std::move(live).error()});
      search.look_at_records(container);
      continue;
    }
    if (auto looked = search.look(*live); !looked) return std::move(looked).error();
  }
  if (search.found.empty() && search.pid()) tell_without_engine(node, *search.pid(), search.found, task);
  return std::move(search.found);
}

}  // namespace ctriage::source
