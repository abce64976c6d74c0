// Which overlay a container's root is, and its layers as the node has them.
#include "lib/runtime/layers.h"

#include <algorithm>

#include "lib/core/sys.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/fuse_server.h"
#include "lib/source/live/programs.h"

namespace ctriage::source {
namespace {

// A container's root directory and the mount that it is.
struct RootMount {
  Root directory;
  Mount mount;
};

// The root of its first process, by the id that the kernel gives for /proc/INIT/root. What is mounted over
// "/" since changes neither that directory nor what its processes run, only the last line of mountinfo.
Result<RootMount> root_of_init(const Node& node, const LiveContainer& container, Result<Root> root) {
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
  const auto shim = survey.root_of(container.shim_pid);
  auto directory = shim ? (*shim)->descend_in_root(path) : Result<Root>(shim.error());
  if (!directory) return std::nullopt;
  const auto id = mount_id(node.proc, directory->fd());
  const auto mount = id ? survey.mount_of(container.shim_pid, *id, task)
                        : Result<const Mount*>(Error{Errc::not_found, "its mount is not known"});
  if (!mount || (*mount)->mountpoint.raw != path) return std::nullopt;
  return RootMount{*std::move(directory), **mount};
}

// overlay's paths are paths of the mount namespace and root of whoever mounted it.
// Looked at one after the other: mostly the first is right.
std::optional<std::int32_t> place_of_the_mounter(const Node& node, const LiveContainer& container,
                                                 std::size_t number) {
  if (container.shim_pid > 0 && number-- == 0) return container.shim_pid;
  const auto init = proc::read_stat(node.proc, container.container.init_pid);
  const bool other = init && init->ppid > 0 && init->ppid != container.shim_pid;
  if (other && number-- == 0) return init->ppid;
  return number == 0 ? std::optional(node.host) : std::nullopt;
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

// Names of layers that are gone: of clones that were mounted for the time of the mount only (an id map), of
// descriptors. The engine's records have them, as long as it is as many.
std::optional<overlay::Stack> open_recorded(const Root& base, const LiveContainer& container,
                                            const overlay::Options& named, const Survey& survey, Task& task) {
  GapLog unseen;  // then the names are told
  Task quiet = task.with(unseen);
  auto layers = runtime::find_layers(base, container.container, quiet);
  if (!layers || layers->lowers.size() != named.lowers.size()) return std::nullopt;
  overlay::Options options = named;
  options.base = std::move(layers->base);
  options.upper = std::move(layers->upper);
  options.lowers = std::move(layers->lowers);
  auto stack = overlay::Stack::open(options, base, container.container.id, quiet, survey.layers);
  if (!stack || !stack->complete()) return std::nullopt;
  task.gaps.add({Impact::note,
                 "overlay.lower",
                 container.container.id,
                 {Errc::not_found, "the names of its layers (" + named.lowers.front() +
                                       ") lead nowhere any more: taken from the engine's records"}});
  return *std::move(stack);
}

// Whether the UpperDir and the image's layers have owners of one scale: not when those are mounted through
// the container's id map, SEMANTICS.md "Owners".
void settle_owners(const Node& node, const LiveContainer& container, const RootMount& root,
                   overlay::Stack& stack, Task& task) {
  const std::int32_t init = container.container.init_pid;
  const auto its = proc::read_namespace(node.proc, init, "user");
  const auto ours = proc::read_namespace(node.proc, node.host, "user");
  if (!its || !ours || *its == *ours) return;
  const auto read = [&](const char* name) -> Result<overlay::IdMap> {
    auto text = proc::read_text(node.proc, init, name);
    if (!text) return std::move(text).error();
    return overlay::parse_id_map(*text);
  };
  const auto uids = read("uid_map");
  const auto gids = read("gid_map");
  const auto tell = [&](Impact impact, Error error) {
    task.gaps.add({impact, "overlay.owners", container.container.id, std::move(error)});
  };
  if (!uids || !gids) {
    return tell(
        Impact::degraded,
        Error(uids ? gids.error() : uids.error()).within("owners of the image's files are as on disk"));
  }
  if (!uids->changes_ids() && !gids->changes_ids()) return;
  const auto mapped = stack.shows_mapped_owners(root.directory, *uids, *gids, task);
  if (!mapped) {
    return tell(Impact::degraded, {Errc::unsupported,
                                   "whether its layers are mounted through its id map cannot be told: owners "
                                   "are as on disk, and those of the image may be on another scale"});
  }
  if (!*mapped) return;
  stack.map_lower_owners(*uids, *gids);
  tell(Impact::note, {Errc::mismatch,
                      "its layers are mounted through its id map: owners are told as the node sees them, the "
                      "image's 0 is " +
                          std::to_string(uids->outside(0)) + ":" + std::to_string(gids->outside(0))});
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
  for (std::size_t number = 0; const auto place = place_of_the_mounter(node, container, number); ++number) {
    auto base = survey.root_of(*place);
    if (!base) {
      last = needs(std::move(base).error(), "CAP_SYS_PTRACE");
      continue;
    }
    // Mounts of another mount namespace, where Podman's monitor may be, cannot be cloned.
    const bool contents = survey.layers == overlay::Stack::Use::contents;
    if (contents) {
      const auto ours = survey.root_of(node.host);
      if (ours && same_layers(*options, **base, **ours)) base = ours;
    }
    GapLog told;
    Task opening = task.with(told);
    auto stack = overlay::Stack::open(*options, **base, container.container.id, opening, survey.layers);
    if (!stack) {
      if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
      last = needs(std::move(stack).error(), "CAP_DAC_READ_SEARCH");
      continue;
    }
    if (!is_upper_of(stack->upper(), root.directory)) {
      last = Error{Errc::mismatch, upper_path +
                                       " is not the UpperDir of this overlay: the container mounted it, "
                                       "or its processes have another root directory"};
      continue;
    }
    auto recorded =
        stack->complete() ? std::nullopt : open_recorded(**base, container, *options, survey, task);
    if (recorded && is_upper_of(recorded->upper(), root.directory)) {
      stack = *std::move(recorded);
    } else {
      task.gaps.merge(std::move(told));
    }
    if (contents) settle_owners(node, container, root, *stack, task);
    return stack;
  }
  return last;
}

// What fuse-overlayfs has put together is never asked for by way of its mount: its server may not answer.
Result<overlay::Stack> open_fuse_layers(Node& node, const LiveContainer& container, const RootMount& root,
                                        Survey& survey, Task& task) {
  auto server = find_fuse_server(node, container, root.mount, survey, task);
  if (!server) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    return std::move(server).error();
  }
  if (server->options.upper.empty())
    return Error{Errc::unsupported, "fuse-overlayfs without upperdir: nothing can change"};
  const auto base = survey.root_of(server->pid);
  if (!base) return needs(Error(base.error()), "CAP_SYS_PTRACE");
  const Root* from = base->get();
  const auto ours = survey.root_of(node.host);
  if (survey.layers == overlay::Stack::Use::contents) {
    if (ours && same_layers(server->options, **base, **ours)) from = ours->get();
  }
  return overlay::Stack::open(server->options, *from, container.container.id, task, survey.layers);
}

}  // namespace

Result<overlay::Stack> open_stack(Node& node, LiveContainer& container, Result<Root> init_root,
                                  Survey& survey, Task& task) {
  auto root = root_of_init(node, container, std::move(init_root));
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
  if (root->mount.fstype.raw == kFuseOverlay) return open_fuse_layers(node, container, *root, survey, task);
  if (root->mount.fstype.raw != "overlay") {
    return Error{Errc::unsupported,
                 "the root is " + root->mount.fstype.raw +
                     ", not overlay: changes against the image cannot be told by this version"};
  }
  return open_layers(node, container, *root, survey, task);
}

}  // namespace ctriage::source
