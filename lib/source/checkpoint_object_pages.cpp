// Objects of a checkpoint that are pages: memory with a descriptor, shared memory, patched code.
#include <sys/mman.h>

#include <algorithm>

#include "lib/source/checkpoint_objects.h"
#include "lib/source/object_feed.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::size_t kBlockBytes = 256 << 10;

bool is_executable(const criu::Vma& vma) {
  return (vma.status & criu::Vma::file_private) != 0 && (vma.protection & PROT_EXEC) != 0;
}

std::string protection_of(const criu::Vma& vma) {
  const auto bit = [&](std::uint32_t mask, char name) { return (vma.protection & mask) != 0 ? name : '-'; };
  return {bit(PROT_READ, 'r'), bit(PROT_WRITE, 'w'), 'x', 'p'};
}

}  // namespace

std::string CheckpointObjects::pages_of(const std::string& of) {
  const auto map = tasks_->memory_.page_map(of, page_bytes_);
  return map ? "pages-" + std::to_string(map->pages_id) + ".img" : "pagemap-" + of + ".img";
}

// memfds, shared anonymous memory: their pages are no process's.
void CheckpointObjects::plan_shared(std::vector<ObjectWork>& into) {
  std::set<std::uint32_t> named;
  for (const auto& [id, inode] : tasks_->memfds_) {
    const std::uint32_t shared = inode.shared_memory;
    named.insert(shared);
    const Pids& pids = sharers_[shared];
    if (!wanted(pids)) continue;
    const bool anonymous = inode.name == "/dev/zero";  // so the kernel calls it
    ExtractedObject made = object(ObjectKind::memfd, anonymous ? "shared memory" : "memfd", pids);
    made.path = Bytes(anonymous ? inode.name : "/memfd:" + inode.name);
    made.uid = inode.uid;
    made.size_bytes = inode.size_bytes;
    for (const auto& [key, runs] : runners_) {
      const criu::FileEntry* file = tasks_->file(key.first, key.second);
      if (key.first == FileKind::memfd && file != nullptr && file->object == id)
        made.run_by.insert(made.run_by.end(), runs.begin(), runs.end());
    }
    add(into, pages_of("shmem-" + std::to_string(shared)),
        [this, made, shared, size = inode.size_bytes](ObjectVisitor& to) {
          return walk_shared(made, shared, size, to);
        });
  }
  for (const auto& [shared, span] : spans_) {
    const Pids& pids = sharers_[shared];
    if (named.contains(shared) || !wanted(pids)) continue;
    ExtractedObject made = object(ObjectKind::memfd, "shared memory", pids);
    made.path = Bytes("shared memory " + std::to_string(shared));
    made.size_bytes = span;
    add(into, pages_of("shmem-" + std::to_string(shared)),
        [this, made, shared = shared, span = span](ObjectVisitor& to) {
          return walk_shared(made, shared, span, to);
        });
  }
}

Status CheckpointObjects::walk_shared(ExtractedObject object, std::uint32_t id, std::uint64_t size_bytes,
                                      ObjectVisitor& to) {
  const std::string of = "shmem-" + std::to_string(id);
  ObjectFeed feed(to, task_);
  if (auto begun = feed.begin(std::move(object)); !begun) return begun;
  CheckpointMemory& memory = tasks_->memory_;
  auto map = memory.page_map(of, page_bytes_);
  if (!map && (size_bytes > 0 || map.error().code != Errc::not_found)) feed.miss(map.error());
  if (map) {
    if (auto whole = memory.check(of, *map); !whole) feed.miss(std::move(whole).error());
    std::vector<std::byte> block(kBlockBytes);
    for (const criu::PageRun& run : map->runs) {
      const std::uint64_t end = run.address + run.pages * map->page_bytes;
      for (std::uint64_t at = run.address; at < std::min(end, size_bytes);) {
        const auto room = std::span(block).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), std::min(end, size_bytes) - at)));
        const auto chunk = memory.read(of, *map, at, room);
        if (auto go_on = task_.check(); !go_on) return go_on;
        if (!chunk) {
          feed.miss(chunk.error());
          break;
        }
        if (chunk->state == MemoryChunk::State::data) {
          if (auto copied = feed.copy(room.first(chunk->size_bytes), at); !copied) return copied;
        }
        at += chunk->size_bytes;
      }
    }
  }
  return feed.end(size_bytes);
}

// Clean pages of a mapped file are not dumped: one that is there in executable memory was written to.
void CheckpointObjects::plan_code(std::vector<ObjectWork>& into) {
  // compel writes system calls over the code where a process stands, and puts back what was there.
  note("checkpoint.code",
       "to dump a process CRIU writes to one page of its code and puts it back: a page that "
       "is there may have the file's bytes");
  for (const CheckpointTask& about : tasks_->tasks_) {
    if (!about.has_memory || (query_.pid != 0 && static_cast<std::int32_t>(about.pid) != query_.pid))
      continue;
    add(into, pages_of(std::to_string(about.pid)),
        [this, about](ObjectVisitor& to) { return walk_code(about, to); });
  }
}

Status CheckpointObjects::walk_code(const CheckpointTask& about, ObjectVisitor& to) {
  Again again(task_);  // what is wrong with these images was told when the processes were read
  const std::string of = std::to_string(about.pid);
  const auto text = tasks_->image("mm-" + of + ".img", again.task());
  auto memory = text ? criu::parse_memory(*text) : Result<criu::Memory>(Error{});
  const auto map = tasks_->memory_.page_map(of, about.page_bytes);
  if (!memory || !map) return Done{};
  std::ranges::sort(memory->vmas, {}, &criu::Vma::start);
  ObjectFeed feed(to, task_);
  std::vector<std::byte> block(kBlockBytes);
  for (const criu::Vma& vma : memory->vmas) {
    if (!is_executable(vma)) continue;
    const criu::FileEntry* file = tasks_->open_file(static_cast<std::uint32_t>(vma.object));
    auto run = std::ranges::partition_point(map->runs, [&](const criu::PageRun& each) {
      return each.address + each.pages * map->page_bytes <= vma.start;
    });
    for (; run != map->runs.end() && run->address < vma.end; ++run) {
      const std::uint64_t begin = std::max(run->address, vma.start);
      const std::uint64_t end = std::min(run->address + run->pages * map->page_bytes, vma.end);
      ExtractedObject made = object(ObjectKind::code, "pages", {static_cast<std::int32_t>(about.pid)});
      made.path = Bytes(file == nullptr ? "" : file->name);
      made.address = Hex{begin};
      made.offset_bytes = vma.offset_bytes + (begin - vma.start);
      made.protection = protection_of(vma);
      made.size_bytes = end - begin;
      if (auto begun = feed.begin(std::move(made)); !begun) return begun;
      for (std::uint64_t at = begin; at < end && !feed.missed();) {
        const auto room =
            std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), end - at)));
        const auto chunk = tasks_->memory_.read(of, *map, at, room);
        if (auto go_on = task_.check(); !go_on) return go_on;
        if (!chunk) {
          feed.miss(chunk.error());
          break;
        }
        if (auto copied = feed.copy(room.first(chunk->size_bytes), at - begin); !copied) return copied;
        at += chunk->size_bytes;
      }
      if (auto ended = feed.end(end - begin); !ended) return ended;
    }
  }
  return Done{};
}

}  // namespace ctriage::source
