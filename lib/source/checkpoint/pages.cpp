// Memory of a checkpoint for who walks through it: pages of all processes, shared memory, and what beside it
// holds content: files without a name, queues, pipes, tmpfs, the changed files, logs.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/checkpoint/store_order.h"
#include "lib/source/checkpoint/trees.h"
#include "lib/source/refusal.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kImageSuffix = ".img";
constexpr std::string_view kSharedPrefix = "pagemap-shmem-";

struct ObjectImage {  // images that are content, with a little of CRIU's between
  std::string_view prefix;
  AreaKind kind;
  std::string_view what;
};
constexpr ObjectImage kObjectImages[] = {
    {"ghost-file-", AreaKind::ghost, "file without a name"},
    {"sk-queues", AreaKind::queue, "queues of unix sockets"},
    {"tcp-stream-", AreaKind::queue, "tcp"},
    {"pipes-data", AreaKind::pipe, "pipes"},
    {"fifo-data", AreaKind::pipe, "fifos"},
    {"ipcns-shm-", AreaKind::ipc, "System V shared memory"},
    {"ipcns-msg-", AreaKind::ipc, "System V messages"},
};

// Bytes of an object from `at` to its end.
Status walk_bytes(archive::BytesAt& bytes, std::uint64_t at, std::uint64_t size, MemoryVisitor& visitor,
                  const Task& task) {
  const std::uint64_t begin = at;
  while (at - begin < size) {
    if (auto go_on = task.check(); !go_on) return go_on;
    auto room = visitor.room();
    room = room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), size - (at - begin))));
    auto got = bytes.read_at(at, room);
    if (!got) return std::move(got).error();
    if (*got == 0) return Error{Errc::truncated, with_commas(size - (at - begin)) + " bytes are not there"};
    if (auto done = visitor.filled(at - begin, *got); !done) return done;
    at += *got;
  }
  return Done{};
}

}  // namespace

std::uint32_t CheckpointTasks::shared_of(const criu::Vma& vma) const {
  const auto id = static_cast<std::uint32_t>(vma.object);
  if ((vma.status & criu::Vma::anonymous_shared) != 0) return id;
  if ((vma.status & criu::Vma::memfd) == 0) return 0;
  const criu::FileEntry* entry = file(criu::FileKind::memfd, id);
  const auto inode = entry == nullptr ? memfds_.end() : memfds_.find(entry->object);
  return inode == memfds_.end() ? 0 : inode->second.shared_memory;
}

std::vector<CheckpointTasks::Pages> CheckpointTasks::list_pages(const Task& task) {
  std::vector<Pages> all;
  std::map<std::uint32_t, std::set<std::int32_t>> mappers;
  const auto add = [&](Pages pages) {
    auto map = memory_.page_map(pages.of, pages.page_bytes);
    if (!map) {
      if (pages.shared != 0) lose("pagemap-" + pages.of + ".img", std::move(map).error(), task);
      return;
    }
    if (pages.shared != 0) {
      if (auto whole = memory_.check(pages.of, *map); !whole)
        lose("pagemap-" + pages.of + ".img", std::move(whole).error(), task);
    }
    pages.file = dir_ + "pages-" + std::to_string(map->pages_id) + ".img";
    all.push_back(std::move(pages));
  };
  constexpr std::uint32_t kDefaultPageBytes = 4'096;
  std::uint32_t page_bytes = kDefaultPageBytes;
  for (const CheckpointTask& about : tasks_) {
    if (!about.has_memory) continue;
    page_bytes = about.page_bytes;
    add({std::to_string(about.pid), {}, about.page_bytes, static_cast<std::int32_t>(about.pid), 0});
    const auto text = image("mm-" + std::to_string(about.pid) + ".img", task);
    const auto memory = text ? criu::parse_memory(*text) : Result<criu::Memory>(Error{});
    if (!memory) continue;
    for (const criu::Vma& vma : memory->vmas) {
      if (const std::uint32_t id = shared_of(vma); id != 0) {
        shared_.try_emplace(id, SharedVma{static_cast<std::int32_t>(about.pid), vma});
        mappers[id].insert(static_cast<std::int32_t>(about.pid));
      }
    }
  }
  const std::string first = dir_ + std::string(kSharedPrefix);
  for (auto file = store_.files().lower_bound(first);
       file != store_.files().end() && file->first.starts_with(first); ++file) {
    const std::string_view name = std::string_view(file->first).substr(first.size());
    if (!name.ends_with(kImageSuffix)) continue;
    const auto id = parse_number<std::uint32_t>(name.substr(0, name.size() - kImageSuffix.size()));
    if (!id) continue;
    const auto mapped = shared_.find(*id);
    add({"shmem-" + std::to_string(*id),
         {},
         page_bytes,
         mapped == shared_.end() ? 0 : mapped->second.pid,
         *id,
         mappers[*id]});
  }
  return all;
}

Status CheckpointTasks::walk(const Pages& pages, std::uint64_t space, MemoryVisitor& visitor,
                             const Task& task) {
  auto map = memory_.page_map(pages.of, pages.page_bytes);
  if (!map) return std::move(map).error();
  std::vector<criu::Vma> vmas;
  if (pages.shared == 0) {
    const auto text = image("mm-" + std::to_string(pages.pid) + ".img", task);
    auto memory = text ? criu::parse_memory(*text) : Result<criu::Memory>(Error{});
    if (memory) vmas = std::move(memory->vmas);
    std::ranges::sort(vmas, {}, &criu::Vma::start);
  }
  const auto area_from = [&](const Mapping& mapping) {
    MemoryArea area;
    area.space = space;
    area.container = id_;
    area.pid = pages.pid;
    area.container_pid = pages.pid;
    area.protection = mapping.protection;
    area.path = mapping.path;
    area.has_offset = !mapping.path.empty() && !mapping.path.view().starts_with('[');
    return area;
  };
  const auto of_shared = [&](std::uint64_t offset) {
    const auto mapped = shared_.find(pages.shared);
    MemoryArea area = area_from(mapped == shared_.end() ? Mapping() : mapping_of(mapped->second.vma));
    area.kind = AreaKind::shared;
    area.has_offset = true;
    area.start = offset;
    area.offset_bytes = offset;
    area.address = std::nullopt;
    if (area.path.empty()) area.path = Bytes("shared memory " + std::to_string(pages.shared));
    if (mapped != shared_.end()) {
      const criu::Vma& vma = mapped->second.vma;
      if (offset >= vma.offset_bytes && offset - vma.offset_bytes < vma.end - vma.start)
        area.address = vma.start + (offset - vma.offset_bytes);
    }
    return area;
  };
  if (pages.shared != 0) {
    if (auto done = visitor.enter(of_shared(0)); !done) return done;
  }
  std::size_t next = 0;
  bool entered = false;
  for (const criu::PageRun& run : map->runs) {
    if (run.state == criu::PageRun::State::lazy) continue;  // told when the page map was checked
    const std::uint64_t end = run.address + run.pages * map->page_bytes;
    if (pages.shared != 0) {
      if (auto done = visitor.enter(of_shared(run.address)); !done) return done;
    }
    for (std::uint64_t at = run.address; at < end;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      std::uint64_t until = end;
      if (pages.shared == 0) {
        const std::size_t before = next;
        while (next < vmas.size() && vmas[next].end <= at) ++next;
        const bool inside = next < vmas.size() && vmas[next].start <= at;
        if (!entered || next != before || !inside) {
          MemoryArea area = area_from(inside ? mapping_of(vmas[next]) : Mapping());
          area.start = inside ? vmas[next].start : at;
          area.address = area.start;
          area.offset_bytes = inside ? vmas[next].offset_bytes : 0;
          if (auto done = visitor.enter(std::move(area)); !done) return done;
          entered = inside;
        }
        if (next < vmas.size()) until = std::min(end, inside ? vmas[next].end : vmas[next].start);
      }
      auto room = visitor.room();
      room = room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), until - at)));
      auto chunk = memory_.read(pages.of, *map, at, room);
      if (!chunk) return std::move(chunk).error();
      if (chunk->state == MemoryChunk::State::data) {
        if (auto done = visitor.filled(at, chunk->size_bytes); !done) return done;
      }
      at += chunk->size_bytes;
    }
  }
  return Done{};
}

std::string CheckpointTasks::name_of_image(const std::string& image) const {
  if (const auto ghost = ghost_names_.find(image); ghost != ghost_names_.end())
    return ghost->second + " (deleted)";
  constexpr std::string_view kTcp = "tcp-stream-";
  if (!image.starts_with(kTcp)) return {};
  const auto inode = parse_number<std::uint64_t>(
      std::string_view(image).substr(kTcp.size(), image.size() - kTcp.size() - kImageSuffix.size()), 16);
  for (const Socket& socket : sockets) {
    if (inode && socket.inode.value == *inode && socket.family.starts_with("tcp"))
      return socket.family + " " + socket.local.raw + " - " + socket.remote.raw;
  }
  return {};
}

namespace {

// One thing to walk through, and where it lies in its store.
struct Work {
  CheckpointStore* store = nullptr;
  std::string name;
  std::function<Status(MemoryVisitor&, std::uint64_t space)> walk;
  std::string gap;  // artifact of it
};

// The members of a tar, each an object.
Status walk_members(CheckpointStore& store, const std::string& name, const MemoryArea& like,
                    MemoryVisitor& visitor, std::uint64_t& space, const Task& task) {
  return store.walk_tar(
      name,
      [&](const archive::TarMember& member, archive::BytesAt& tar) -> Status {
        // Of a sparse file what is stored: its holes are no bytes, and offsets are those of the stored ones.
        if ((member.type != '0' && member.type != 'S') || member.size_bytes == 0) return Done{};
        MemoryArea area = like;
        area.space = ++space;
        area.address = std::nullopt;
        area.has_offset = true;
        const auto plain = plain_member_name(member.name);
        area.path = Bytes(plain ? "/" + *plain : member.name);
        if (auto done = visitor.enter(std::move(area)); !done) return done;
        return walk_bytes(tar, member.offset, member.size_bytes, visitor, task);
      },
      task);
}

// An image of queues: each packet an area of its own, what stands between them of the image.
Status walk_queue(const CheckpointTasks& tasks, const std::string& image, std::string_view text,
                  const std::string& name, const MemoryArea& like, MemoryVisitor& visitor) {
  std::uint64_t done = 0;
  std::optional<Error> refused;
  const auto give = [&](std::uint64_t size, const std::string& of, std::uint64_t offset) -> Status {
    MemoryArea area = like;
    area.start = done;
    area.offset_bytes = offset;
    area.path = Bytes(of);
    if (auto entered = visitor.enter(std::move(area)); !entered) return entered;
    auto taken = visitor.take(done, std::as_bytes(std::span(text.substr(done, size))));
    done += size;
    return taken;
  };
  const auto stretch = [&](std::uint64_t at, std::uint64_t size, std::string of) -> Status {
    Status given = at > done ? give(at - done, name, done) : Status(Done{});
    if (given && size > 0) given = give(size, of, 0);
    if (!given) refused = given.error();
    return given;
  };
  (void)tasks.each_stretch(image, text, stretch).has_value();  // what is damaged was told with the queues
  if (refused) return *std::move(refused);
  return done < text.size() ? give(text.size() - done, name, done) : Status(Done{});
}

}  // namespace

Status CheckpointSnapshot::visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  Refusing watched(visitor);
  std::uint64_t space = 0;
  bool any = false;
  for (Held& held : held_) {
    const CheckpointPart& part = held.part;
    MemoryArea like;
    like.container = part.container.id;
    like.address = std::nullopt;
    like.has_offset = true;
    std::vector<Work> all;
    const auto object = [&](CheckpointStore& store, const std::string& path, AreaKind kind,
                            std::string name) {
      all.push_back({&store, path,
                     [&store, path, kind, name, like, &task](MemoryVisitor& to, std::uint64_t at) -> Status {
                       auto bytes = store.bytes_of(path);
                       if (!bytes) return std::move(bytes).error();
                       MemoryArea area = like;
                       area.space = at;
                       area.kind = kind;
                       area.path = Bytes(name);
                       if (auto done = to.enter(std::move(area)); !done) return done;
                       return walk_bytes(**bytes, 0, store.find(path)->size_bytes, to, task);
                     },
                     "checkpoint.image"});
    };
    // The same, its packets by name. What is damaged has the image's.
    const auto queue = [&](const std::string& path, const std::string& image, AreaKind kind,
                           std::string name) {
      if (!held.tasks || part.images->find(path)->size_bytes > kMaxCriuImageBytes)
        return object(*part.images, path, kind, std::move(name));
      all.push_back({part.images, path,
                     [&held, &store = *part.images, path, image, kind, name, like](
                         MemoryVisitor& to, std::uint64_t at) -> Status {
                       const auto text = store.read(path, kMaxCriuImageBytes);
                       if (!text) return text.error();
                       MemoryArea area = like;
                       area.space = at;
                       area.kind = kind;
                       return walk_queue(*held.tasks, image, *text, name, area, to);
                     },
                     "checkpoint.image"});
    };
    const auto tar = [&](CheckpointStore& store, const std::string& path, AreaKind kind) {
      all.push_back({&store, path,
                     [&store, path, kind, like, &space, &task](MemoryVisitor& to, std::uint64_t) {
                       MemoryArea area = like;
                       area.kind = kind;
                       return walk_members(store, path, area, to, space, task);
                     },
                     "checkpoint.changes"});
    };
    if (held.tasks) {
      Again again(task);
      for (const CheckpointTasks::Pages& pages : held.tasks->list_pages(again.task())) {
        if (query.pid > 0 && pages.pid != query.pid && !pages.mapped_by.contains(query.pid)) continue;
        any = any || query.pid <= 0 || pages.pid == query.pid;
        CheckpointTasks& tasks = *held.tasks;
        all.push_back({part.images, pages.file,
                       [&tasks, pages, &task](MemoryVisitor& to, std::uint64_t at) {
                         return tasks.walk(pages, at, to, task);
                       },
                       "checkpoint.pages"});
      }
    }
    if (query.pid == 0 && part.images != nullptr) {
      const auto& files = part.images->files();
      for (auto file = files.lower_bound(part.image_dir);
           file != files.end() && file->first.starts_with(part.image_dir); ++file) {
        const std::string name = file->first.substr(part.image_dir.size());
        if (name.find('/') != std::string::npos || file->second.type != FileType::regular) continue;
        for (const ObjectImage& image : kObjectImages) {
          if (!name.starts_with(image.prefix) || !name.ends_with(kImageSuffix)) continue;
          std::string shown = held.tasks ? held.tasks->name_of_image(name) : std::string();
          if (shown.empty()) shown = std::string(image.what) + ", " + name;
          if (image.kind == AreaKind::queue || image.kind == AreaKind::pipe) {
            queue(file->first, name, image.kind, std::move(shown));
          } else {
            object(*part.images, file->first, image.kind, std::move(shown));
          }
        }
      }
    }
    if (query.pid == 0 && part.base != nullptr) {
      for (const auto& [path, file] : part.base->files()) {
        if (file.type != FileType::regular || !path.starts_with(part.base_dir)) continue;
        const std::string name = path.substr(part.base_dir.size());
        if (is_log_name(name)) object(*part.base, path, AreaKind::log, path);
      }
    }
    if (query.pid == 0) {
      for (const StoredTree& tree : trees_of(part, held.tasks ? &*held.tasks : nullptr))
        tar(*tree.store, tree.tar, tree.volume ? AreaKind::volume : AreaKind::tmpfs);
    }
    if (query.pid == 0 && part.layer_store != nullptr) tar(*part.layer_store, part.layer, AreaKind::layer);
    put_in_order(all);
    for (const Work& work : all) {
      auto walked = work.walk(watched, ++space);
      if (walked) continue;
      if (watched.refused()) return walked;
      if (auto go_on = task.check(); !go_on) return go_on;
      task.gaps.add(
          {Impact::lost, work.gap, work.store->name() + "!" + work.name, std::move(walked).error()});
    }
  }
  if (any || query.pid <= 0) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not in this checkpoint"};
}

}  // namespace ctriage::source
