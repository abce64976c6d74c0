// Objects of a checkpoint that are pages: memory with a descriptor, shared memory, patched code.
#include <sys/mman.h>

#include <algorithm>

#include "lib/core/text.h"
#include "lib/source/checkpoint/image_stream.h"
#include "lib/source/checkpoint/objects.h"
#include "lib/source/object_feed.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::string_view kMapPrefix = "pagemap-";
constexpr std::string_view kImageSuffix = ".img";

bool is_executable(const criu::Vma& vma) {
  return (vma.status & criu::Vma::file_private) != 0 && (vma.protection & PROT_EXEC) != 0;
}

std::string protection_of(const criu::Vma& vma) {
  const auto bit = [&](std::uint32_t mask, char name) { return (vma.protection & mask) != 0 ? name : '-'; };
  return {bit(PROT_READ, 'r'), bit(PROT_WRITE, 'w'), 'x', 'p'};
}

std::uint64_t end_of(const criu::PageMap& map, const criu::PageRun& run) {
  return run.address + run.pages * map.page_bytes;
}

// Shared memory, as far as it is said to go.
Status feed_pages(ObjectFeed& feed, CheckpointMemory& memory, const std::string& of, const criu::PageMap& map,
                  std::uint64_t size_bytes, const Task& task) {
  if (auto whole = memory.check(of, map); !whole) feed.miss(std::move(whole).error());
  std::vector<std::byte> block(kBlockBytes);
  for (const criu::PageRun& run : map.runs) {
    const std::uint64_t end = std::min(end_of(map, run), size_bytes);
    // The last page of an object may have less of it than a page.
    if (end_of(map, run) - end >= map.page_bytes) feed.miss({Errc::mismatch, "pages behind its end"});
    for (std::uint64_t at = run.address; at < end;) {
      const auto room =
          std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), end - at)));
      const auto chunk = memory.read(of, map, at, room);
      if (auto go_on = task.check(); !go_on) return go_on;
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
  return Done{};
}

// Cuts off `vma` what lies before `end`; false: nothing of it is left.
bool begin_at(std::uint64_t end, criu::Vma& vma) {
  if (vma.end <= std::max(vma.start, end)) return false;
  if (vma.start >= end) return true;
  vma.offset_bytes += end - vma.start;
  vma.start = end;
  return true;
}

// What of the pages of a process `vmas`, in their order, leave out or have twice.
void tell_mappings(const std::vector<criu::Vma>& vmas, const criu::PageMap& map, const std::string& pid,
                   GapLog& gaps) {
  std::uint64_t over = 0;
  std::uint64_t mapped_until = 0;
  std::uint64_t mapped_bytes = 0;
  for (criu::Vma vma : vmas) {
    if (vma.start < mapped_until) ++over;
    if (!begin_at(mapped_until, vma)) continue;
    mapped_until = vma.end;
    mapped_bytes += map.bytes_in(vma.start, vma.end);
  }
  std::uint64_t all_bytes = 0;
  for (const criu::PageRun& run : map.runs) {
    if (run.state != criu::PageRun::State::lazy) all_bytes += run.pages * map.page_bytes;
  }
  if (over > 0)
    gaps.add({Impact::degraded,
              "checkpoint.code",
              "pid " + pid,
              {Errc::malformed, counted(over, "mapping lies", "mappings lie") +
                                    " over the one before: each page is taken once"}});
  if (all_bytes > mapped_bytes)
    gaps.add({Impact::lost,
              "checkpoint.code",
              "pid " + pid,
              {Errc::mismatch, human_size(all_bytes - mapped_bytes) +
                                   " of pages lie in no mapping: not extracted; search reads them"}});
}

// Page maps of System V segments, by image. What cannot be read is told when the segments are.
void name_segments(CheckpointStore& store, const std::string& image, std::set<std::string>& named) {
  auto stream = ImageStream::open(store, image, criu::Kind::ipc_shm);
  std::string message;
  while (stream) {
    const auto more = stream->next(message);
    if (!more || !*more) return;
    const auto segment = criu::parse_ipc_segment(message);
    if (!segment) return;
    constexpr std::uint64_t kPadding = 4;
    const std::uint64_t size = segment->size_bytes;
    if (segment->in_pagemaps) {
      named.insert("shmem-" + std::to_string(segment->about.id));
    } else if (size > UINT64_MAX - kPadding || !stream->skip((size + kPadding - 1) / kPadding * kPadding)) {
      return;
    }
  }
}

}  // namespace

std::string CheckpointObjects::pages_of(const std::string& of) {
  const auto map = tasks_->memory_.page_map(of, page_bytes_);
  return map ? "pages-" + std::to_string(map->pages_id) + ".img" : "pagemap-" + of + ".img";
}

// memfds, shared anonymous memory: their pages are no process's.
void CheckpointObjects::plan_shared(std::vector<ObjectWork>& into) {
  std::set<std::string> named;  // as of CheckpointMemory::page_map()
  for (const auto& [id, inode] : tasks_->memfds_) {
    const std::uint32_t shared = inode.shared_memory;
    named.insert("shmem-" + std::to_string(shared));
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
    if (!named.insert("shmem-" + std::to_string(shared)).second || !wanted(pids)) continue;
    ExtractedObject made = object(ObjectKind::memfd, "shared memory", pids);
    made.path = Bytes("shared memory " + std::to_string(shared));
    made.size_bytes = span;
    add(into, pages_of("shmem-" + std::to_string(shared)),
        [this, made, shared = shared, span = span](ObjectVisitor& to) {
          return walk_shared(made, shared, span, to);
        });
  }
  // Pages that nothing names are content all the same: memfd.img may be missing, or cut.
  bool segments_named = false;
  for (const std::string& name : images("pagemap-shmem-", kImageSuffix)) {
    const std::string of =
        name.substr(kMapPrefix.size(), name.size() - kMapPrefix.size() - kImageSuffix.size());
    if (!segments_named && !named.contains(of)) {
      for (const std::string& segments : images("ipcns-shm-", kImageSuffix))
        name_segments(*part_.images, part_.image_dir + segments, named);
      segments_named = true;
    }
    if (named.contains(of)) continue;
    const auto id = parse_number<std::uint32_t>(std::string_view(of).substr(of.find('-') + 1));
    const auto sharers = id ? sharers_.find(*id) : sharers_.end();
    const Pids pids = sharers == sharers_.end() ? Pids{} : sharers->second;
    if (!wanted(pids)) continue;
    ExtractedObject made = object(ObjectKind::memfd, "shared memory", pids);
    made.path = Bytes(name);
    add(into, pages_of(of), [this, made, of](ObjectVisitor& to) -> Status {
      ObjectFeed feed(to, task_);
      if (auto begun = feed.begin(ExtractedObject(made)); !begun) return begun;
      const auto map = tasks_->memory_.page_map(of, page_bytes_);
      if (!map) {
        feed.miss(map.error());
        return feed.end(0);
      }
      feed.miss({Errc::mismatch, "nothing in the images says what it is or how large it was"});
      const std::uint64_t size = map->runs.empty() ? 0 : end_of(*map, map->runs.back());
      if (auto fed = feed_pages(feed, tasks_->memory_, of, *map, size, task_); !fed) return fed;
      return feed.end(size);
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
    if (auto fed = feed_pages(feed, memory, of, *map, size_bytes, task_); !fed) return fed;
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
  std::ranges::stable_sort(memory->vmas, {}, &criu::Vma::start);
  tell_mappings(memory->vmas, *map, of, task_.gaps);
  ObjectFeed feed(to, task_);
  std::vector<std::byte> block(kBlockBytes);
  std::uint64_t written_until = 0;
  for (criu::Vma vma : memory->vmas) {
    // One that is not executable must not hide what lies below it.
    if (!is_executable(vma) || !begin_at(written_until, vma)) continue;
    written_until = vma.end;
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
