#include "lib/runtime/bundles.h"

#include <utility>

#include "lib/core/limits.h"

namespace ctriage::runtime {
namespace {

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
  auto spec = bundle->read_file_in_root("config.json", kMaxJsonBytes);
  if (spec) {
    found.raw_spec = *std::move(spec);
    if (auto parsed = parse_spec(found.raw_spec, container); !parsed) {
      lost(task, set, id, "config.json", std::move(parsed).error());
    }
    if (const auto info = bundle->stat_beneath("config.json")) container.created_at = info->mtime;
  } else if (!bundle->stat_beneath("config.json") && !bundle->stat_beneath("init.pid")) {
    // containerd removes its files one by one before it renames and removes the directory.
    task.gaps.add({Impact::note,
                   "runtime.bundle",
                   path,
                   {Errc::not_found, path + ": neither config.json nor init.pid: being made or removed"}});
    return std::nullopt;
  } else {
    lost(task, set, id, "config.json", std::move(spec).error());
  }
  container.id = id;
  if (container.name.empty()) container.name = Bytes(id);
  container.engine = "containerd";
  container.engine_namespace = Bytes(set.engine_namespace);
  container.bundle_dir = Bytes(path);

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

}  // namespace ctriage::runtime
