#include "lib/runtime/bundles.h"

#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/runtime/init.h"

namespace ctriage::runtime {
namespace {

constexpr std::size_t kMaxPidBytes = 32;

void lost(Task& task, const BundleSet& set, const std::string& id, std::string_view file, Error error) {
  const std::string origin = set.path + "/" + id + "/" + std::string(file);
  task.gaps.add({Impact::lost, "runtime.bundle", origin, std::move(error).within(origin)});
}

}  // namespace

std::optional<Found> read_bundle(const BundleSet& set, const std::string& id, Task& task) {
  const std::string path = set.path + "/" + id;
  const auto bundle = set.directory.descend(id);
  if (!bundle) {
    // A container that ends while we look takes nothing with it that we could have had.
    const Impact impact = bundle.error().code == Errc::not_found ? Impact::note : Impact::lost;
    task.gaps.add({impact, "runtime.bundle", path, Error(bundle.error()).within(path)});
    return std::nullopt;
  }
  Found found;
  Container& container = found.container;
  if (auto read = read_spec(*bundle, path, found, task); !read) {
    if (!bundle->stat_beneath("config.json") && !bundle->stat_beneath("init.pid")) {
      // containerd removes its files one by one before it renames and removes the directory.
      task.gaps.add({Impact::note,
                     "runtime.bundle",
                     path,
                     {Errc::not_found, path + ": neither config.json nor init.pid: being made or removed"}});
      return std::nullopt;
    }
    lost(task, set, id, "config.json", std::move(read).error());
  }
  container.id = id;
  if (container.name.empty()) container.name = Bytes(id);
  container.engine = "containerd";  // whatever an annotation says
  container.engine_namespace = Bytes(set.engine_namespace);
  container.bundle_dir = Bytes(path);
  container.root_dir = Bytes(absolute_root(container));

  // work -> <root>/io.containerd.runtime.v2.task/<namespace>/<id>, core/runtime/v2/bundle.go
  BundlePath parts;
  const auto work = bundle->read_link_beneath("work");
  if (work && parse_bundle_path(*work, parts)) {
    container.engine_root = Bytes(parts.before);
  } else {
    lost(task, set, id, "work",
         work ? Error{Errc::malformed, "leads to no engine root: " + *work} : work.error());
  }
  return found;
}

Status read_spec(const Root& bundle, const std::string& path, Found& into, Task& task) {
  auto spec = bundle.read_file_in_root("config.json", kMaxJsonBytes);
  if (!spec) return std::move(spec).error();
  into.raw_spec = *std::move(spec);
  if (auto parsed = parse_spec(into.raw_spec, into.container); !parsed) {
    const std::string file = path + "/config.json";
    task.gaps.add({Impact::lost, "runtime.bundle", file, std::move(parsed).error().within(file)});
  }
  if (const auto info = bundle.stat_beneath("config.json")) into.container.created_at = info->mtime;
  return Done{};
}

std::string absolute_root(const Container& container) {
  const std::string& root = container.root_dir.raw;
  if (root.empty() || root.front() == '/') return root;
  return container.bundle_dir.raw + "/" + root;
}

void read_init(const Root& proc, const BundleSet& set, const NodeFacts& node, Found& into, Task& task) {
  Container& container = into.container;
  InitPid said{0, set.path + "/" + container.id + "/init.pid", {}, set.node};
  for (const auto& [id, pid] : set.shims) said.monitors.insert(pid);
  const auto bundle = set.directory.descend(container.id);
  const auto text =
      bundle ? bundle->read_file_in_root("init.pid", kMaxPidBytes) : Result<std::string>(bundle.error());
  if (!text && text.error().code == Errc::not_found) {
    container.state = ContainerState::created;  // written once the runtime has made the process
    return;
  }
  const auto pid = text ? parse_number<std::int32_t>(trim(*text)) : std::nullopt;
  if (!pid || *pid <= 0) {
    Error error = text ? Error{Errc::malformed, "not a process id"} : text.error();
    task.gaps.add({Impact::lost, "runtime.init", said.origin, std::move(error).within(said.origin)});
    return;
  }
  said.pid = *pid;
  look_at_init(proc, said, node, into, task);
}

}  // namespace ctriage::runtime
