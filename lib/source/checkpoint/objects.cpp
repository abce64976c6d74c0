// Deleted files, tmpfs and changed files of a checkpoint, and who has what: FORMAT.md of lib/criu.
#include "lib/source/checkpoint/objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/model/file_mode.h"
#include "lib/source/checkpoint/image_stream.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/checkpoint/store_order.h"
#include "lib/source/checkpoint/trees.h"
#include "lib/source/object_feed.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::size_t kMaxOwners = 200'000;  // of all objects together
constexpr std::uint32_t kDefaultPageBytes = 4'096;

}  // namespace

void CheckpointObjects::own(Pids& pids, std::uint32_t pid) {
  // Who was asked for is never among those that found no room.
  const bool meant = query_.pid != 0 && static_cast<std::uint32_t>(query_.pid) == pid;
  if (!meant && (pids.size() >= kMaxObjectOwners || owner_room_ == 0)) return;
  if (pids.insert(static_cast<std::int32_t>(pid)).second && owner_room_ > 0) --owner_room_;
}

void CheckpointObjects::own_mappings(const CheckpointTask& about) {
  Again again(task_);
  const auto text = tasks_->image("mm-" + std::to_string(about.pid) + ".img", again.task());
  const auto memory = text ? criu::parse_memory(*text) : Result<criu::Memory>(Error{});
  if (!memory) return;  // told when the processes were read
  using Vma = criu::Vma;
  for (const Vma& vma : memory->vmas) {
    const auto id = static_cast<std::uint32_t>(vma.object);
    if ((vma.status & (Vma::file_private | Vma::file_shared | Vma::memfd)) != 0) {
      const criu::FileEntry* entry =
          (vma.status & Vma::memfd) != 0 ? tasks_->file(FileKind::memfd, id) : tasks_->open_file(id);
      if (entry != nullptr) own(owners_[{entry->kind, entry->id}], about.pid);
    }
    if ((vma.status & Vma::sysv) != 0) own(sharers_[id], about.pid);
    if (const std::uint32_t shared = tasks_->shared_of(vma); shared != 0) {
      own(sharers_[shared], about.pid);
      const std::uint64_t span = vma.end - vma.start + vma.offset_bytes;
      if (vma.end > vma.start && span > vma.offset_bytes) spans_[shared] = std::max(spans_[shared], span);
    }
  }
  if (!memory->exe_file) return;
  if (const criu::FileEntry* exe = tasks_->open_file(*memory->exe_file)) {
    own(owners_[{exe->kind, exe->id}], about.pid);
    own(runners_[{exe->kind, exe->id}], about.pid);
  }
}

Status CheckpointObjects::find_owners() {
  owner_room_ = kMaxOwners;
  page_bytes_ = kDefaultPageBytes;
  if (tasks_ == nullptr) return Done{};
  Again again(task_);
  auto listed = tasks_->each_fd(
      [&](const CheckpointTask& about, const criu::FdEntry& fd) -> Status {
        own(owners_[{fd.kind, fd.file}], about.pid);
        return Done{};
      },
      again.task());
  if (!listed) return listed;
  bool first = true;
  for (const CheckpointTask& about : tasks_->tasks_) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (!about.has_memory) continue;
    if (first) page_bytes_ = about.page_bytes;
    first = false;
    own_mappings(about);
  }
  // A memfd is whoever's has it mapped without a descriptor, too.
  for (const auto& [key, file] : tasks_->files_) {
    if (file.kind != FileKind::memfd) continue;
    const auto inode = tasks_->memfds_.find(file.object);
    if (inode == tasks_->memfds_.end()) continue;
    Pids& all = sharers_[inode->second.shared_memory];
    for (const std::int32_t pid : owners_[key]) own(all, static_cast<std::uint32_t>(pid));
  }
  if (owner_room_ == 0)
    task_.gaps.add({Impact::degraded,
                    "checkpoint.objects",
                    part_.container.name.raw,
                    {Errc::limit, "over " + with_commas(kMaxOwners) +
                                      " owners of open files: of some objects not all are named"}});
  return Done{};
}

ExtractedObject CheckpointObjects::object(ObjectKind kind, std::string what, const Pids& pids) const {
  ExtractedObject made;
  made.container = part_.container.id;
  made.kind = kind;
  made.what = std::move(what);
  made.pids.assign(pids.begin(), pids.end());
  return made;
}

void CheckpointObjects::lose(const std::string& name, Error error) {
  const std::string store = part_.images == nullptr ? std::string() : part_.images->name() + "!";
  task_.gaps.add({Impact::lost, "checkpoint.objects", store + name, std::move(error)});
}

Status CheckpointObjects::unread(const std::string& name, Error error) {
  if (auto go_on = task_.check(); !go_on) return go_on;
  lose(name, std::move(error));
  return Done{};
}

void CheckpointObjects::note(const char* artifact, std::string why) {
  task_.gaps.add(
      {Impact::note, artifact, part_.container.name.raw, Error{Errc::unsupported, std::move(why)}});
}

std::vector<std::string> CheckpointObjects::images(std::string_view prefix, std::string_view suffix) const {
  std::vector<std::string> found;
  if (part_.images == nullptr) return found;
  const std::string first = part_.image_dir + std::string(prefix);
  const auto& files = part_.images->files();
  for (auto file = files.lower_bound(first); file != files.end() && file->first.starts_with(first); ++file) {
    const std::string name = file->first.substr(part_.image_dir.size());
    if (file->second.type == FileType::regular && name.ends_with(suffix) &&
        name.find('/') == std::string::npos)
      found.push_back(name);
  }
  return found;
}

void CheckpointObjects::add(std::vector<ObjectWork>& into, const std::string& image,
                            std::function<Status(ObjectVisitor& to)> walk) {
  into.push_back({part_.images, part_.image_dir + image, std::move(walk)});
}

// Files that were open and had no name: remap-fpath.img says under which number each lies.
void CheckpointObjects::plan_ghosts(std::vector<ObjectWork>& into) {
  std::map<std::string, Ghost> ghosts;
  const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto remap = criu::parse_remap(message);
    if (!remap) return remap.error();
    const criu::FileEntry* file = tasks_->file(FileKind::regular, remap->file);
    if (remap->type == criu::Remap::Type::linked && wanted(owners_[{FileKind::regular, remap->file}])) {
      const criu::FileEntry* link = tasks_->file(FileKind::regular, remap->remap);
      task_.gaps.add({Impact::note,
                      "checkpoint.objects",
                      file == nullptr ? "file " + std::to_string(remap->file) : file->name,
                      {Errc::unsupported, "deleted, and still on disk under a hidden name: " +
                                              (link == nullptr ? std::string("not recorded") : link->name)}});
    }
    if (remap->type != criu::Remap::Type::ghost) return Done{};
    const std::string name = fmt::format("ghost-file-{:x}.img", remap->remap);
    Ghost& ghost = ghosts[name];
    ghost.image = name;
    ghost.files.push_back(remap->file);
    return Done{};
  };
  Again again(task_);
  tasks_->each_entry("remap-fpath.img", criu::Kind::remap_fpath, one, again.task());
  // What nothing refers to is content all the same.
  for (const std::string& name : images("ghost-file-", ".img")) {
    ghosts[name].image = name;
  }
  for (auto& [name, ghost] : ghosts) {
    if (!tasks_->has(name)) {
      lose(part_.image_dir + name, {Errc::not_found, "no such image: a deleted file's bytes are not there"});
      continue;
    }
    add(into, name, [this, ghost](ObjectVisitor& to) { return walk_ghost(ghost, to); });
  }
}

Status CheckpointObjects::walk_ghost(const Ghost& ghost, ObjectVisitor& to) {
  const std::string name = part_.image_dir + ghost.image;
  Pids pids;
  Pids runs;
  ExtractedObject made = object(ObjectKind::deleted, "file", {});
  std::optional<std::uint64_t> recorded;
  for (const std::uint32_t id : ghost.files) {
    for (const std::int32_t pid : owners_[{FileKind::regular, id}]) pids.insert(pid);
    for (const std::int32_t pid : runners_[{FileKind::regular, id}]) runs.insert(pid);
    const criu::FileEntry* file = tasks_->file(FileKind::regular, id);
    if (file == nullptr) continue;
    recorded = file->size_bytes;
    const Bytes path(file->name);
    if (made.path.empty())
      made.path = path;
    else if (path != made.path && std::ranges::find(made.also, path) == made.also.end())
      made.also.push_back(path);
  }
  if (!wanted(pids)) return Done{};
  made.pids.assign(pids.begin(), pids.end());
  made.run_by.assign(runs.begin(), runs.end());
  if (made.path.empty()) made.path = Bytes(ghost.image);
  auto image = ImageStream::open(*part_.images, name, criu::Kind::ghost_file);
  if (!image) return unread(name, std::move(image).error());
  std::string message;
  auto more = image->next(message);
  if (!more) return unread(name, std::move(more).error());
  if (!*more) return unread(name, {Errc::truncated, "an image without an entry"});
  const auto about = criu::parse_ghost(message);
  if (!about) return unread(name, about.error());
  made.type = type_of_mode(about->mode);
  made.mode = about->mode & 07777U;
  made.uid = about->uid;
  made.gid = about->gid;
  made.mtime = about->mtime;
  if (made.type == FileType::symlink) made.link_target = Bytes(about->link_target);
  if (made.type != FileType::regular) return to.entry(std::move(made));
  ObjectFeed feed(to, task_);
  std::uint64_t size = about->chunks ? about->size_bytes.value_or(0) : image->left();
  made.size_bytes = size;
  if (auto begun = feed.begin(std::move(made)); !begun) return begun;
  if (!about->chunks) {
    if (auto copied = feed.copy(image->bytes(), image->at(), size, 0); !copied) return copied;
  }
  while (about->chunks && !feed.missed()) {
    more = image->next(message);
    if (!more) feed.miss(std::move(more).error());
    if (!more || !*more) break;
    const auto chunk = criu::parse_ghost_chunk(message);
    if (!chunk) {
      feed.miss(chunk.error());
      break;
    }
    const std::uint64_t room = about->size_bytes.value_or(UINT64_MAX);
    if (chunk->offset_bytes > room || chunk->size_bytes > room - chunk->offset_bytes) {
      feed.miss({Errc::malformed, "a part of it lies behind its end"});
      break;
    }
    const std::uint64_t there = std::min(chunk->size_bytes, image->left());
    if (auto copied = feed.copy(image->bytes(), image->at(), there, chunk->offset_bytes); !copied)
      return copied;
    if (auto passed = image->skip(chunk->size_bytes); !passed) feed.miss(std::move(passed).error());
    if (!about->size_bytes) size = std::max(size, chunk->offset_bytes + there);
  }
  if (about->chunks && !about->size_bytes)
    feed.miss({Errc::malformed, "parts of a file whose size is not recorded"});
  if (auto go_on = task_.check(); !go_on) feed.miss(go_on.error());
  if (recorded && *recorded > size)
    feed.miss({Errc::truncated, "it had " + with_commas(*recorded) + " bytes"});
  return feed.end(size);
}

void CheckpointObjects::plan_tar(std::vector<ObjectWork>& into, CheckpointStore& store,
                                 const std::string& path, ObjectKind kind, std::string below,
                                 bool whiteouts) {
  LayerObjects layer{object(kind, "file", {}), std::move(below), whiteouts};
  into.push_back({&store, path, [this, &store, path, layer](ObjectVisitor& to) -> Status {
                    std::optional<Error> damage;
                    Status refused = Done{};
                    auto tar = store.open_tar_bytes(path, task_);
                    if (tar) refused = feed_layer(*archive::in_order(**tar, task_), layer, to, task_, damage);
                    if (!refused) return refused;
                    if (auto go_on = task_.check(); !go_on) return go_on;
                    if (!tar) damage = std::move(tar).error();
                    if (damage)
                      task_.gaps.add({Impact::lost, "checkpoint.objects", store.name() + "!" + path,
                                      *std::move(damage)});
                    return Done{};
                  }});
}

Status CheckpointObjects::plan(std::vector<ObjectWork>& into) {
  if (auto found = find_owners(); !found) return found;
  if (tasks_ != nullptr) {
    if (query_.wants(ObjectKind::deleted)) plan_ghosts(into);
    if (query_.wants(ObjectKind::memfd)) plan_shared(into);
    if (query_.wants(ObjectKind::queues)) plan_queues(into);
    if (query_.wants(ObjectKind::sysv)) plan_ipc(into);
    if (query_.wants(ObjectKind::code)) plan_code(into);
  }
  if (query_.pid != 0) {  // they are no process's
    if (query_.wants(ObjectKind::tmpfs) || query_.wants(ObjectKind::changed))
      note("checkpoint.objects",
           "files of tmpfs and of the root file system are no process's: left out by --pid");
    return Done{};
  }
  for (const StoredTree& tree : trees_of(part_, tasks_)) {
    const ObjectKind kind = tree.volume ? ObjectKind::changed : ObjectKind::tmpfs;
    if (!query_.wants(kind)) continue;
    std::string below = tree.mountpoint.empty() ? "/" + tree.tar : tree.mountpoint;
    if (below == "/") below.clear();
    plan_tar(into, *tree.store, tree.tar, kind, std::move(below), false);
  }
  if (query_.wants(ObjectKind::changed) && part_.layer_store != nullptr)
    plan_tar(into, *part_.layer_store, part_.layer, ObjectKind::changed, "", !leaves_out_changes(part_.form));
  return Done{};
}

Status CheckpointSnapshot::visit_objects(const ObjectQuery& query, ObjectVisitor& visitor, Task& task) {
  std::vector<std::unique_ptr<CheckpointObjects>> parts;
  bool any = false;
  for (Held& held : held_) {
    CheckpointTasks* tasks = held.tasks ? &*held.tasks : nullptr;
    any = any || (tasks != nullptr && std::ranges::any_of(tasks->processes, [&](const Process& process) {
                    return process.pid == query.pid;
                  }));
    parts.push_back(std::make_unique<CheckpointObjects>(held.part, tasks, query, task));
    std::vector<ObjectWork> all;
    if (auto planned = parts.back()->plan(all); !planned) return planned;
    put_in_order(all);
    for (const ObjectWork& work : all) {
      if (auto walked = work.walk(visitor); !walked) return walked;
    }
  }
  if (any || query.pid == 0) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not in this checkpoint"};
}

}  // namespace ctriage::source
