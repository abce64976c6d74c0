#include "lib/source/open.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "lib/archive/bytes_at.h"
#include "lib/archive/pipe_bytes.h"
#include "lib/archive/tar_header.h"
#include "lib/bundle/age.h"
#include "lib/core/path.h"
#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/bundle/source.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/choose.h"
#include "lib/source/disk.h"
#include "lib/source/ended.h"
#include "lib/source/image/source.h"
#include "lib/source/live/code.h"
#include "lib/verdict/verdict.h"

namespace ctriage::source {

namespace {

// What -c leaves of a file: containers of that name, or else of that beginning of an id.
template <class FileSnapshot>
Status keep_meant(FileSnapshot& snapshot, const std::string& wanted, const std::string& path, Task& task) {
  if (wanted.empty()) return Done{};
  constexpr std::size_t kLeastIdDigits = 4;  // as of a live target
  std::set<std::string> by_name;
  std::set<std::string> by_id;
  std::string names;
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        if (container.name.raw == wanted) by_name.insert(container.id);
        if (wanted.size() >= kLeastIdDigits && container.id.starts_with(wanted)) by_id.insert(container.id);
        if (container.sandbox) return Done{};
        const std::string& name = container.name.empty() ? container.id : container.name.raw;
        names += (names.empty() ? "" : ", ") + name;
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error().within(path);
  const std::set<std::string>& meant = by_name.empty() ? by_id : by_name;
  if (meant.empty()) {
    return Error{Errc::not_found, path + ": no container " + wanted +
                                      (names.empty() ? ", there is none" : ", there is " + names)};
  }
  snapshot.keep(meant);
  return Done{};
}

struct Wanted {  // of a file
  std::string path;
  std::string spool;
  std::string container;  // -c; empty: all
};

Result<std::unique_ptr<Snapshot>> as_snapshot(Result<std::unique_ptr<bundle::Reader>> reader,
                                              const std::string& path, const std::string& container,
                                              Task& task) {
  if (!reader) return std::move(reader).error().within(path);
  auto snapshot = BundleSnapshot::open(*std::move(reader), path, task);
  if (!snapshot) return std::move(snapshot).error().within(path);
  if (auto kept = keep_meant(**snapshot, container, path, task); !kept) return std::move(kept).error();
  return std::unique_ptr<Snapshot>(*std::move(snapshot));
}

// A checkpoint, or images: told apart by content.
Result<std::unique_ptr<Snapshot>> as_checkpoint(Result<std::unique_ptr<CheckpointStore>> store,
                                                const std::string& path, const std::string& container,
                                                Task& task) {
  if (!store) return std::move(store).error().within(path);
  std::optional<Error> damage;  // of records that make it an image
  GapLog aside([&damage](const Gap& gap) {
    if (gap.impact == Impact::lost && !damage) damage = Error(gap.error).within(gap.origin);
  });
  Task looking = task.with(aside);
  auto images = has_images(**store, looking);
  if (!images) return std::move(images).error().within(path);
  if (*images) {
    auto opened = ImageSnapshot::open(*std::move(store), task);
    if (!opened) return std::move(opened).error().within(path);
    if (auto kept = keep_meant(**opened, container, path, task); !kept) return std::move(kept).error();
    return std::unique_ptr<Snapshot>(*std::move(opened));
  }
  auto snapshot = CheckpointSnapshot::open(*std::move(store), task);
  if (!snapshot && snapshot.error().code == Errc::malformed && damage)
    return Error(*damage).within("no checkpoint, and no image that can be read");
  if (!snapshot) return std::move(snapshot).error();
  if (auto kept = keep_meant(**snapshot, container, path, task); !kept) return std::move(kept).error();
  return std::unique_ptr<Snapshot>(*std::move(snapshot));
}

// The first member of every bundle.
constexpr std::string_view kBundleHeader = "bundle.json";

// A compressed file, or a tar that does not begin as a bundle does. What is neither is left to the reader of
// bundles, which says what is wrong.
Result<bool> may_be_checkpoint(archive::BytesAt& bytes) {
  archive::TarBlock block{};
  auto got = bytes.read_at(0, block);
  if (!got) return std::move(got).error();
  if (archive::find_compression(std::span(block).first(*got)) != archive::Compression::none) return true;
  const auto header = archive::parse_tar_header(std::span(block).first(*got));
  return header && *header && (*header)->name != kBundleHeader;
}

struct Opened {  // a file, and what is written to where the user asked for it
  UniqueFd file;
  UniqueFd spool;
  bool seekable = true;
};

// Views read here and there, and age is a stream.
Error encrypted(const std::string& name) {
  const std::string word = shell_word(name);
  const std::string plain =
      name.ends_with(".age") ? shell_word(name.substr(0, name.size() - 4)) : "BUNDLE.ctriage.tar";
  return Error{Errc::unsupported,
               name + ": an encrypted bundle. First: age -d -i KEYFILE -o " + plain + " " + word};
}

// What has to be read again lies in the spool then, unpacked.
Result<std::unique_ptr<Snapshot>> open_opened(Opened opened, const Wanted& wanted, Task& task) {
  const std::string name = wanted.path == "-" ? "standard input" : wanted.path;
  auto again = sys::duplicate(opened.file.get(), name);
  if (!again) return std::move(again).error();
  std::unique_ptr<archive::BytesAt> bytes;
  if (opened.seekable) {
    auto file = archive::bytes_of_file(*std::move(again), name);
    if (!file) return std::move(file).error();
    bytes = *std::move(file);
  } else {
    bytes = archive::bytes_of_pipe(*std::move(again), name, task);
  }
  std::array<std::byte, bundle::kAgeIntroBytes> first{};
  const auto got = bytes->read_at(0, first);
  if (!got) return got.error();
  if (bundle::age_form(std::span(first).first(*got)) != bundle::AgeForm::none) return encrypted(name);
  CheckpointStore::TarOptions options;
  const auto compression = archive::find_compression(std::span(first).first(*got));
  if (opened.spool && (!opened.seekable || compression != archive::Compression::none)) {
    std::unique_ptr<archive::BytesAt> unpacked;
    if (compression != archive::Compression::none) {
      auto made = archive::decompress(*bytes, compression, task);
      if (!made) return std::move(made).error();
      unpacked = *std::move(made);
    }
    const auto spooled = archive::spool(unpacked ? *unpacked : *bytes, opened.spool.get(), task);
    if (!spooled) {  // of a cut archive what came before
      if (spooled.error().code != Errc::malformed && spooled.error().code != Errc::truncated)
        return spooled.error();
      task.gaps.add({Impact::lost, "checkpoint.archive", name, spooled.error()});
    }
    options.spooled = compression;
    opened.file = std::move(opened.spool);
    opened.seekable = true;
    again = sys::duplicate(opened.file.get(), name);
    if (!again) return std::move(again).error();
    auto file = archive::bytes_of_file(*std::move(again), name);
    if (!file) return std::move(file).error();
    unpacked.reset();
    bytes = *std::move(file);
  }
  auto checkpoint = may_be_checkpoint(*bytes);
  if (!checkpoint) return std::move(checkpoint).error();
  if (*checkpoint)
    return as_checkpoint(CheckpointStore::open_tar(std::move(bytes), name, task, options), name,
                         wanted.container, task);
  if (!opened.seekable)
    return Error{Errc::unsupported,
                 name + ": a bundle on a pipe: verify reads it in order, for the rest add --spool DIR"};
  return as_snapshot(bundle::Reader::open_tar(std::move(opened.file), name, task), name, wanted.container,
                     task);
}

Result<Opened> open_input(const std::string& path, const std::string& spool) {
  Opened opened;
  auto file = open_file(path);
  if (!file) return std::move(file).error();
  opened.file = *std::move(file);
  if (path == "-") {
    const auto info = file_info(opened.file.get(), "standard input");
    if (!info) return info.error();
    // Somebody else may have read some of it, or may go on writing: then it is no file that begins here.
    const auto at = sys::lseek(opened.file.get(), 0, SEEK_CUR, "standard input");
    opened.seekable = info->is_regular() && at && *at == 0;
    if (info->is_directory()) return Error{Errc::unsupported, "standard input: a directory: name it instead"};
  }
  if (!spool.empty()) {
    auto made = archive::make_spool(spool);
    if (!made) return std::move(made).error();
    opened.spool = *std::move(made);
  }
  return opened;
}

Result<std::unique_ptr<Snapshot>> open_path(const Wanted& wanted, int writable, Task& task) {
  const std::string& path = wanted.path;
  SandboxPlan plan;
  if (writable >= 0) plan.writable.push_back(writable);
  auto directory = path == "-" ? Result<Root>(Error{}) : Root::open(path);
  if (directory) {
    auto own = directory->duplicate();
    if (!own) return std::move(own).error();
    plan.readable.push_back(directory->fd());
    if (auto inside = enter_sandbox(plan, task.gaps); !inside) return std::move(inside).error();
    if (own->stat_beneath(kBundleHeader))
      return as_snapshot(bundle::Reader::open_directory(*std::move(own), task), path, wanted.container, task);
    return as_checkpoint(CheckpointStore::open_directory(*std::move(own), task), path, wanted.container,
                         task);
  }
  auto opened = open_input(path, wanted.spool);
  if (!opened) return std::move(opened).error();
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return std::move(inside).error();
  return open_opened(*std::move(opened), wanted, task);
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
                                             Result<std::vector<runtime::Found>> all, Task& task) {
  if (!all) return std::move(all).error();
  auto ended = EndedSnapshot::open(std::move(place), query, *std::move(all), task);
  forbid_clones(task.gaps);
  if (!ended) return std::move(ended).error();
  return std::unique_ptr<Snapshot>(*std::move(ended));
}

Result<std::unique_ptr<Snapshot>> open_on_disk(const TargetQuery& query, Task& task) {
  auto disk = open_disk(query.root, task);
  if (!disk) return std::move(disk).error();
  auto all = runtime::list_on_disk(disk->root, task);
  EndedPlace place{std::move(disk->root), std::move(disk->name), false};
  return open_ended(std::move(place), query, std::move(all), task);
}

// What runs, or where nothing of it does what the engine keeps; of a disk only that.
Result<std::unique_ptr<Snapshot>> open_target(const TargetQuery& query, bool judged, Task& task) {
  const auto pid = parse_pid_token(query.token);
  if (!pid) return pid.error();
  auto node = open_node(task, query.root);
  if (!node) {
    const bool is_disk = !query.root.empty() && node.error().code == Errc::unsupported && !*pid;
    return is_disk ? open_on_disk(query, task) : Result<std::unique_ptr<Snapshot>>(std::move(node).error());
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
    return open_ended(std::move(place), query, runtime::list_containers((*node)->proc, task), task);
  }
  task.gaps.merge(std::move(told));
  forbid_clones(task.gaps);  // the layers are open
  if (!live) return std::move(live).error();
  (*live)->tell_ended(task);
  if (judged) (*live)->remember();
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

Result<Root> node_root_of(Snapshot& snapshot) {
  if (const auto* live = dynamic_cast<LiveSnapshot*>(&snapshot)) return live->node().root();
  if (const auto* ended = dynamic_cast<EndedSnapshot*>(&snapshot)) return ended->node().duplicate();
  return Error{Errc::unsupported, "not a source of a node: there is no image store beside it"};
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

namespace {

Result<std::unique_ptr<Snapshot>> open_any(const TargetQuery& query, bool judged, Task& task, int writable) {
  if (const auto path = path_of_token(query.token))
    return open_path({*path, query.spool, query.container}, writable, task);
  const bool is_file = is_file_source(query);
  GapLog aside;  // what this node hides is no gap of a file
  Task looking = task.with(is_file ? aside : task.gaps);
  if (is_file) {
    if (open_target(query, false, looking)) {
      return Error{Errc::mismatch, query.token + ": both a file here and a live target; write ./" +
                                       query.token + " or pod:" + query.token};
    }
    return open_path({query.token, query.spool, query.container}, writable, task);
  }
  return open_target(query, judged, looking);
}

}  // namespace

Result<std::unique_ptr<Snapshot>> open_source(const TargetQuery& query, rules::RuleSet rules, Task& task,
                                              int writable) {
  auto opened = open_any(query, !rules.rules.empty(), task, writable);
  if (!opened || rules.rules.empty()) return opened;
  // Whether somebody vouches for a changed file is told by its hash.
  if (auto* checkpoint = dynamic_cast<CheckpointSnapshot*>(opened->get()); checkpoint && rules.known_good)
    checkpoint->hash_changes();
  verdict::ListPatchedCode patched;
  if (auto* live = dynamic_cast<LiveSnapshot*>(opened->get())) {
    patched = [live](const std::string& container, const Emit<verdict::PatchedCode>& emit, Task& to) {
      return list_patched_code(*live, container, emit, to);
    };
  }
  return verdict::judged(*std::move(opened), std::move(rules), std::move(patched));
}

}  // namespace ctriage::source
