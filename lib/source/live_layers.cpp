// Which overlay a container's root is, and its layers as the node has them.
#include <algorithm>

#include "lib/core/sys.h"
#include "lib/source/live_detail.h"
#include "lib/source/programs.h"

namespace ctriage::source {
namespace {

// A container's root directory and the mount that it is.
struct RootMount {
  Root directory;
  Mount mount;
};

// The root of its first process, by the id that the kernel gives for /proc/INIT/root. What is mounted over
// "/" since changes neither that directory nor what its processes run, only the last line of mountinfo.
Result<RootMount> root_of_init(const Node& node, const LiveContainer& container) {
  auto root = node.proc.descend_magic(proc::live_path(node.proc, container.container.init_pid) + "/root");
  if (!root) return needs(std::move(root).error(), "CAP_SYS_PTRACE");
  const auto id = mount_id(node.proc, root->fd());
  for (const Mount& mount : container.mounts) {
    if (id && mount.id == *id) return RootMount{*std::move(root), mount};
  }
  return Error{Errc::not_found, "the mount of the root directory is not in mountinfo"};
}

// The root that the engine made, as the shim sees it: an intruder who gave his process another one by
// pivot_root(2) has not moved this.
std::optional<RootMount> root_of_engine(const Node& node, const LiveContainer& container, Survey& survey,
                                        Task& task) {
  if (container.shim_pid <= 0) return std::nullopt;
  const std::string& path = container.container.root_dir.raw;
  if (path.empty()) return std::nullopt;
  auto shim = node.proc.descend_magic(std::to_string(container.shim_pid) + "/root");
  auto directory = shim ? shim->descend_in_root(path) : Result<Root>(shim.error());
  const auto mounts = survey.mounts_of(container.shim_pid, task);
  if (!directory || !mounts) return std::nullopt;
  const auto id = mount_id(node.proc, directory->fd());
  for (const Mount& mount : **mounts) {
    if (id && mount.id == *id && mount.mountpoint.raw == path) return RootMount{*std::move(directory), mount};
  }
  return std::nullopt;
}

// overlay's paths are paths of the mount namespace and root of whoever mounted it.
std::vector<std::string> places_of_the_mounter(const Node& node, const LiveContainer& container) {
  std::vector<std::string> roots;
  if (container.shim_pid > 0) roots.push_back(std::to_string(container.shim_pid) + "/root");
  const auto init = proc::read_stat(node.proc, container.container.init_pid);
  if (init && init->ppid > 0) roots.push_back(std::to_string(init->ppid) + "/root");
  roots.push_back(node.host_link("root"));
  return roots;
}

// Whether `upper` is the UpperDir of the overlay whose root directory `merged` is. The option strings are
// names in the mount namespace of whoever mounted, maybe the intruder: the same name is another directory
// here. But an overlay shows its upper directory's own times, and nobody can set ctime and birth time.
bool is_upper_of(const Root& upper, const Root& merged) {
  constexpr int kTries = 5;  // the container may be writing to it
  for (int i = 0; i < kTries; ++i) {
    const auto below = upper.stat_beneath("");
    const auto above = merged.stat_beneath("");
    if (!below || !above) return false;
    if (below->ctime == above->ctime && below->mtime == above->mtime && below->btime == above->btime)
      return true;
  }
  return false;
}

// Docker and containers-storage mount with paths relative to their own directory, two above the mount point
// BASE/<id>/merged, which only the mounter's or the node's mount table has.
std::string base_of_relative_paths(const Node& node, const LiveContainer& container, const Mount& root,
                                   Survey& survey, const Task& task) {
  constexpr std::string_view kMerged = "/merged";
  GapLog unseen;  // without a base the path that needs one is told
  Task quiet = task.with(unseen);
  for (const std::int32_t pid : {container.shim_pid, node.host}) {
    if (pid <= 0) continue;
    const auto mounts = survey.mounts_of(pid, quiet);
    if (!mounts) continue;
    for (const Mount& mount : **mounts) {
      std::string_view path = mount.mountpoint.view();
      if (mount.device != root.device || mount.fstype.raw != "overlay" || !path.ends_with(kMerged)) continue;
      path.remove_suffix(kMerged.size());
      const auto id = path.rfind('/');
      if (id != std::string_view::npos && id > 0) return std::string(path.substr(0, id));
    }
  }
  return {};
}

// Whether two roots show the same directories under the names of this overlay.
bool same_layers(const overlay::Options& options, const Root& one, const Root& other) {
  const auto same = [&](const std::string& name) {
    const std::string path = name.starts_with('/') || options.base.empty() ? name : options.base + "/" + name;
    const auto here = one.stat_in_root(path);
    const auto there = other.stat_in_root(path);
    return here && there && here->same_inode(*there);
  };
  return same(options.upper) && std::ranges::all_of(options.lowers, same) &&
         std::ranges::all_of(options.data_only, same);
}

Result<overlay::Stack> open_layers(const Node& node, const LiveContainer& container, const RootMount& root,
                                   Survey& survey, Task& task) {
  auto options = overlay::parse_options(root.mount.super_options.raw);
  if (!options) return std::move(options).error().within("overlay options");
  if (options->upper.empty())
    return Error{Errc::unsupported, "the root is a read-only overlay: nothing can change"};

  if (!options->upper.starts_with('/'))
    options->base = base_of_relative_paths(node, container, root.mount, survey, task);
  const std::string& upper_name = options->upper;
  const std::string upper_path =
      upper_name.starts_with('/') || options->base.empty() ? upper_name : options->base + "/" + upper_name;
  Error last{Errc::not_found, "no place to look for " + upper_path};
  for (const std::string& place : places_of_the_mounter(node, container)) {
    auto base = node.proc.descend_magic(place);
    if (!base) {
      last = needs(std::move(base).error(), "CAP_SYS_PTRACE");
      continue;
    }
    if (auto upper = base->stat_in_root(upper_path); !upper) {
      last = needs(std::move(upper).error(), "CAP_DAC_READ_SEARCH");
      continue;
    }
    // Mounts of another mount namespace, where Podman's monitor may be, cannot be cloned.
    if (survey.layers == overlay::Stack::Use::contents) {
      auto ours = node.proc.descend_magic(node.host_link("root"));
      if (ours && same_layers(*options, *base, *ours)) base = std::move(ours);
    }
    auto stack = overlay::Stack::open(*options, *base, container.container.id, task, survey.layers);
    if (!stack) return stack;
    if (is_upper_of(stack->upper(), root.directory)) return stack;
    last = Error{Errc::mismatch, upper_path +
                                     " is not the UpperDir of this overlay: the container mounted it, "
                                     "or its processes have another root directory"};
  }
  return last;
}

}  // namespace

std::optional<std::uint32_t> root_mount_id(const Node& node, const LiveContainer& container) {
  auto root = node.proc.descend_magic(proc::live_path(node.proc, container.container.init_pid) + "/root");
  return root ? mount_id(node.proc, root->fd()) : std::nullopt;
}

Result<overlay::Stack> open_stack(const Node& node, LiveContainer& container, Survey& survey, Task& task) {
  auto root = root_of_init(node, container);
  if (auto made = root_of_engine(node, container, survey, task)) {
    if (root && root->mount.device != made->mount.device) {
      task.gaps.add(
          {Impact::lost,
           "container.root",
           container.container.id,
           {Errc::mismatch, "its first process has another root directory than the engine gave it (" +
                                root->mount.fstype.raw +
                                "): the engine's is collected, what lies in the other is not"}});
    }
    root = *std::move(made);
  }
  if (!root) return std::move(root).error();
  container.root_device = root->mount.device;
  if (root->mount.fstype.raw != "overlay") {
    return Error{Errc::unsupported,
                 "the root is " + root->mount.fstype.raw +
                     ", not overlay: changes against the image cannot be told by this version"};
  }
  return open_layers(node, container, *root, survey, task);
}

}  // namespace ctriage::source
