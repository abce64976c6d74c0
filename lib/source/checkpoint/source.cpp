#include "lib/source/checkpoint/source.h"

#include <algorithm>

#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/model/capabilities.h"
#include "lib/source/checkpoint/tree.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

using Level = Coverage::Level;

Result<std::string> hash_of(archive::BytesAt& bytes, std::uint64_t at, std::uint64_t size, const Task& task) {
  constexpr std::size_t kBlockBytes = 256 << 10;
  Sha256 hash;
  std::vector<std::byte> block(kBlockBytes);
  while (size > 0) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const auto room =
        std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, kBlockBytes)));
    const auto got = bytes.read_at(at, room);
    if (!got) return got.error();
    if (*got == 0) return Error{Errc::truncated, with_commas(size) + " bytes of a file are not there"};
    hash.update(room.first(*got));
    at += *got;
    size -= *got;
  }
  return to_hex(hash.digest());
}

// Where no specification says what the container may do, its first process does.
void take_rights(const Process& first, Container& into) {
  for (std::size_t i = 0; i < kCapabilityNames.size(); ++i) {
    if ((first.capabilities.bounding.value >> i & 1U) != 0)
      into.capabilities.push_back("CAP_" + std::string(kCapabilityNames[i]));
  }
  constexpr std::int32_t kFilter = 2;
  into.seccomp = first.seccomp == kFilter;
  into.no_new_privs = first.no_new_privs;
  if (!first.credentials.uids.empty()) into.uid = first.credentials.uids[0];
  if (!first.credentials.gids.empty()) into.gid = first.credentials.gids[0];
}

}  // namespace

bool CheckpointSnapshot::is_log_name(std::string_view name) {
  return std::ranges::find(kLogNames, name) != std::end(kLogNames);
}

Result<std::unique_ptr<CheckpointSnapshot>> CheckpointSnapshot::open(std::unique_ptr<CheckpointStore> store,
                                                                     Task& task) {
  auto found = find_checkpoints(std::move(store), task);
  if (!found) return std::move(found).error();
  std::unique_ptr<CheckpointSnapshot> snapshot(new CheckpointSnapshot(*std::move(found)));
  for (CheckpointPart& part : snapshot->checkpoint_.parts) {
    Held& held = snapshot->held_.emplace_back(Held{std::move(part), std::nullopt});
    if (held.part.images != nullptr) {
      auto tasks = CheckpointTasks::read(held.part, task);
      if (!tasks) return std::move(tasks).error();
      held.tasks.emplace(*std::move(tasks));
      held.part.container.seccomp_filters = held.tasks->filters;
      const bool no_spec =
          held.part.form == CheckpointForm::images || held.part.form == CheckpointForm::docker;
      if (no_spec && !held.tasks->processes.empty())
        take_rights(held.tasks->processes.front(), held.part.container);
    }
    snapshot->tell_completeness(held, task);
  }
  return snapshot;
}

// Of several containers the least.
Coverage CheckpointSnapshot::covers(Facet facet) const {
  if (facet == Facet::findings) return {Level::none, "no rules"};
  if (facet == Facet::gaps) return {Level::none, ""};
  Coverage least = covers(facet, held_.front());
  bool any = least.level != Level::none;
  for (const Held& held : held_) {
    Coverage of = covers(facet, held);
    any = any || of.level != Level::none;
    if (of.level < least.level) least = std::move(of);
  }
  if (any && least.level == Level::none) least.level = Level::part;
  return least;
}

Result<Source> CheckpointSnapshot::describe(Task&) {
  Source source;
  source.kind = "checkpoint";
  source.target = Bytes(checkpoint_.stores.front()->name());
  const Held& first = held_.front();
  source.taken_at = first.part.taken_at;
  source.tool = std::string(to_text(first.part.form));
  if (first.part.form != CheckpointForm::images) source.tool += ", CRIU";
  source.tool += ", " + checkpoint_.stores.front()->form();
  if (first.tasks) {
    source.machine = first.tasks->machine;
    source.node = Bytes(first.tasks->node);
  }
  return source;
}

Result<CheckpointSnapshot::Held*> CheckpointSnapshot::find(const std::string& container) {
  for (Held& held : held_) {
    if (held.part.container.id == container) return &held;
  }
  return Error{Errc::not_found, container + ": no such container in " + checkpoint_.stores.front()->name()};
}

Result<CheckpointTasks*> CheckpointSnapshot::tasks_of(const std::string& container) {
  auto held = find(container);
  if (!held) return std::move(held).error();
  return (*held)->tasks ? &*(*held)->tasks : nullptr;
}

Status CheckpointSnapshot::list_containers(const Emit<Container>& emit, Task& task) {
  for (const Held& held : held_) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (auto emitted = emit(Container(held.part.container)); !emitted) return emitted;
  }
  return Done{};
}

namespace {

template <class T>
Status emit_all(const std::vector<T>& items, const Emit<T>& emit, Task& task) {
  for (const T& item : items) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (auto emitted = emit(T(item)); !emitted) return emitted;
  }
  return Done{};
}

}  // namespace

Status CheckpointSnapshot::list_processes(const std::string& container, const Emit<Process>& emit,
                                          Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  if (*tasks == nullptr) return Done{};
  return emit_all((*tasks)->processes, emit, task);
}

Status CheckpointSnapshot::list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  if (*tasks == nullptr) return Done{};
  return emit_all((*tasks)->threads, emit, task);
}

Status CheckpointSnapshot::list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  if (*tasks == nullptr) return Done{};
  return emit_all((*tasks)->sockets, emit, task);
}

Status CheckpointSnapshot::list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  if (*tasks == nullptr) return Done{};
  return emit_all((*tasks)->mounts, emit, task);
}

// What is read again was told when it was read first.
Status CheckpointSnapshot::list_mappings(const std::string& container, const Emit<Mapping>& emit,
                                         Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  Again again(task);
  return *tasks == nullptr ? Status(Done{}) : (*tasks)->list_mappings(emit, again.task());
}

Status CheckpointSnapshot::list_descriptors(const std::string& container, const Emit<Descriptor>& emit,
                                            Task& task) {
  const auto tasks = tasks_of(container);
  if (!tasks) return tasks.error();
  Again again(task);
  return *tasks == nullptr ? Status(Done{}) : (*tasks)->list_descriptors(emit, again.task());
}

void CheckpointSnapshot::keep(const std::set<std::string>& ids) {
  std::vector<Held> kept;
  for (Held& held : held_) {
    if (ids.contains(held.part.container.id)) kept.push_back(std::move(held));
  }
  held_ = std::move(kept);
}

// Nothing for a name that leads out: that was told.
std::optional<FileChange> CheckpointSnapshot::change_of(const archive::TarMember& member, const Held& held) {
  const auto name = plain_member_name(member.name);
  if (!name) return std::nullopt;
  FileChange change;
  change.container = held.part.container.id;
  LayerName known = read_layer_name(*name, member, !leaves_out_changes(held.part.form));
  change.path = Bytes(std::move(known.path));
  if (known.kind == LayerName::Kind::opaque) {
    change.kind = ChangeKind::opaque;
    return change;
  }
  if (known.kind == LayerName::Kind::whiteout) {
    change.kind = ChangeKind::deleted;
    return change;
  }
  change.kind = ChangeKind::unknown;
  FileState state;
  state.type = type_of(member);
  state.mode = member.mode & 07777U;
  state.uid = member.uid;
  state.gid = member.gid;
  state.size_bytes = member.real_size_bytes;
  state.mtime = member.mtime;
  if (member.type == '2') state.link_target = Bytes(member.link);
  if (member.type == '1') {
    const auto first = plain_member_name(member.link);
    change.hard_link_of = Bytes(first ? "/" + *first : member.link);
  }
  change.program = state.type == FileType::regular && (state.mode & 0111U) != 0;
  change.after = std::move(state);
  return change;
}

// The tar beside the images has what was added or changed; without the image the two are not told apart.
Status CheckpointSnapshot::list_added(Held& held, const Emit<FileChange>& emit, Task& task) {
  Status emitted = Done{};
  const auto pass = [&](std::optional<FileChange> change) {
    if (change) emitted = emit(*std::move(change));
    return emitted;
  };
  const Emit<archive::TarMember> one = [&](archive::TarMember&& member) {
    return pass(change_of(member, held));
  };
  const auto hashed = [&](const archive::TarMember& member, archive::BytesAt& tar) -> Status {
    auto change = change_of(member, held);
    // Of a sparse file the tar has a map and parts; of a further name nothing.
    if (change && change->after && change->after->type == FileType::regular && member.type != '1' &&
        !member.sparse) {
      auto digest = hash_of(tar, member.offset, member.size_bytes, task);
      if (!digest) return std::move(digest).error();
      change->after->sha256 = *std::move(digest);
    }
    return pass(std::move(change));
  };
  CheckpointStore& store = *held.part.layer_store;
  const auto listed = hash_changes_ ? store.walk_tar(held.part.layer, hashed, task)
                                    : store.list_tar(held.part.layer, one, task);
  if (!emitted) return emitted;
  if (auto go_on = task.check(); !go_on) return go_on;
  if (!listed) {
    task.gaps.add({Impact::lost, "checkpoint.changes", store.name() + "!" + held.part.layer, listed.error()});
  }
  return Done{};
}

// deleted.files of Podman and CRI-O.
Status CheckpointSnapshot::list_deleted(Held& held, const Emit<FileChange>& emit, Task& task) {
  if (held.part.base == nullptr) return Done{};
  const std::string name = held.part.base_dir + std::string(kDeletedFiles);
  if (held.part.base->find(name) == nullptr) return Done{};
  auto text = held.part.base->read(name, kMaxJsonBytes);
  auto names = text ? parse_string_list(*text) : Result<std::vector<std::string>>(std::move(text).error());
  if (!names) {
    task.gaps.add(
        {Impact::lost, "checkpoint.changes", held.part.base->name() + "!" + name, std::move(names).error()});
    return Done{};
  }
  for (std::string& path : *names) {
    FileChange change;
    change.container = held.part.container.id;
    change.path = Bytes(std::move(path));
    change.kind = ChangeKind::deleted;
    if (auto emitted = emit(std::move(change)); !emitted) return emitted;
  }
  return Done{};
}

Status CheckpointSnapshot::list_changes(const std::string& container, const Emit<FileChange>& emit,
                                        Task& task) {
  auto held = find(container);
  if (!held) return std::move(held).error();
  Again again(task);
  if ((*held)->part.layer_store != nullptr) {
    if (auto listed = list_added(**held, emit, again.task()); !listed) return listed;
  }
  return list_deleted(**held, emit, again.task());
}

Status CheckpointSnapshot::list_logs(const std::string& container, const Emit<LogFile>& emit, Task&) {
  auto held = find(container);
  if (!held) return std::move(held).error();
  const CheckpointPart& part = (*held)->part;
  if (part.base == nullptr) return Done{};
  for (const std::string_view name : kLogNames) {
    const std::string path = part.base_dir + std::string(name);
    const StoredFile* file = part.base->find(path);
    if (file == nullptr || file->type != FileType::regular) continue;
    LogFile log;
    log.container = container;
    log.path = Bytes(path);
    log.size_bytes = file->size_bytes;
    log.mtime = file->mtime;
    log.stream = path;
    if (auto emitted = emit(std::move(log)); !emitted) return emitted;
  }
  return Done{};
}

Result<CheckpointView*> CheckpointSnapshot::files_of(const std::string& container) {
  auto held = find(container);
  if (!held) return std::move(held).error();
  auto& files = (*held)->files;
  if (files == nullptr)
    files = std::make_unique<CheckpointView>((*held)->part, (*held)->tasks ? &*(*held)->tasks : nullptr);
  return files.get();
}

Status CheckpointSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  auto files = files_of(key.container);
  if (!files) return std::move(files).error();
  return (*files)->list(key, emit, task);
}

Result<OpenedFile> CheckpointSnapshot::open_file(const FileKey& key, Task& task) {
  auto files = files_of(key.container);
  if (!files) return std::move(files).error();
  return (*files)->open(key, task);
}

}  // namespace ctriage::source
