#include "lib/runtime/docker.h"

#include <algorithm>
#include <utility>

#include "lib/core/limits.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kDefaultRoot = "/var/lib/docker";
constexpr std::string_view kDefaultConfig = "/etc/docker/daemon.json";
constexpr std::size_t kMostAbove = 6;

void add(std::vector<std::string>& paths, std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (!path.starts_with('/') || std::find(paths.begin(), paths.end(), path) != paths.end()) return;
  paths.push_back(std::move(path));
}

void add_above(std::vector<std::string>& paths, std::string path) {
  for (std::size_t i = 0; i < kMostAbove && path.size() > 1 && path.front() == '/'; ++i) {
    path.erase(path.rfind('/'));
    if (!path.empty()) add(paths, path);
  }
}

// A configuration that cannot be read costs its data root. `chosen`: it is not in the default place.
std::string data_root_in(const Result<Root>& node, const std::string& config, bool chosen, Task& task) {
  const auto text = node ? node->read_file_in_root(config, kMaxJsonBytes) : Result<std::string>(node.error());
  if (!text && text.error().code == Errc::not_found && !chosen) return std::string(kDefaultRoot);
  auto root = text ? parse_daemon_config(*text) : Result<std::string>(text.error());
  if (!root) {
    task.gaps.add({Impact::degraded, "runtime.docker", config, std::move(root).error().within(config)});
    return std::string(kDefaultRoot);
  }
  return root->empty() ? std::string(kDefaultRoot) : *root;
}

// What a daemon was told.
std::string data_root_of(const EngineProcess& daemon, Task& task) {
  const auto arguments = arguments_of(daemon);
  for (const std::string_view flag : {"--data-root", "--graph", "-g"}) {
    if (std::string root = value_of(arguments, flag); !root.empty()) return root;
  }
  std::string config = value_of(arguments, "--config-file");
  const bool chosen = !config.empty();
  if (!chosen) config = kDefaultConfig;
  return data_root_in(daemon.directory.descend_magic("root"), config, chosen, task);
}

}  // namespace

DockerRoots::DockerRoots(const std::vector<EngineProcess>& processes, Task& task) {
  for (const EngineProcess& process : processes) {
    if (process.role == Role::dockerd) add(known_, data_root_of(process, task));
  }
  add(known_, std::string(kDefaultRoot));
}

DockerRoots::DockerRoots(const Root& disk, Task& task) {
  add(known_, data_root_in(disk.duplicate(), std::string(kDefaultConfig), false, task));
  add(known_, std::string(kDefaultRoot));
}

void complete_docker(const Root& node, const DockerRoots& roots, Found& into, Task& task) {
  Container& container = into.container;
  container.engine = "docker";
  std::vector<std::string> candidates;
  add_above(candidates, container.root_dir.raw);
  add_above(candidates,
            container.engine_root.raw);  // <data root>/containerd/daemon of a containerd of its own
  for (const std::string& root : roots.known()) add(candidates, root);
  for (const std::string& root : candidates) {
    const std::string file = root + "/containers/" + container.id + "/config.v2.json";
    const auto text = node.read_file_in_root(file, kMaxJsonBytes);
    if (!text && (text.error().code == Errc::not_found || text.error().code == Errc::outside)) continue;
    container.engine_root = Bytes(root);
    container.record = Bytes(file);
    const Status parsed = text ? parse_docker_record(*text, container) : Status(text.error());
    if (!parsed) task.gaps.add({Impact::lost, "runtime.docker", file, Error(parsed.error()).within(file)});
    return;
  }
  task.gaps.add({Impact::degraded,
                 "runtime.docker",
                 container.bundle_dir.raw,
                 {Errc::not_found, "no config.v2.json of container " + container.id +
                                       " below any data root: its name, image and labels are not known"}});
}

}  // namespace ctriage::runtime
