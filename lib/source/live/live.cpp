#include "lib/source/live/live.h"

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/disk.h"
#include "lib/source/layered.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

Layered layered(const LiveContainer& live) {
  return {live.container, live.stack ? &*live.stack : nullptr, live.no_stack, live.mounts};
}

Error no_such(const std::string& container) { return {Errc::not_found, container + ": no such container"}; }

}  // namespace

LiveContainer* LiveSnapshot::find(const std::string& container) {
  for (LiveContainer& live : containers_) {
    if (live.container.id == container) return &live;
  }
  return nullptr;
}

Coverage LiveSnapshot::covers(Facet facet) const {
  std::size_t covered = 0;
  std::string why;
  const auto count = [&](bool there, const LiveContainer& live, const std::string& reason) {
    covered += there;
    if (!there && why.empty()) why = live.container.name.raw + ": " + reason;
  };
  switch (facet) {
    case Facet::layers:
    case Facet::changes:
      for (const LiveContainer& live : containers_) count(live.stack.has_value(), live, live.no_stack);
      break;
    case Facet::logs:
      for (const LiveContainer& live : containers_) {
        count(!live.container.log_dir.empty() || live.container.sandbox, live,
              "where its logs lie is not recorded where we looked");
      }
      break;
    case Facet::findings:
      return {Coverage::Level::none, "no rules were given"};
    case Facet::gaps:
      return {Coverage::Level::none, "a live container records none"};
    default:
      return {Coverage::Level::whole, ""};
  }
  if (covered == containers_.size()) return {Coverage::Level::whole, ""};
  return {covered == 0 ? Coverage::Level::none : Coverage::Level::part, why};
}

Result<Source> LiveSnapshot::describe(Task& task) {
  Source source;
  source.kind = "live";
  source.target = Bytes(name_);
  source.taken_at = task.now();
  source.booted_at = node_->clock.booted_at;
  source.ticks_per_second = node_->clock.ticks_per_second;
  if (auto name = sys::uname()) {
    source.node = Bytes(static_cast<const char*>(name->nodename));
    source.kernel = Bytes(static_cast<const char*>(name->release));
    source.machine = static_cast<const char*>(name->machine);
  }
  if (auto root = node_->root()) source.os = os_name(*root);
  if (!any_runs()) source.kind = "disk";
  if (node_->disk) {  // what was asked so far is of who looks
    source.node = node_->disk_name;
    source.kernel = Bytes();
    source.machine.clear();
    source.booted_at.reset();
  }
  return source;
}

std::string LiveSnapshot::engine_root() const {
  return containers_.empty() ? std::string() : containers_.front().container.engine_root.raw;
}

Status LiveSnapshot::list_containers(const Emit<Container>& emit, Task&) {
  for (const LiveContainer& live : containers_) {
    if (auto status = emit(Container(live.container)); !status) return status;
  }
  return Done{};
}

namespace {

// What a member mounted in a namespace of its own is in no table that we looked at.
void tell_own_mounts(const LiveContainer& live, const Process& process, std::set<std::uint64_t>& told,
                     Task& task) {
  if (process.membership != Membership::child && process.membership != Membership::executed_in) return;
  for (const NamespaceId& id : process.namespaces) {
    if (id.type != "mnt" || live.mount_namespace == 0 || id.inode.value == live.mount_namespace) continue;
    if (!told.insert(id.inode.value).second) continue;
    task.gaps.add({Impact::lost, "proc.mounts", pid_text(process.pid),
                   Error{Errc::outside,
                         "in a mount namespace of its own: what is mounted there, tmpfs above "
                         "all, is not taken"}});
  }
}

}  // namespace

Status LiveSnapshot::read_processes(const std::string& container, const Emit<Process>& emit, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr || live->ended) return Done{};
  proc::Census census(node_->proc);
  if (auto refreshed = refresh_members(*node_, *live, census, task); !refreshed) return refreshed;
  HoldCounts ignored;
  hold_processes(*node_, *live, ignored, task);
  std::set<std::uint64_t> told;
  // Zombies last: a flood of them must not keep us from who lives.
  for (const bool ended : {false, true}) {
    for (auto& [pid, held] : live->processes) {
      if (held.gone || held.ended != ended) continue;
      auto process = proc::read_process(node_->proc, node_->readers, pid, node_->clock, task);
      if (process && process->start_ticks != held.start_ticks) {
        process = Error{Errc::vanished, "its pid now belongs to another process"};
      }
      if (!process) {
        if (auto go_on = task.check(); !go_on) return go_on;
        held.gone = true;
        task.gaps.add(
            {ended ? Impact::note : Impact::lost, "proc.process", pid_text(pid), std::move(process).error()});
        continue;
      }
      process->container = container;
      process->membership = held.membership;
      tell_own_mounts(*live, *process, told, task);
      classify_program(*live, *process, task);
      if (auto status = emit(std::move(*process)); !status) return status;
    }
  }
  return Done{};
}

// The descriptor held may be of what ran before an exec: only one of the very file that `process.exe`
// describes counts.
bool LiveSnapshot::hold_current_program(LiveContainer& live, HeldProcess& held, const Process& process,
                                        Task& task) {
  const auto is_held = [&] {
    const auto info = held.program ? file_info(held.program->file.get(), process.exe.path.raw)
                                   : Result<FileInfo>(Error{Errc::vanished, "no program"});
    return info && info->inode == process.exe.inode.value && info->device() == process.exe.device.value;
  };
  if (is_held()) return true;
  const auto there = proc::open_living(node_->proc, process.pid, held.start_ticks);
  auto taken = there ? hold_program(*node_, live, *there, process.pid, task)
                     : Result<std::shared_ptr<HeldProgram>>(there.error());
  if (taken && *taken) held.program = *std::move(taken);
  const bool same = is_held();
  if (same && held.crowded) return true;
  task.gaps.add(
      {same ? Impact::note : Impact::lost,
       "proc.exe",
       pid_text(process.pid),
       {Errc::changed, same ? "started another program since the hold; the one that runs now is taken"
                            : "starts other programs while we look; which bytes run is not known"}});
  return same;
}

void LiveSnapshot::classify_program(LiveContainer& live, Process& process, Task& task) {
  HeldProcess& held = live.processes[process.pid];
  if (!held.program && !held.crowded) return;
  if (!hold_current_program(live, held, process, task)) return;
  held.runs = {process.exe.device.value, process.exe.inode.value};
  const std::shared_ptr<HeldProgram> program = held.program;
  if (held.crowded) held.program.reset();  // closed when this is over
  const ProgramHash key{process.exe.device.value, process.exe.inode.value,
                        process.exe.mtime.value_or(Timestamp{}), process.exe.size_bytes};
  std::string& digest = program_hashes_[key];
  if (digest.empty()) {
    auto source = read_program(*node_, program, process.exe.path.raw, task);
    auto hashed = source ? hash_source(**source) : Result<std::string>(std::move(source).error());
    if (hashed) {
      digest = std::move(*hashed);
    } else {
      const bool too_sparse = hashed.error().code == Errc::limit;
      task.gaps.add({Impact::lost, "proc.exe", pid_text(process.pid), std::move(hashed).error()});
      // Of a volume the mount says where it is from; of a layer only the bytes do, but no image has such a
      // file.
      if (program->reach == Reach::hold && !too_sparse) return;
    }
  }
  if (!digest.empty()) process.exe.sha256 = digest;
  process.exe.origin = program_origin(*node_, live, process, program->file.get(), task);
}

Result<std::unique_ptr<ByteSource>> LiveSnapshot::open_program(LiveContainer& live, std::int32_t pid,
                                                               const std::string& name, const Task& task) {
  const HeldProcess& held = live.processes[pid];
  std::shared_ptr<HeldProgram> program = held.program;
  if (!program) {
    const auto there = proc::open_living(node_->proc, pid, held.start_ticks);
    if (!there) return there.error();
    auto taken = hold_program(*node_, live, *there, pid, task);
    if (!taken) return std::move(taken).error();
    program = *std::move(taken);
  }
  if (!program) return Error{Errc::vanished, name + ": the process ended before its program could be opened"};
  return read_program(*node_, program, name, task);
}

void LiveSnapshot::tell_access_times(Task& task) {
  const std::uint64_t count = node_->touched ? node_->touched->load() : 0;
  if (count == 0 || std::exchange(access_times_told_, true)) return;
  task.gaps.add({Impact::degraded, "atime", name_,
                 Error{Errc::denied, "access times may have changed: " + std::to_string(count) +
                                         " files and directories were opened without O_NOATIME (needs "
                                         "CAP_FOWNER)"}});
}

// `list` for each member that was still there when its process was read, with the container filled in. What
// fails for one process is its own gap and costs the others nothing; only what `emit` refuses and a stop end
// the listing.
template <class T, class List>
Status LiveSnapshot::list_each(const std::string& container, std::string_view facet, const Emit<T>& emit,
                               const List& list, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  std::optional<Error> refused;
  const Emit<T> named = [&](T&& artifact) -> Status {
    artifact.container = container;
    auto status = emit(std::move(artifact));
    if (!status) refused = status.error();
    return status;
  };
  for (const auto& [pid, held] : live->processes) {
    if (held.gone || held.ended) continue;  // a zombie has none
    auto process = proc::open_process(node_->proc, pid, held.start_ticks);
    auto listed = process ? list(*process, pid, named) : Status(process.error());
    if (listed) continue;
    if (refused) return *refused;
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({Impact::lost, "proc." + std::string(facet), pid_text(pid), std::move(listed).error()});
  }
  return Done{};
}

Status LiveSnapshot::list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) {
  return list_each(
      container, "threads", emit,
      [&](const Root& process, std::int32_t pid, const Emit<Thread>& named) {
        return proc::list_threads(process, pid, named, task);
      },
      task);
}

Status LiveSnapshot::list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task) {
  LiveContainer* live = find(container);
  Again again(task);  // for the findings of a view, and for the view
  Task& untold = again.task();
  return list_each(
      container, "mappings", emit,
      [&](const Root& process, std::int32_t pid, const Emit<Mapping>& named) -> Status {
        // Looked at first: a reader has one file open at a time.
        if (auto found = source::find_libraries(*node_, *live, pid, untold); !found) return found;
        const HeldProcess& held = live->processes[pid];
        const Emit<Mapping> with_origin = [&](Mapping&& mapping) -> Status {
          if (maps_code(mapping)) {
            const auto known = live->libraries.find(library_id(mapping));
            if (known != live->libraries.end() && !is_own_program(held, process, mapping)) {
              mapping.origin = known->second.origin;
              mapping.sha256 = known->second.sha256;
            }
          }
          return named(std::move(mapping));
        };
        return proc::list_mappings(process, node_->readers, pid, with_origin, untold);
      },
      untold);
}

Status LiveSnapshot::list_descriptors(const std::string& container, const Emit<Descriptor>& emit,
                                      Task& task) {
  return list_each(
      container, "descriptors", emit,
      [&](const Root& process, std::int32_t pid, const Emit<Descriptor>& named) {
        return proc::list_descriptors(process, pid, named, task);
      },
      task);
}

Result<std::unique_ptr<ByteSource>> LiveSnapshot::open_library(LiveContainer& live, const LibraryId& id,
                                                               Task& task) {
  return read_library(*node_, live, id, task);
}

void LiveSnapshot::find_volumes(Task& task) {
  volumes_found_ = true;
  source::find_volumes(*node_, containers_, task);
}

// Which members hold which socket, and which are in which network namespace.
LiveSnapshot::SocketOwners LiveSnapshot::find_socket_owners(const LiveContainer& live, Task& task) {
  SocketOwners owners;
  GapLog unseen;  // gaps of descriptors are told by list_descriptors
  Task quiet = task.with(unseen);
  for (const auto& [pid, held] : live.processes) {
    if (held.gone || held.ended) continue;
    const std::int32_t owner = pid;
    const auto lose = [&task, owner](const Error& error) {
      task.gaps.add(
          {Impact::lost, "proc.sockets", pid_text(owner), Error(error).within("which sockets it holds")});
    };
    const auto process = proc::open_process(node_->proc, pid, held.start_ticks);
    if (!process) {
      if (process.error().code != Errc::vanished) lose(process.error());
      continue;  // its end is told with its descriptors
    }
    const Emit<Descriptor> note_owner = [&owners, owner](Descriptor&& descriptor) -> Status {
      if (descriptor.kind == "socket") {
        auto& pids = owners.by_inode[descriptor.inode.value];
        if (pids.empty() || pids.back() != owner) pids.push_back(owner);
      }
      return Done{};
    };
    const std::uint64_t lost_before = unseen.count(Impact::lost);
    const auto listed = proc::list_descriptors(*process, pid, note_owner, quiet);
    const auto living = proc::open_living(*process);
    const auto ns = living ? proc::read_namespace(*living, "net") : Result<Hex>(living.error());
    if (ns) owners.members_of[ns->value].push_back({pid, 0});
    for (const auto& [own, tid] : proc::list_thread_namespaces(*process, "net", task))
      owners.members_of[own].push_back({pid, tid});
    if ((listed && ns && unseen.count(Impact::lost) == lost_before) || proc::has_gone(*process)) continue;
    if (!task.check()) return owners;  // whoever lists the sockets sees that, too
    if (!listed || !ns) {
      lose(!listed ? listed.error() : ns.error());
    } else {
      lose({Errc::io, "some of its descriptors could not be read"});
    }
  }
  return owners;
}

Status LiveSnapshot::list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  const SocketOwners owners = find_socket_owners(*live, task);
  const auto host = proc::read_namespace(node_->proc, node_->host, "net");
  if (!host) {
    task.gaps.add({Impact::lost, "proc.sockets", "the node's network namespace",
                   Error(host.error()).within("sockets that no member holds are left out")});
  }
  for (const auto& [ns, members] : owners.members_of) {
    // In the host's network namespace only what a member holds is the container's.
    const bool shared = !host || host->value == ns;
    std::optional<Error> refused;
    std::uint64_t seen = 0;
    const Emit<Socket> named = [&](Socket&& socket) -> Status {
      ++seen;
      const auto found = owners.by_inode.find(socket.inode.value);
      if (found != owners.by_inode.end()) socket.pids = found->second;
      if (shared && socket.pids.empty()) return Done{};
      socket.container = container;
      auto status = emit(std::move(socket));
      if (!status) refused = status.error();
      return status;
    };
    // Any member shows the whole namespace; one that has ended shows nothing, so the next is asked.
    Status listed = Done{};
    for (const auto& [pid, tid] : members) {
      auto process = proc::open_process(node_->proc, pid, live->processes[pid].start_ticks);
      if (process)
        process = tid == 0 ? proc::open_living(*process) : process->descend("task/" + std::to_string(tid));
      listed = process ? proc::list_sockets(*process, pid, named, task) : Status(process.error());
      if (listed || seen > 0) break;
    }
    if (listed) continue;
    if (refused) return *refused;
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add(
        {Impact::lost, "proc.sockets", "network namespace " + std::to_string(ns), std::move(listed).error()});
  }
  return Done{};
}

Status LiveSnapshot::list_mounts(const std::string& container, const Emit<Mount>& emit, Task&) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  for (const Mount& mount : live->mounts) {
    if (auto status = emit(Mount(mount)); !status) return status;
  }
  return Done{};
}

Status LiveSnapshot::list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  name_layers(*live, task);
  return source::list_layers(layered(*live), emit);
}

Status LiveSnapshot::read_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  name_layers(*live, task);
  auto listed = source::list_changes(layered(*live), live->held, emit, task);
  tell_access_times(task);
  return listed;
}

Status LiveSnapshot::list_logs(const std::string& container, const Emit<LogFile>& emit, Task&) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Done{};
  for (const HeldLog& held : live->logs) {
    if (auto status = emit(LogFile(held.log)); !status) return status;
  }
  return Done{};
}

void LiveSnapshot::name_layers(LiveContainer& live, Task& task) {
  if (!live.stack || live.container.engine == "none" || std::exchange(live.layers_named, true)) return;
  const auto node = node_->root();
  if (node) return source::name_layers(*node, live.container, *live.stack, task);
  task.gaps.add({Impact::note, "container.layer_digests", live.container.id, node.error()});
}

Status LiveSnapshot::walk_upper(LiveContainer& live, overlay::Visitor& visitor, Task& task) {
  name_layers(live, task);
  auto walked = source::walk_upper(layered(live), live.held, visitor, task);
  tell_access_times(task);
  return walked;
}

Status LiveSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  const LiveContainer* live = find(key.container);
  if (live == nullptr) return no_such(key.container);
  auto listed = source::list_files(layered(*live), key, emit, task);
  tell_access_times(task);
  return listed;
}

Result<OpenedFile> LiveSnapshot::open_file(const FileKey& key, Task& task) {
  const LiveContainer* live = find(key.container);
  if (live == nullptr) return no_such(key.container);
  auto opened = source::open_file(layered(*live), key, task);
  tell_access_times(task);
  return opened;
}

}  // namespace ctriage::source
