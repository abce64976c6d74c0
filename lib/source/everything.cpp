#include "lib/source/everything.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "lib/source/ended.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/reach.h"
#include "lib/source/objects.h"
#include "lib/source/refusal.h"

namespace ctriage::source {
namespace {

constexpr std::uint64_t kFirstFileSpace = std::uint64_t{1} << 32;  // above those of processes
constexpr std::array<std::byte, 64 << 10> kZeros{};
constexpr const char* kArtifact = "everything";

AreaKind area_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::deleted:
      return AreaKind::ghost;
    case ObjectKind::memfd:
      return AreaKind::shared;
    case ObjectKind::tmpfs:
      return AreaKind::tmpfs;
    case ObjectKind::queues:
      return AreaKind::queue;
    case ObjectKind::sysv:
      return AreaKind::ipc;
    case ObjectKind::changed:
      return AreaKind::layer;
    case ObjectKind::code:
      return AreaKind::memory;
  }
  return AreaKind::layer;
}

// Files on their way to who walks through memory.
class Files final : public ObjectVisitor {
 public:
  Files(MemoryVisitor& to, Task& task) : to_(to), task_(task), block_(256 << 10) {}

  Status entry(ExtractedObject&&) override { return Done{}; }
  Status begin(ExtractedObject&& object) override {
    MemoryArea area;
    area.kind = area_of(object.kind);
    area.container = std::move(object.container);
    if (!object.pids.empty()) area.pid = object.pids.front();
    area.path = std::move(object.path);
    return begin(std::move(area));
  }
  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (offset > next_ && offset - next_ <= kMaxZerosFed - zeros_) {
      zeros_ += offset - next_;
      while (next_ < offset) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kZeros.size(), offset - next_));
        if (auto fed = feed(std::span(kZeros).first(count)); !fed) return fed;
      }
    }
    next_ = offset;
    return feed(bytes);
  }
  Status end(std::uint64_t, std::optional<Error> missing) override {
    if (missing) lose(path_, *std::move(missing));
    return Done{};
  }

  Status begin(MemoryArea&& area) {
    area.space = ++space_;
    area.address = std::nullopt;
    area.has_offset = true;
    path_ = area.path.raw;
    next_ = 0;
    zeros_ = 0;
    return to_.enter(std::move(area));
  }
  // All of it, as far as it can be read.
  Status take(MemoryArea&& area, Result<std::unique_ptr<ByteSource>> bytes) {
    if (!bytes) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      lose(area.path.raw, std::move(bytes).error());
      return Done{};
    }
    if (auto begun = begin(std::move(area)); !begun) return begun;
    for (;;) {
      auto got = (*bytes)->read(block_);
      if (auto go_on = task_.check(); !go_on) return go_on;
      if (!got) lose(path_, std::move(got).error());
      if (!got || *got == 0) return Done{};
      if (auto fed = feed(std::span<const std::byte>(block_).first(*got)); !fed) return fed;
    }
  }
  void lose(const std::string& what, Error why) {
    const Impact impact = why.code == Errc::unsupported ? Impact::note : Impact::lost;
    task_.gaps.add({impact, kArtifact, what, std::move(why).within("not all of it was looked at")});
  }

 private:
  Status feed(std::span<const std::byte> bytes) {
    auto fed = to_.take(next_, bytes);
    next_ += bytes.size();
    return fed;
  }

  MemoryVisitor& to_;
  Task& task_;
  std::vector<std::byte> block_;
  std::uint64_t space_ = kFirstFileSpace;
  std::uint64_t next_ = 0;
  std::uint64_t zeros_ = 0;
  std::string path_;
};

// What runs and has a name; what has none comes with the files without one.
Status visit_programs(LiveSnapshot& snapshot, LiveContainer& live, std::int32_t pid, Files& files,
                      Task& task) {
  Node& node = snapshot.node();
  std::set<std::pair<std::uint64_t, std::uint64_t>> once;
  for (const auto& [each, held] : live.processes) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (held.gone || held.ended || (pid > 0 && pid != each)) continue;
    const auto process = proc::open_living(node.proc, each, held.start_ticks);
    if (!process) continue;  // its memory could not be read either, which is told
    auto path = process->read_link_beneath("exe");
    if (!path) continue;  // of the kernel
    auto pin = process->pin_magic("exe");
    const auto info = pin ? file_info(pin->get(), *path) : Result<FileInfo>(pin.error());
    MemoryArea area;
    area.kind = AreaKind::program;
    area.container = live.container.id;
    area.pid = each;
    area.path = Bytes(*path);
    if (!info) {
      if (!info.error().is_gone()) files.lose(*path, needs(info.error(), "CAP_SYS_PTRACE"));
      continue;
    }
    if (pid <= 0 && (info->nlink == 0 || path->ends_with(proc::kDeleted))) continue;
    if (!once.emplace(info->device(), info->inode).second) continue;
    auto file = hold_file(node, live, *std::move(pin), each, task);
    auto bytes = file ? read_program(node, *file, *path, task)
                      : Result<std::unique_ptr<ByteSource>>(std::move(file).error());
    if (auto taken = files.take(std::move(area), std::move(bytes)); !taken) return taken;
  }
  return Done{};
}

// Its tmpfs are fed by visit_objects.
Status visit_volumes(Snapshot& snapshot, const std::string& container, Files& files, Task& task) {
  std::set<std::string> tmpfs;
  const Emit<Mount> mount = [&](Mount&& seen) -> Status {
    if (seen.fstype.raw == "tmpfs") tmpfs.insert(seen.mountpoint.raw);
    return Done{};
  };
  if (auto listed = snapshot.list_mounts(container, mount, task); !listed) return listed;
  return snapshot.list_trees(
      container,
      [&](TreeFile&& seen) -> Status {
        if (seen.file.type != FileType::regular || seen.hard_link_of || tmpfs.contains(seen.mount.raw))
          return Done{};
        FileKey key;
        key.container = container;
        key.path = seen.path.raw;
        key.follow = false;
        auto opened = snapshot.open_file(key, task);
        MemoryArea area;
        area.kind = AreaKind::volume;
        area.container = container;
        area.path = std::move(seen.path);
        if (opened && !opened->bytes) return Done{};  // no regular file by now
        return files.take(std::move(area), opened ? Result(std::move(opened->bytes))
                                                  : Result<std::unique_ptr<ByteSource>>(opened.error()));
      },
      task);
}

Status visit_logs(Snapshot& snapshot, const std::string& container, Files& files, Task& task) {
  return snapshot.list_logs(
      container,
      [&](LogFile&& log) -> Status {
        MemoryArea area;
        area.kind = AreaKind::log;
        area.container = container;
        area.path = log.path;
        return files.take(std::move(area), snapshot.open_log(log, task));
      },
      task);
}

Status visit_files(Snapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  Files files(visitor, task);
  auto* live = dynamic_cast<LiveSnapshot*>(&snapshot);
  if (live != nullptr) {
    (void)live->hold(task);
    for (LiveContainer& container : live->containers()) {
      if (auto visited = visit_programs(*live, container, query.pid, files, task); !visited) return visited;
    }
  }
  if (query.pid > 0) return Done{};
  ObjectQuery objects;
  for (const ObjectKind kind :
       {ObjectKind::deleted, ObjectKind::memfd, ObjectKind::tmpfs, ObjectKind::changed})
    objects.kinds[static_cast<std::size_t>(kind)] = true;
  if (live != nullptr)
    objects.kinds[static_cast<std::size_t>(ObjectKind::queues)] = true;  // which says why not
  if (auto visited = visit_objects(snapshot, objects, files, task); !visited) return visited;
  std::vector<std::string> containers;
  const Emit<Container> each = [&](Container&& container) -> Status {
    containers.push_back(std::move(container.id));
    return Done{};
  };
  if (auto listed = snapshot.list_containers(each, task); !listed) return listed;
  for (const std::string& id : containers) {
    if (auto visited = visit_volumes(snapshot, id, files, task); !visited) return visited;
    if (auto visited = visit_logs(snapshot, id, files, task); !visited) return visited;
  }
  return Done{};
}

}  // namespace

Status visit_everything(Snapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  const bool ended = dynamic_cast<EndedSnapshot*>(&snapshot) != nullptr;
  if (!ended) {
    if (auto visited = snapshot.visit_memory(query, visitor, task); !visited) return visited;
    if (dynamic_cast<LiveSnapshot*>(&snapshot) == nullptr) return Done{};
  } else if (query.pid > 0) {
    return Error{Errc::not_found, std::string(kNoProcesses)};
  } else {
    task.gaps.add({Impact::note, kArtifact, "memory", {Errc::unsupported, std::string(kNoProcesses)}});
  }
  return visit_files(snapshot, query, visitor, task);
}

}  // namespace ctriage::source
