#include "lib/source/checkpoint/tasks.h"

#include <algorithm>
#include <array>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kImageSuffix = ".img";

constexpr std::uint32_t kCompressedVersion = 3;  // inventory: v1.2, unreleased

// proc_pid_limits(5), by number of RLIMIT_*.
struct LimitName {
  std::string_view name;
  std::string_view units;
};
constexpr std::array<LimitName, 16> kLimits{{{"Max cpu time", "seconds"},
                                             {"Max file size", "bytes"},
                                             {"Max data size", "bytes"},
                                             {"Max stack size", "bytes"},
                                             {"Max core file size", "bytes"},
                                             {"Max resident set", "bytes"},
                                             {"Max processes", "processes"},
                                             {"Max open files", "files"},
                                             {"Max locked memory", "bytes"},
                                             {"Max address space", "bytes"},
                                             {"Max file locks", "locks"},
                                             {"Max pending signals", "signals"},
                                             {"Max msgqueue size", "bytes"},
                                             {"Max nice priority", ""},
                                             {"Max realtime priority", ""},
                                             {"Max realtime timeout", "us"}}};

std::string limit_text(std::uint64_t value) {
  return value == UINT64_MAX ? std::string("unlimited") : std::to_string(value);
}

bool is_dead(std::uint32_t state) {
  return state == static_cast<std::uint32_t>(criu::TaskState::dead) ||
         state == static_cast<std::uint32_t>(criu::TaskState::zombie);
}

// As proc_pid_stat(5) has it. Running and sleeping are not told apart: empty.
std::string state_of(std::uint32_t state) {
  if (is_dead(state)) return "Z";
  return state == static_cast<std::uint32_t>(criu::TaskState::stopped) ? "T" : "";
}

template <std::size_t N>
std::vector<std::uint32_t> listed(const std::array<std::uint32_t, N>& ids) {
  return {ids.begin(), ids.end()};
}

void take_creds(const criu::Creds& creds, Process& into) {
  into.credentials.uids = listed(creds.uids);
  into.credentials.gids = listed(creds.gids);
  into.credentials.groups = creds.groups;
  into.capabilities = {Hex{creds.inheritable}, Hex{creds.permitted}, Hex{creds.effective},
                       Hex{creds.bounding}, Hex{creds.ambient}};
  into.no_new_privs = creds.no_new_privs;
  if (creds.lsm_profile) into.lsm_label = Bytes(*creds.lsm_profile);
}

void take_core(const criu::Core& core, Process& into) {
  into.comm = Bytes(core.comm);
  into.state = state_of(core.task_state);
  into.seccomp = static_cast<std::int32_t>(core.seccomp);
  into.login_uid = core.login_uid;
  into.oom_score_adj = core.oom_score_adj;
  if (core.creds) take_creds(*core.creds, into);
  for (std::size_t i = 0; i < core.limits.size() && i < kLimits.size(); ++i) {
    into.limits.push_back({std::string(kLimits[i].name), limit_text(core.limits[i].current),
                           limit_text(core.limits[i].maximum), std::string(kLimits[i].units)});
  }
}

std::vector<NamespaceId> namespaces_of(const criu::TaskIds& ids) {
  std::vector<NamespaceId> list;
  for (std::size_t i = 0; i < ids.namespaces.size(); ++i) {
    if (ids.namespaces[i] != 0)
      list.push_back({std::string(criu::kNamespaceTypes[i]), Hex{ids.namespaces[i]}});
  }
  return list;
}

// 0: not known.
std::uint64_t mount_namespace_of(const Process& process) {
  const auto found = std::ranges::find(process.namespaces, std::string("mnt"), &NamespaceId::type);
  return found == process.namespaces.end() ? 0 : found->inode.value;
}

// "pagemap-shmem" of "pagemap-shmem-12.img", "core" of "core-1.img".
std::string_view kind_of_image(std::string_view name) {
  name.remove_suffix(kImageSuffix.size());
  const std::size_t dash = name.rfind('-');
  const bool numbered = dash != std::string_view::npos &&
                        name.find_first_not_of("0123456789abcdef", dash + 1) == std::string_view::npos;
  return numbered ? name.substr(0, dash) : name;
}

}  // namespace

Result<CheckpointTasks> CheckpointTasks::read(const CheckpointPart& part, const Task& task) {
  CheckpointTasks tasks(part);
  if (auto read = tasks.read_all(part, task); !read) return std::move(read).error();
  return tasks;
}

Status CheckpointTasks::read_all(const CheckpointPart& part, const Task& task) {
  text_room_bytes_ = kMaxCriuTextBytes;
  if (!read_inventory(task)) return Done{};
  read_files(task);
  read_remaps(task);
  read_system(task);
  if (auto read = read_tree(task); !read) return read;
  read_filters(task);
  if (auto read = read_sockets(task); !read) return read;
  find_origins(part, task);
  tell_unread(task);
  return task.check();
}

// Evidence that is in the archive and in no record: better named than taken for read.
void CheckpointTasks::tell_unread(const Task& task) {
  static const std::set<std::string_view> known = {
      "inventory", "pstree", "core", "ids", "mm", "pagemap", "pages", "files", "fdinfo", "fs", "remap-fpath",
      "ghost-file", "memfd", "sk-queues", "tcp-stream", "cgroup", "tty-info", "utsns", "mountpoints", "stats",
      "seccomp", "sigacts", "itimers", "posix-timers", "inotify-wd", "fanotify-mark", "eventpoll-tfd",
      // By search and extract:
      "pagemap-shmem", "pipes-data", "fifo-data", "ipcns-shm", "ipcns-msg"};
  std::set<std::string_view> old;
  const auto old_images = criu::old_file_images();
  for (const criu::OldFiles& image : old_images) old.insert(image.name);
  std::map<std::string_view, std::size_t> unread;
  std::size_t mount_namespaces = 0;
  for (auto file = store_.files().lower_bound(dir_); file != store_.files().end(); ++file) {
    std::string_view name = file->first;
    if (!name.starts_with(dir_)) break;
    name.remove_prefix(dir_.size());
    if (name.find('/') != std::string_view::npos || !name.ends_with(kImageSuffix)) continue;
    const std::string_view kind = kind_of_image(name);
    if (kind == "mountpoints") ++mount_namespaces;
    if (kind.starts_with("tmpfs-") || known.contains(kind) || old.contains(kind)) continue;
    ++unread[kind];
  }
  if (mount_namespaces > 1) unread["mountpoints"] = mount_namespaces - 1;
  std::string list;
  for (const auto& [kind, count] : unread)
    list += (list.empty() ? "" : ", ") + std::string(kind) +
            (count > 1 ? " (" + std::to_string(count) + ")" : "");
  if (!list.empty())
    task.gaps.add({Impact::note, "checkpoint.unread", store_.name() + "!" + dir_,
                   Error{Errc::unsupported, "images that nothing here reads: " + list}});
}

void CheckpointTasks::lose(const std::string& name, Error error, const Task& task) {
  lost = true;
  task.gaps.add({Impact::lost, "checkpoint.image", store_.name() + "!" + dir_ + name, std::move(error)});
}

std::optional<std::string> CheckpointTasks::image(const std::string& name, const Task& task) {
  auto text = store_.read(dir_ + name, kMaxCriuImageBytes);
  if (text) return *std::move(text);
  lose(name, std::move(text).error(), task);
  return std::nullopt;
}

// Each entry of an image that need not be there; what is damaged ends it, and what came before stays.
void CheckpointTasks::each_entry(const std::string& name, criu::Kind kind, const TakeEntry& take,
                                 const Task& task) {
  if (!has(name)) return;
  const auto text = image(name, task);
  if (!text) return;
  auto reader = criu::ImageReader::open(*text, kind);
  if (!reader) return lose(name, std::move(reader).error(), task);
  std::string_view message;
  for (;;) {
    auto more = reader->next(message);
    if (!more) return lose(name, std::move(more).error(), task);
    if (!*more) return;
    Status taken = take(message, *reader);
    if (!taken) return lose(name, std::move(taken).error(), task);
  }
}

// False where nothing more can be read.
bool CheckpointTasks::read_inventory(const Task& task) {
  if (has("cipher.img")) {
    lose("cipher.img", {Errc::unsupported, "the images are encrypted: decrypt them first"}, task);
    return false;
  }
  const auto text = image("inventory.img", task);
  if (!text) return true;
  auto inventory = criu::parse_inventory(*text);
  if (!inventory) {
    lose("inventory.img", std::move(inventory).error(), task);
    return true;
  }
  tcp_closed = inventory->tcp_close;
  if (inventory->compression != 0 || inventory->version >= kCompressedVersion) {
    lose("inventory.img",
         {Errc::unsupported,
          "pages are compressed (LZ4, CRIU 3.7-dev and later): memory, arguments and environment "
          "cannot be read"},
         task);
  }
  return true;
}

// What tasks refer to by number: cgroups and terminals.
void CheckpointTasks::read_system(const Task& task) {
  if (has("cgroup.img")) {
    if (const auto text = image("cgroup.img", task)) {
      auto sets = criu::parse_cgroups(*text);
      if (!sets) lose("cgroup.img", std::move(sets).error(), task);
      for (criu::CgroupSet& set : sets ? *sets : std::vector<criu::CgroupSet>{})
        cgroups_[set.id] = std::move(set.lines);
    }
  }
  const auto tty = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto info = criu::parse_tty_info(message);
    if (!info) return info.error();
    ttys_[info->id] = *info;
    if (info->session != 0) terminals_.emplace(info->session, proc::terminal(info->rdev));
    return Done{};
  };
  each_entry("tty-info.img", criu::Kind::tty_info, tty, task);
}

Status CheckpointTasks::read_tree(const Task& task) {
  if (!has("pstree.img")) {
    lose("pstree.img", {Errc::not_found, "no such image: the processes are not known"}, task);
    return Done{};
  }
  Status going = Done{};
  std::size_t count = 0;
  std::set<std::uint32_t> pids;
  const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto entry = criu::parse_tree_entry(message);
    if (!entry) return entry.error();
    count += std::max<std::size_t>(entry->threads.size(), 1);
    if (count > kMaxCriuTasks)
      return Error{Errc::limit, "over " + std::to_string(kMaxCriuTasks) + " threads"};
    if (processes.size() >= kMaxCriuProcesses)
      return Error{Errc::limit, "over " + std::to_string(kMaxCriuProcesses) + " processes"};
    if (!pids.insert(entry->pid).second)
      return Error{Errc::malformed, "pid " + std::to_string(entry->pid) + " is there twice"};
    going = task.check();
    if (!going) return going;
    read_process(*entry, task);
    return Done{};
  };
  each_entry("pstree.img", criu::Kind::pstree, one, task);
  if (!going) return going;
  std::ranges::sort(processes, {}, &Process::pid);
  std::ranges::sort(tasks_, {}, &CheckpointTask::pid);
  std::ranges::stable_sort(threads, {}, &Thread::pid);
  return Done{};
}

void CheckpointTasks::read_process(const criu::TreeEntry& entry, const Task& task) {
  Process process;
  process.container = id_;
  process.pid = static_cast<std::int32_t>(entry.pid);
  process.container_pid = process.pid;
  process.ppid = static_cast<std::int32_t>(entry.ppid);
  process.pgrp = static_cast<std::int32_t>(entry.pgid);
  process.session = static_cast<std::int32_t>(entry.sid);
  process.threads = static_cast<std::uint32_t>(std::max<std::size_t>(entry.threads.size(), 1));
  // The first is the one that was dumped with all below it. A parent outside has no pid here: started from
  // outside, by the runtime's exec.
  process.membership = processes.empty() ? Membership::init
                       : entry.ppid == 0 ? Membership::executed_in
                                         : Membership::child;
  CheckpointTask about;
  about.pid = entry.pid;

  criu::Core core;
  const std::string number = std::to_string(entry.pid) + ".img";
  if (const auto text = image("core-" + number, task)) {
    auto parsed = criu::parse_core(*text);
    if (!parsed) lose("core-" + number, std::move(parsed).error(), task);
    if (parsed) core = *std::move(parsed);
  }
  read_old_signals(entry.pid, core, task);
  take_core(core, process);
  take_signals(core, process, task);
  if (machine.empty()) {
    machine = criu::machine_name(core.machine);
    machine_ = core.machine;
  }
  if (core.cgroup_set) {
    const auto found = cgroups_.find(*core.cgroup_set);
    // As /proc/PID/cgroup has them; hierarchies have no number in an image.
    for (const std::string& line : found == cgroups_.end() ? std::vector<std::string>{} : found->second)
      process.cgroups.emplace_back("0:" + line);
  }
  if (!core.ids && has("ids-" + number)) {
    if (const auto text = image("ids-" + number, task)) {
      auto ids = criu::parse_ids(*text);
      if (!ids) lose("ids-" + number, std::move(ids).error(), task);
      if (ids) core.ids = *ids;
    }
  }
  const criu::TaskIds ids = core.ids.value_or(criu::TaskIds{});
  process.namespaces = namespaces_of(ids);
  about.files_id = ids.files;
  if (processes.empty()) {
    constexpr std::size_t kUts = 3;
    constexpr std::size_t kMnt = 4;
    const std::string uts = "utsns-" + std::to_string(ids.namespaces[kUts]) + ".img";
    if (has(uts)) {
      const auto text = image(uts, task);
      auto names = text ? criu::parse_uts(*text) : Result<criu::UtsNames>(criu::UtsNames{});
      if (!names) lose(uts, std::move(names).error(), task);
      if (names) node = names->node;
    }
    mount_namespace_ = ids.namespaces[kMnt];
    read_mounts(mount_namespace_, task);
  }
  if (!is_dead(core.task_state)) {
    read_memory(process, about, task);
    read_places(process, task);
  }
  read_threads(entry, process, core, task);
  if (const auto tty = terminals_.find(entry.sid); tty != terminals_.end()) process.tty = tty->second;
  processes.push_back(std::move(process));
  tasks_.push_back(about);
}

// A thread has here the last of its filters; read_filters() knows those before it.
void CheckpointTasks::read_threads(const criu::TreeEntry& entry, const Process& process,
                                   const criu::Core& first, const Task& task) {
  for (const std::uint32_t tid : entry.threads) {
    Thread thread;
    thread.container = id_;
    thread.pid = process.pid;
    thread.tid = static_cast<std::int32_t>(tid);
    thread.comm = process.comm;
    thread.state = process.state;
    std::optional<std::uint32_t> filter = first.seccomp_filter;
    if (tid != entry.pid) {
      const std::string name = "core-" + std::to_string(tid) + ".img";
      if (const auto text = image(name, task)) {
        auto core = criu::parse_core(*text);
        if (!core) lose(name, std::move(core).error(), task);
        if (core && !core->comm.empty()) thread.comm = Bytes(core->comm);
        if (core) filter = core->seccomp_filter;
      }
    }
    if (filter) thread.seccomp_filters.push_back(*filter);
    threads.push_back(std::move(thread));
  }
}

// mm, page map, arguments and environment.
void CheckpointTasks::read_memory(Process& into, CheckpointTask& about, const Task& task) {
  const std::string number = std::to_string(about.pid) + ".img";
  const auto text = image("mm-" + number, task);
  if (!text) return;
  auto memory = criu::parse_memory(*text);
  if (!memory) return lose("mm-" + number, std::move(memory).error(), task);
  constexpr std::uint32_t kDefaultPageBytes = 4096;
  if (!memory->page_bytes && !memory->vmas.empty()) {
    task.gaps.add({Impact::degraded,
                   "checkpoint.pages",
                   store_.name() + "!" + dir_ + "mm-" + number,
                   {Errc::not_found, "no page size in its auxiliary vector: 4096 is taken"}});
  }
  about.page_bytes = memory->page_bytes.value_or(kDefaultPageBytes);
  about.has_memory = true;
  if (memory->exe_file) name_executable(*memory->exe_file, into.exe);
  for (const criu::Vma& vma : memory->vmas) into.virtual_bytes += vma.end - vma.start;

  auto map = memory_.page_map(std::to_string(about.pid), about.page_bytes);
  if (!map) {
    pages_lost = true;
    return lose("pagemap-" + number, std::move(map).error(), task);
  }
  present_pages += map->present_pages;
  if (map->present_pages > 0) pages_files.insert("pages-" + std::to_string(map->pages_id) + ".img");
  if (auto whole = memory_.check(std::to_string(about.pid), *map); !whole) {
    lost = pages_lost = true;
    task.gaps.add({Impact::lost, "checkpoint.pages", store_.name() + "!" + dir_ + "pagemap-" + number,
                   std::move(whole).error()});
  }
  into.rss_bytes = map->bytes_in(0, UINT64_MAX);
  read_strings(into, *map, *memory, task);
}

void CheckpointTasks::read_strings(Process& into, const criu::PageMap& map, const criu::Memory& memory,
                                   const Task& task) {
  const auto pid = static_cast<std::uint32_t>(into.pid);
  std::string arguments = read_text(pid, map, memory.arg_start, memory.arg_end, "arguments", task);
  const std::string environment = read_text(pid, map, memory.env_start, memory.env_end, "environment", task);
  // As /proc/PID/cmdline has it: where the last NUL was overwritten, setproctitle(3) wrote one text over
  // both.
  const bool whole = arguments.size() == memory.arg_end - memory.arg_start;
  if (whole && !arguments.empty() && arguments.back() != '\0' && memory.env_start == memory.arg_end) {
    arguments += environment;
    arguments.resize(std::min(arguments.find('\0'), arguments.size()));
  }
  for (const Status& kept : {keep_strings(arguments, into.argv), keep_strings(environment, into.environ)}) {
    if (!kept)
      task.gaps.add({Impact::degraded, "checkpoint.arguments", "pid " + std::to_string(pid), kept.error()});
  }
}

// Of empty strings there may be as many as bytes, and each takes the room of a Bytes.
Status CheckpointTasks::keep_strings(std::string_view text, std::vector<Bytes>& into) {
  const bool whole = proc::split_strings(text, into);
  const std::size_t fit = text_room_bytes_ / sizeof(Bytes);
  const bool over = into.size() > fit;
  if (over) {
    into.resize(fit);
    into.shrink_to_fit();
  }
  text_room_bytes_ -= into.size() * sizeof(Bytes);
  if (over)
    return Error{Errc::limit, "arguments and variables of all processes take over " +
                                  std::to_string(kMaxCriuTextBytes) + " bytes; the first are kept"};
  if (!whole)
    return Error{Errc::limit, "more than " + std::to_string(proc::kMaxArguments) +
                                  " arguments or variables; the first are kept"};
  return Done{};
}

// Memory of the process: it may have been overwritten with anything.
std::string CheckpointTasks::read_text(std::uint32_t pid, const criu::PageMap& map, std::uint64_t start,
                                       std::uint64_t end, const std::string& what, const Task& task) {
  const auto tell = [&](Error error) {
    lost = true;
    task.gaps.add(
        {Impact::lost, "checkpoint.strings", "pid " + std::to_string(pid), std::move(error).within(what)});
  };
  if (end <= start) {
    if (end < start) tell({Errc::malformed, "they end before they begin"});
    return {};
  }
  const std::uint64_t most = std::min<std::uint64_t>(kMaxCmdlineBytes, text_room_bytes_);
  const bool over = end - start > most;
  std::string text(static_cast<std::size_t>(std::min(end - start, most)), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const auto chunk = memory_.read(std::to_string(pid), map, start + done,
                                    std::as_writable_bytes(std::span(text)).subspan(done));
    Error error;
    if (!chunk) error = chunk.error();
    if (chunk && chunk->state != MemoryChunk::State::data)
      error = Error{Errc::not_found, "its page was not dumped"};
    if (!chunk || chunk->state != MemoryChunk::State::data) {
      tell(std::move(error));
      break;
    }
    done += chunk->size_bytes;
  }
  if (over) tell({Errc::limit, "more than " + std::to_string(most) + " bytes"});
  text.resize(done);
  text_room_bytes_ -= done;
  return text;
}

Result<criu::PageMap> CheckpointTasks::page_map(std::int32_t pid) {
  for (const CheckpointTask& about : tasks_) {
    if (static_cast<std::int32_t>(about.pid) == pid && about.has_memory)
      return memory_.page_map(std::to_string(about.pid), about.page_bytes);
  }
  return Error{Errc::not_found, "pid " + std::to_string(pid) + ": no such process with memory"};
}

Result<MemoryChunk> CheckpointTasks::read_memory(std::int32_t pid, const criu::PageMap& map,
                                                 std::uint64_t address, std::span<std::byte> into) {
  return memory_.read(std::to_string(pid), map, address, into);
}

void CheckpointTasks::read_places(Process& into, const Task& task) {
  const std::string name = "fs-" + std::to_string(into.pid) + ".img";
  const auto text = image(name, task);
  if (!text) return;
  const auto places = criu::parse_fs(*text);
  if (!places) return lose(name, places.error(), task);
  const auto path = [&](std::uint32_t id) {
    const criu::FileEntry* entry = file(criu::FileKind::regular, id);
    return entry == nullptr ? Bytes() : Bytes(entry->name);
  };
  into.cwd = path(places->cwd);
  into.root = path(places->root);
}

// Where the programs come from, as far as the archive tells.
void CheckpointTasks::find_origins(const CheckpointPart& part, const Task& task) {
  std::set<std::string> wanted;
  for (const Process& process : processes) wanted.insert(process.exe.path.raw);
  std::set<std::string> changed;
  if (part.layer_store != nullptr) {
    const Emit<archive::TarMember> one = [&](archive::TarMember&& member) -> Status {
      const auto name = plain_member_name(member.name);
      if (name && wanted.contains("/" + *name)) changed.insert("/" + *name);
      return Done{};
    };
    auto looked = part.layer_store->list_tar(part.layer, one, task);
    if (!looked && task.check()) {
      task.gaps.add({Impact::lost, "checkpoint.changes", part.layer_store->name() + "!" + part.layer,
                     std::move(looked).error()});
    }
  }
  std::size_t elsewhere = 0;
  for (Process& process : processes) {
    process.exe.origin = origin_of(process, part, changed);
    if (!process.exe.path.empty() && mount_namespace_of(process) != mount_namespace_) ++elsewhere;
  }
  if (elsewhere > 0)
    task.gaps.add({Impact::degraded, "checkpoint.mounts", store_.name() + "!" + dir_,
                   Error{Errc::unsupported, std::to_string(elsewhere) +
                                                " processes in other mount namespaces: their mounts are not "
                                                "read, so where their programs come from is not known"}});
}

Origin CheckpointTasks::origin_of(const Process& process, const CheckpointPart& part,
                                  const std::set<std::string>& changed) const {
  const Executable& exe = process.exe;
  if (exe.path.empty() || exe.origin == Origin::memfd) return exe.origin;
  if (exe.deleted) return Origin::deleted;
  if (mount_namespace_of(process) != mount_namespace_) return Origin::unknown;
  const Mount* over = nullptr;  // the mount that the path lies in
  for (const Mount& mount : mounts) {
    if (!is_at_or_below(exe.path.raw, mount.mountpoint.raw)) continue;
    if (over == nullptr || mount.mountpoint.raw.size() >= over->mountpoint.raw.size()) over = &mount;
  }
  if (over == nullptr) return Origin::unknown;
  if (over->mountpoint.raw != "/") {
    if (external_mounts_.contains(over->mountpoint.raw)) return Origin::volume;
    return over->fstype.raw == "tmpfs" ? Origin::tmpfs : Origin::unknown;
  }
  if (changed.contains(exe.path.raw)) return Origin::upper;
  // Podman and CRI-O leave files of the image that were changed out of their tar: they cannot be excluded.
  const bool all_changes = part.form == CheckpointForm::containerd || part.form == CheckpointForm::ctr;
  return part.layer_store != nullptr && all_changes ? Origin::image : Origin::unknown;
}

}  // namespace ctriage::source
