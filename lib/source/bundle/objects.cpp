// What a bundle has of what has no file: programs without a name, tmpfs, the UpperDir.
#include <map>
#include <tuple>

#include "lib/core/text.h"
#include "lib/source/bundle/source.h"
#include "lib/source/object_feed.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxPartial = 65'536;  // files that were not taken whole
constexpr std::size_t kBlockBytes = 256 << 10;

void tell(Impact impact, ObjectKind kind, const std::string& origin, Error why, Task& task) {
  task.gaps.add({impact, "extract." + std::string(to_text(kind)), origin, std::move(why)});
}

}  // namespace

Status BundleSnapshot::visit_layer(const std::string& stream, ObjectKind kind, const std::string& container,
                                   const std::string& below, ObjectVisitor& visitor, Task& task) {
  LayerObjects layer;
  layer.like.container = container;
  layer.like.kind = kind;
  layer.like.what = "file";
  layer.below = below;
  layer.whiteouts = kind == ObjectKind::changed;
  const auto partial = [&](const Bytes& path, const auto& why) {
    if (why && layer.partial.size() < kMaxPartial) layer.partial.emplace(path.raw, *why);
  };
  auto listed = kind == ObjectKind::changed ? list_changes(
                                                  container,
                                                  [&](FileChange&& change) {
                                                    partial(change.path, change.partial);
                                                    return Status(Done{});
                                                  },
                                                  task)
                                            : Status(Done{});
  if (!listed) return listed;
  const std::string name = bulk_stream(stream);
  auto opened = reader_->open(name, task);
  std::optional<Error> damage;
  if (!opened) damage = std::move(opened).error();
  if (opened) {
    if (auto fed = feed_layer(**opened, layer, visitor, task, damage); !fed) return fed;
  }
  if (auto go_on = task.check(); !go_on) return go_on;
  const auto status = reader_->status(name);
  if (!damage && status && status->outcome != bundle::Outcome::collected)
    damage = Error{Errc::truncated, "not taken whole: " + status->why};
  if (damage) tell(Impact::lost, kind, name, *std::move(damage), task);
  return Done{};
}

// Programs that were running and had no name; their bytes lie under their SHA-256.
Status BundleSnapshot::visit_programs(const std::string& container, const ObjectQuery& query,
                                      ObjectVisitor& visitor, Task& task) {
  const std::string folder = folders_.at(container) + "executables/";
  // By digest, kind and path: the same bytes may be run in several ways.
  std::map<std::tuple<std::string, ObjectKind, std::string>, ExtractedObject> programs;
  const Emit<Process> each = [&](Process&& process) -> Status {
    const Executable& exe = process.exe;
    const bool memfd = exe.origin == Origin::memfd;
    const ObjectKind kind = memfd ? ObjectKind::memfd : ObjectKind::deleted;
    if ((!memfd && !exe.deleted) || !query.wants(kind)) return Done{};
    if (query.pid != 0 && process.pid != query.pid) return Done{};
    if (!exe.sha256) {
      tell(Impact::lost, kind, "pid " + std::to_string(process.pid) + " " + exe.path.raw,
           {Errc::not_found, "its program was not read"}, task);
      return Done{};
    }
    ExtractedObject& object = programs[{*exe.sha256, kind, exe.path.raw}];
    object.container = container;
    object.kind = kind;
    object.what = memfd ? "memfd" : "file";
    object.type = FileType::regular;
    if (object.path.empty()) object.path = exe.path;
    object.size_bytes = exe.size_bytes;
    object.pids.push_back(process.pid);
    object.run_by.push_back(process.pid);
    return Done{};
  };
  if (auto listed = list_processes(container, each, task); !listed) return listed;
  ObjectFeed feed(visitor, task);
  std::vector<std::byte> block(kBlockBytes);
  for (auto& [key, object] : programs) {
    const std::string name = bulk_stream(folder + std::get<0>(key));
    auto stream = reader_->open(name, task);
    if (!stream) {
      if (auto go_on = task.check(); !go_on) return go_on;
      const auto status = reader_->status(name);
      tell(Impact::lost, object.kind, object.path.raw,
           status && !status->why.empty() ? Error{Errc::not_found, name + ": " + status->why}
                                          : std::move(stream).error(),
           task);
      continue;
    }
    const std::uint64_t size = object.size_bytes;
    if (auto begun = feed.begin(std::move(object)); !begun) return begun;
    std::uint64_t at = 0;
    while (!feed.missed()) {
      auto got = (*stream)->read(block);
      if (auto go_on = task.check(); !go_on) return go_on;
      if (!got) feed.miss(std::move(got).error());
      if (feed.missed() || *got == 0) break;
      if (auto copied = feed.copy(std::span<const std::byte>(block).first(*got), at); !copied) return copied;
      at += *got;
    }
    if (at < size) feed.miss({Errc::truncated, "it had " + with_commas(size) + " bytes"});
    if (auto ended = feed.end(at); !ended) return ended;
  }
  return Done{};
}

Status BundleSnapshot::visit_objects(const ObjectQuery& query, ObjectVisitor& visitor, Task& task) {
  bool any = query.pid == 0;
  for (const auto& [id, folder] : folders_) {
    if (query.pid != 0) {
      const Emit<Process> each = [&](Process&& process) -> Status {
        any = any || process.pid == query.pid;
        return Done{};
      };
      if (auto listed = list_processes(id, each, task); !listed) return listed;
    }
    for (const ObjectKind kind : {ObjectKind::queues, ObjectKind::sysv, ObjectKind::code}) {
      if (query.wants(kind))
        tell(Impact::note, kind, folder, {Errc::unsupported, "not extracted from a bundle"}, task);
    }
    if (query.wants(ObjectKind::deleted))
      tell(Impact::note, ObjectKind::deleted, folder,
           {Errc::unsupported, "a bundle has programs without a name, not what was merely open"}, task);
    if (query.wants(ObjectKind::deleted) || query.wants(ObjectKind::memfd)) {
      if (auto visited = visit_programs(id, query, visitor, task); !visited) return visited;
    }
    if (query.pid != 0) continue;  // files are no process's
    constexpr std::string_view kLines = ".jsonl";
    for (const std::string& stream : reader_->streams()) {
      if (!query.wants(ObjectKind::tmpfs) || !stream.starts_with(folder + "tmpfs/") ||
          !stream.ends_with(kLines))
        continue;
      std::string mount;
      const Emit<TreeFile> first = [&](TreeFile&& file) -> Status {
        if (mount.empty()) mount = file.mount.raw;
        return Done{};
      };
      if (auto listed = list_tree(stream, first, task); !listed) return listed;
      if (mount == "/") mount.clear();
      auto visited = visit_layer(stream.substr(0, stream.size() - kLines.size()) + ".tar", ObjectKind::tmpfs,
                                 id, mount, visitor, task);
      if (!visited) return visited;
    }
    if (!query.wants(ObjectKind::changed)) continue;
    if (!reader_->has(bulk_stream(folder + "upper.tar"))) {
      auto status = reader_->status(folder + "upper.tar");
      if (!status) status = reader_->status(folder + "upper.tar.zst");
      tell(
          Impact::degraded, ObjectKind::changed, folder + "upper.tar",
          {Errc::not_found, "not in the bundle" + (status && !status->why.empty() ? ": " + status->why : "")},
          task);
      continue;
    }
    if (auto visited = visit_layer(folder + "upper.tar", ObjectKind::changed, id, "", visitor, task);
        !visited)
      return visited;
  }
  if (any) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not in " + name_};
}

}  // namespace ctriage::source
