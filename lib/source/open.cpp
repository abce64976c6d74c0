#include "lib/source/open.h"

#include <fcntl.h>

#include <algorithm>

#include "lib/archive/bytes_at.h"
#include "lib/archive/tar_header.h"
#include "lib/core/path.h"
#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/source/bundle_source.h"
#include "lib/source/checkpoint_source.h"
#include "lib/source/choose.h"
#include "lib/source/disk.h"
#include "lib/source/ended.h"

namespace ctriage::source {
namespace {

Result<std::unique_ptr<Snapshot>> as_snapshot(Result<std::unique_ptr<bundle::Reader>> reader,
                                              const std::string& path, Task& task) {
  if (!reader) return std::move(reader).error().within(path);
  auto snapshot = BundleSnapshot::open(*std::move(reader), path, task);
  if (!snapshot) return std::move(snapshot).error().within(path);
  return std::unique_ptr<Snapshot>(*std::move(snapshot));
}

Result<std::unique_ptr<Snapshot>> as_checkpoint(Result<std::unique_ptr<CheckpointStore>> store,
                                                const std::string& path, std::vector<rules::Rule> rules,
                                                Task& task) {
  if (!store) return std::move(store).error().within(path);
  auto snapshot = CheckpointSnapshot::open(*std::move(store), std::move(rules), task);
  if (!snapshot) return std::move(snapshot).error();
  return std::unique_ptr<Snapshot>(*std::move(snapshot));
}

// The first member of every bundle.
constexpr std::string_view kBundleHeader = "bundle.json";

// A compressed file, or a tar that does not begin as a bundle does. What is neither is left to the reader of
// bundles, which says what is wrong.
Result<bool> may_be_checkpoint(int file, const std::string& path) {
  archive::TarBlock block{};
  auto got = sys::pread_full(file, block, 0, path);
  if (!got) return std::move(got).error();
  if (archive::find_compression(std::span(block).first(*got)) != archive::Compression::none) return true;
  const auto header = archive::parse_tar_header(std::span(block).first(*got));
  return header && *header && (*header)->name != kBundleHeader;
}

Result<std::unique_ptr<Snapshot>> open_path(const std::string& path, std::vector<rules::Rule> rules,
                                            int writable, Task& task) {
  SandboxPlan plan;
  if (writable >= 0) plan.writable.push_back(writable);
  if (auto directory = Root::open(path)) {
    auto own = directory->duplicate();
    if (!own) return std::move(own).error();
    plan.readable.push_back(directory->fd());
    if (auto inside = enter_sandbox(plan, task.gaps); !inside) return std::move(inside).error();
    if (own->stat_beneath(kBundleHeader))
      return as_snapshot(bundle::Reader::open_directory(*std::move(own), task), path, task);
    return as_checkpoint(CheckpointStore::open_directory(*std::move(own), task), path, std::move(rules),
                         task);
  }
  auto file = open_file(path);
  if (!file) return std::move(file).error();
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return std::move(inside).error();
  auto checkpoint = may_be_checkpoint(file->get(), path);
  if (!checkpoint) return std::move(checkpoint).error();
  if (!*checkpoint) return as_snapshot(bundle::Reader::open_tar(*std::move(file), path, task), path, task);
  auto bytes = archive::bytes_of_file(*std::move(file), path);
  if (!bytes) return std::move(bytes).error();
  return as_checkpoint(CheckpointStore::open_tar(*std::move(bytes), path, task), path, std::move(rules),
                       task);
}

constexpr std::int64_t kLookAgainNs = 20'000'000;

// Whether a container that is meant runs, the pod's sandbox alone not counted. An error for what waiting does
// not mend: an ambiguous name, no right to look.
Result<bool> starts_now(const Node& node, const TargetQuery& query, Task& task, std::string& why_not) {
  // Labels are in the records.
  const auto all = query.labels.empty() ? runtime::list_running(node.proc, task)
                                        : runtime::list_containers(node.proc, task);
  if (!all) return all.error();
  const auto resolved = resolve_target(query, *all);
  if (!resolved) {
    if (resolved.error().code != Errc::not_found) return resolved.error();
    why_not = resolved.error().what;
    return false;
  }
  why_not = resolved->name + " is not running";
  return std::ranges::any_of(resolved->containers, [&](std::size_t index) {
    const Container& container = (*all)[index].container;
    return !container.sandbox && container.init_pid > 0 && container.state != ContainerState::exited;
  });
}

Result<std::unique_ptr<Snapshot>> open_ended(EndedPlace place, const TargetQuery& query,
                                             Result<std::vector<runtime::Found>> all,
                                             std::vector<rules::Rule> rules, Task& task) {
  if (!all) return std::move(all).error();
  auto ended = EndedSnapshot::open(std::move(place), query, *std::move(all), std::move(rules), task);
  forbid_clones(task.gaps);
  if (!ended) return std::move(ended).error();
  return std::unique_ptr<Snapshot>(*std::move(ended));
}

Result<std::unique_ptr<Snapshot>> open_on_disk(const TargetQuery& query, std::vector<rules::Rule> rules,
                                               Task& task) {
  auto disk = open_disk(query.root, task);
  if (!disk) return std::move(disk).error();
  auto all = runtime::list_on_disk(disk->root, task);
  EndedPlace place{std::move(disk->root), std::move(disk->name), false};
  return open_ended(std::move(place), query, std::move(all), std::move(rules), task);
}

// What runs, or where nothing of it does what the engine keeps; of a disk only that.
Result<std::unique_ptr<Snapshot>> open_target(const TargetQuery& query, std::vector<rules::Rule> rules,
                                              Task& task) {
  const auto pid = parse_pid_token(query.token);
  if (!pid) return pid.error();
  auto node = open_node(task, query.root);
  if (!node) {
    const bool is_disk = !query.root.empty() && node.error().code == Errc::unsupported && !*pid;
    return is_disk ? open_on_disk(query, std::move(rules), task)
                   : Result<std::unique_ptr<Snapshot>>(std::move(node).error());
  }
  GapLog told;  // of what has ended nothing is lost yet
  Task trying = task.with(told);
  auto live = *pid ? LiveSnapshot::open_pid(*std::move(node), **pid, trying)
                   : LiveSnapshot::open(*node, query, trying);
  if (!live && live.error().code == Errc::vanished && *node) {
    auto root = (*node)->proc.descend_magic((*node)->host_link("root"));
    if (!root) return std::move(root).error();
    const auto name = sys::uname();
    EndedPlace place{*std::move(root), Bytes(name ? static_cast<const char*>(name->nodename) : ""), true};
    return open_ended(std::move(place), query, runtime::list_containers((*node)->proc, task),
                      std::move(rules), task);
  }
  task.gaps.merge(std::move(told));
  forbid_clones(task.gaps);  // the layers are open
  if (!live) return std::move(live).error();
  (*live)->tell_ended(task);
  (*live)->use_rules(std::move(rules));
  return std::unique_ptr<Snapshot>(*std::move(live));
}

}  // namespace

Result<std::unique_ptr<LiveSnapshot>> open_live(const TargetQuery& query, Task& task) {
  auto pid = parse_pid_token(query.token);
  if (!pid) return std::move(pid).error();
  auto node = open_node(task, query.root);
  if (!node) return std::move(node).error();
  auto snapshot =
      *pid ? LiveSnapshot::open_pid(*std::move(node), **pid, task) : LiveSnapshot::open(*node, query, task);
  forbid_clones(task.gaps);  // the layers are open
  return snapshot;
}

namespace {

Result<std::unique_ptr<LiveSnapshot>> wait_live(std::unique_ptr<Node> node, const TargetQuery& query,
                                                std::int64_t seconds, Task& task) {
  const std::int64_t until_ns = sys::boottime_ns() + seconds * 1'000'000'000;
  std::string last = "no such pod or container";
  for (;;) {
    GapLog aside;  // what cannot be seen now is told when the target is there
    Task looking = task.with(aside);
    auto starts = starts_now(*node, query, looking, last);
    if (!starts) return std::move(starts).error();
    if (*starts) {
      auto snapshot = LiveSnapshot::open(node, query, task, LiveSnapshot::Ended::taken);
      if (snapshot || snapshot.error().code != Errc::vanished) return snapshot;
      last = snapshot.error().what;
    }
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    if (sys::boottime_ns() >= until_ns)
      return Error{Errc::not_found, query.token + ": did not start within the time of --wait: " + last};
    sys::sleep_ns(kLookAgainNs);
  }
}

Result<std::unique_ptr<LiveSnapshot>> open_to_hold(const TargetQuery& query, const HoldOptions& options,
                                                   Task& task) {
  const auto pid = parse_pid_token(query.token);
  if (!pid) return pid.error();
  if (options.wait_s && *pid)
    return Error{Errc::malformed, query.token + ": --wait is for a pod or a container"};
  auto node = open_node(task, query.root);
  if (!node && !query.root.empty() && node.error().code == Errc::unsupported && !*pid && !options.wait_s) {
    node = open_disk_node(task, query.root);
    if (!node) return std::move(node).error();
    (*node)->share = options.share;
    return LiveSnapshot::open_disk(*std::move(node), query, task);
  }
  if (!node) return std::move(node).error();
  (*node)->share = options.share;
  if (*pid) return LiveSnapshot::open_pid(*std::move(node), **pid, task);
  if (options.wait_s) return wait_live(*std::move(node), query, *options.wait_s, task);
  return LiveSnapshot::open(*node, query, task, LiveSnapshot::Ended::taken);
}

}  // namespace

Result<std::unique_ptr<LiveSnapshot>> open_held(const TargetQuery& query, const HoldOptions& options,
                                                Task& task) {
  auto snapshot = open_to_hold(query, options, task);
  if (snapshot) {
    (*snapshot)->hold(task);
    (*snapshot)->find_volumes(task);
    if ((*snapshot)->ended_pending() && (*snapshot)->any_runs()) return snapshot;
    if ((*snapshot)->ended_pending()) {
      (*snapshot)->add_ended(task);
      return snapshot;
    }
  }
  forbid_clones(task.gaps);  // the layers are open
  return snapshot;
}

Result<UniqueFd> open_file(const std::string& path) {
  if (path == "-") return sys::duplicate(0, "standard input");
  auto directory = Root::open(directory_of(path));
  if (!directory) return Error{directory.error().code, path + ": " + directory.error().what};
  const auto slash = path.rfind('/');
  auto file = sys::openat2(directory->fd(), slash == std::string::npos ? path : path.substr(slash + 1),
                           O_RDONLY | O_NOCTTY | O_NONBLOCK);
  if (!file) return Error{file.error().code, path + ": " + file.error().what};
  auto info = file_info(file->get(), path);
  if (!info) return std::move(info).error();
  if (!info->is_regular()) return Error{Errc::unsupported, path + ": not a regular file"};
  return file;
}

Result<std::unique_ptr<Snapshot>> open_source(const TargetQuery& query, std::vector<rules::Rule> rules,
                                              Task& task, int writable) {
  if (const auto path = path_of_token(query.token)) {
    if (*path == "-")
      return Error{Errc::unsupported,
                   "-: a bundle on standard input can only be verified, and a checkpoint not be read"};
    return open_path(*path, std::move(rules), writable, task);
  }
  const bool is_file = is_file_source(query);
  GapLog aside;  // what this node hides is no gap of a file
  Task looking = task.with(is_file ? aside : task.gaps);
  if (is_file) {
    if (open_target(query, {}, looking)) {
      return Error{Errc::mismatch, query.token + ": both a file here and a live target; write ./" +
                                       query.token + " or pod:" + query.token};
    }
    return open_path(query.token, std::move(rules), writable, task);
  }
  return open_target(query, std::move(rules), looking);
}

}  // namespace ctriage::source
