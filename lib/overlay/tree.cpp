// Which names a plain tree has and what they are. The tree is in use while we read: every name can be gone or
// be another by the time it is opened, so everything hangs on the descriptor that was pinned first.
#include "lib/overlay/tree.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <tuple>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/one_mount.h"
#include "lib/core/sys.h"
#include "lib/overlay/compare.h"
#include "lib/overlay/content.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kBlockBytes = 1 << 20;       // names of one directory
constexpr std::size_t kMaxLinkBytes = 12 << 20;    // memory of the table of hard links
constexpr std::size_t kMaxWaitingBytes = 4 << 20;  // and of all that we are in

class PlainWalk {
 public:
  PlainWalk(const PlainTree& tree, Visitor& visitor, Task& task)
      : tree_(tree), visitor_(visitor), task_(task), reader_(task) {}

  Status run();
  Status take(UniqueFd pinned, const std::string& path);

 private:
  struct Frame {  // a directory whose names are being taken
    Root dir;
    std::size_t path_size = 0;
    std::vector<std::string> names;
    std::size_t next = 0;
    std::string last;
    bool more = true;
  };
  using LinkKey = std::tuple<std::uint64_t, std::uint64_t, std::optional<Timestamp>>;
  struct Link {
    std::string path;
    std::optional<std::string> sha256;
    bool program = false;
    std::optional<std::string> partial;
    bool left = false;  // its bytes were left: nothing a link could lead to
  };

  const std::string* next_name();
  void shed_names();
  Status meet(const std::string& name);
  Status take_regular(int pinned, FileChange change, const FileInfo& info, const Wish& wish);
  Status leave_bytes(FileChange change, const FileInfo& info, std::string_view why);
  void check_content(int fd, const FileInfo& first, FileChange& change);
  Status enter(UniqueFd pinned, const std::string& path);
  void gap(Impact impact, const char* artifact, const std::string& path, Error error) {
    task_.gaps.add({impact, artifact, tree_.top.name() + path, std::move(error)});
  }

  const PlainTree& tree_;
  Visitor& visitor_;
  Task& task_;
  ContentReader reader_;
  std::vector<Frame> frames_;
  std::string path_;  // of the innermost frame, without a '/' at the end
  std::map<LinkKey, Link> links_;
  std::size_t link_bytes_ = 0;
  bool links_full_ = false;
  std::uint64_t names_ = 0;
};

Status PlainWalk::run() {
  auto top = sys::duplicate(tree_.top.fd(), tree_.top.name());
  if (!top) {
    gap(Impact::lost, "tree.directory", "", std::move(top).error());
    return Done{};
  }
  if (auto taken = take(*std::move(top), "/"); !taken) return taken;
  while (!frames_.empty()) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    path_.resize(frames_.back().path_size);
    const std::string* name = next_name();
    if (name == nullptr) {
      frames_.pop_back();
      continue;
    }
    if (names_++ == tree_.most_names) {
      gap(Impact::lost, "tree.directory", path_ + "/" + *name,
          {Errc::limit, "the limit of " + std::to_string(tree_.most_names) +
                            " names that are looked at: from here on nothing is seen"});
      return Done{};
    }
    task_.passed(0, 1);
    if (auto met = meet(*name); !met) return met;
  }
  return Done{};
}

const std::string* PlainWalk::next_name() {
  Frame& frame = frames_.back();
  if (frame.next >= frame.names.size()) {
    frame.names.clear();
    frame.next = 0;
    if (!frame.more) return nullptr;
    auto block = list_names(frame.dir, frame.last, kBlockBytes);
    if (!block) {
      frame.more = false;
      gap(Impact::lost, "tree.directory", path_,
          block.error().is_gone() ? Error{Errc::vanished, "removed before all its names were read"}
                                  : std::move(block).error());
      return nullptr;
    }
    frame.names = std::move(block->names);
    frame.more = block->more && !frame.names.empty();
    if (frame.names.empty()) return nullptr;
    shed_names();
  }
  frame.last = frame.names[frame.next++];
  return &frame.last;
}

// Names that wait in all the directories we are in have a limit: those of the uppermost are read again.
void PlainWalk::shed_names() {
  std::size_t total = 0;
  for (std::size_t i = frames_.size(); i > 0; --i) {
    Frame& frame = frames_[i - 1];
    for (const std::string& name : frame.names) total += sizeof(std::string) + name.size();
    if (total <= kMaxWaitingBytes || i == frames_.size()) continue;
    if (frame.next < frame.names.size()) frame.more = true;
    frame.names = {};
    frame.next = 0;
  }
}

Status PlainWalk::meet(const std::string& name) {
  const std::string path = path_ + "/" + name;
  auto pinned = pin_on_mount(frames_.back().dir, name);
  if (pinned) return take(*std::move(pinned), path);
  if (pinned.error().number == EXDEV) {
    if (tree_.is_known_mount && tree_.is_known_mount(path)) return Done{};
    gap(Impact::lost, "tree.mount", path,
        {Errc::outside, "something was mounted here that is not in the container's mount table: not entered",
         EXDEV});
    return Done{};
  }
  gap(Impact::lost, "tree.entry", path,
      pinned.error().is_gone() ? Error{Errc::vanished, "removed before it was read"}
                               : std::move(pinned).error());
  return Done{};
}

Status PlainWalk::take(UniqueFd pinned, const std::string& path) {
  auto info = file_info(pinned.get(), path);
  if (!info) {
    gap(Impact::lost, "tree.entry", path, std::move(info).error());
    return Done{};
  }
  const Wish wish = tree_.wish ? tree_.wish(path, *info) : Wish();
  if (wish.part == Part::outside) return Done{};
  if (wish.part == Part::nothing)
    return info->is_directory() ? enter(std::move(pinned), path) : Status(Done{});
  auto xattrs = read_xattrs(pinned.get(), path);
  if (!xattrs) gap(Impact::lost, "tree.xattrs", path, xattrs.error());
  FileChange change;
  change.container = tree_.container;
  change.path = Bytes(path);
  change.kind = ChangeKind::added;
  change.after = make_state(*info, xattrs ? *xattrs : std::vector<Xattr>());
  const auto left_out = std::ranges::count_if(
      change.after->xattrs, [](const XattrRecord& xattr) { return xattr.left_out.has_value(); });
  if (left_out > 0) {
    gap(Impact::lost, "tree.xattrs", path,
        {Errc::limit, "too many extended attributes: of " + std::to_string(left_out) +
                          " values only size and SHA-256 are kept"});
  }
  if (info->is_symlink()) {
    auto target = sys::readlinkat(pinned.get(), "");
    if (target) {
      change.after->link_target = Bytes(*std::move(target));
    } else {
      gap(Impact::lost, "tree.entry", path, std::move(target).error());
    }
  }

  const LinkKey key{info->inode, info->device(), info->btime};
  // Without a birth time its number may by now be that of another: such files are taken once per name.
  const bool several = !info->is_directory() && info->nlink > 1 && info->btime;
  if (several) {
    if (const auto first = links_.find(key); first != links_.end()) {
      change.hard_link_of = Bytes(first->second.path);
      change.partial = first->second.partial;
      change.after->sha256 = first->second.sha256;
      change.program = first->second.program;
      if (first->second.left) return visitor_.change(std::move(change));
      if (auto begun = visitor_.begin(change, {}); !begun) return begun;
      if (auto ended = visitor_.end(); !ended) return ended;
      return visitor_.change(std::move(change));
    }
    const std::size_t bytes = sizeof(LinkKey) + 128 + path.size();
    if (links_.size() < kMaxHardLinks && link_bytes_ + bytes <= kMaxLinkBytes) {
      link_bytes_ += bytes;
      links_[key].path = path;
    } else if (!std::exchange(links_full_, true)) {
      gap(Impact::note, "tree.hard_links", path,
          {Errc::limit, "more hard links than are remembered: such files are taken once per name"});
    }
  }
  if (info->is_regular() && wish.part == Part::state) {
    change.program = (info->mode & 0111) != 0;
    return leave_bytes(std::move(change), *info, wish.why);
  }
  if (info->is_regular()) return take_regular(pinned.get(), std::move(change), *info, wish);
  if (auto begun = visitor_.begin(change, {}); !begun) return begun;
  if (auto ended = visitor_.end(); !ended) return ended;
  if (auto told = visitor_.change(std::move(change)); !told) return told;
  return info->is_directory() ? enter(std::move(pinned), path) : Status(Done{});
}

Status PlainWalk::enter(UniqueFd pinned, const std::string& path) {
  if (frames_.size() >= kMaxPlainLevels) {
    gap(Impact::lost, "tree.directory", path,
        {Errc::limit, "deeper than " + std::to_string(kMaxPlainLevels) + " levels: not followed"});
    return Done{};
  }
  path_ = path == "/" ? std::string() : path;
  Frame frame{Root::adopt(std::move(pinned), tree_.top.name() + path_), path_.size(), {}, 0, {}, true};
  frame.dir.count_access_times(tree_.touched);
  frames_.push_back(std::move(frame));
  return Done{};
}

// Told, and not in the layer: nor are other names of it.
Status PlainWalk::leave_bytes(FileChange change, const FileInfo& info, std::string_view why) {
  change.partial = std::string(why);
  if (const auto link = links_.find({info.inode, info.device(), info.btime}); link != links_.end()) {
    link->second.partial = change.partial;
    link->second.program = change.program;
    link->second.left = true;
  }
  return visitor_.change(std::move(change));
}

Status PlainWalk::take_regular(int pinned, FileChange change, const FileInfo& info, const Wish& wish) {
  const std::string& path = change.path.raw;
  auto opened = tree_.top.open_pinned(pinned, info, path);
  if (!opened) {
    gap(Impact::lost, "tree.file", path, std::move(opened).error());
    return leave_bytes(std::move(change), info, "could not be opened");
  }
  if (wish.part == Part::program && (info.mode & 0111) == 0) {
    std::array<char, 4> magic{};
    const auto got = sys::pread_full(opened->get(), std::as_writable_bytes(std::span(magic)), 0, path);
    if (!got) gap(Impact::lost, "tree.file", path, Error(got.error()).within("whether it is a program"));
    if (!got || !looks_like_program(magic)) return leave_bytes(std::move(change), info, wish.why);
  }
  const Runs runs = find_runs(opened->get(), info, path);
  if (auto begun = visitor_.begin(change, runs.runs); !begun) return begun;
  auto content = reader_.read(
      opened->get(), runs, path,
      [this](std::uint64_t offset, std::span<const std::byte> bytes,
             const std::shared_ptr<LateSha256>& hash) { return visitor_.data(offset, bytes, hash); });
  if (!content) return std::move(content).error();
  if (auto ended = visitor_.end(); !ended) return ended;

  change.after->sha256 = content->sha256;
  change.partial = content->not_hashed;
  change.program = (info.mode & 0111) != 0 || looks_like_program(content->magic);
  if (runs.cut) {
    gap(Impact::lost, "tree.file", path, {Errc::limit, *runs.cut});
  } else if (content->failed) {
    gap(Impact::lost, "tree.file", path,
        {content->failed->code, "cut: " + content->failed->what, content->failed->number});
  } else {
    if (content->not_hashed) gap(Impact::note, "tree.file_hash", path, {Errc::limit, *content->not_hashed});
    check_content(opened->get(), info, change);
  }
  if (const auto link = links_.find({info.inode, info.device(), info.btime}); link != links_.end()) {
    link->second.sha256 = change.after->sha256;
    link->second.program = change.program;
  }
  return visitor_.change(std::move(change));
}

// A file that became shorter and was filled with zeros again looks whole by its size alone; ctime tells.
void PlainWalk::check_content(int fd, const FileInfo& first, FileChange& change) {
  const std::string& path = change.path.raw;
  auto now = file_info(fd, path);
  if (!now) {
    gap(Impact::lost, "tree.file", path,
        std::move(now).error().within("not known whether it changed while it was read"));
    change.after->sha256.reset();
  } else if (now->size_bytes < first.size_bytes ||
             (now->ctime != first.ctime && now->allocated_bytes < first.allocated_bytes)) {
    change.partial = "cut while it was read";
    change.after->sha256.reset();
    gap(Impact::lost, "tree.file", path, {Errc::truncated, *change.partial});
  } else if (now->size_bytes > first.size_bytes) {
    gap(Impact::note, "tree.file", path,
        {Errc::changed,
         "grew while it was read: taken to the " + std::to_string(first.size_bytes) + " bytes first seen"});
  } else if (now->mtime != first.mtime) {
    gap(Impact::note, "tree.file", path, {Errc::changed, "written to while it was read"});
  }
}

}  // namespace

Status walk_plain(const PlainTree& tree, Visitor& visitor, Task& task) {
  return PlainWalk(tree, visitor, task).run();
}

Status take_plain_file(const PlainTree& tree, int pinned, const std::string& path, Visitor& visitor,
                       Task& task) {
  auto own = sys::duplicate(pinned, path);
  if (!own) {
    task.gaps.add({Impact::lost, "tree.file", path, std::move(own).error()});
    return Done{};
  }
  return PlainWalk(tree, visitor, task).take(*std::move(own), path);
}

}  // namespace ctriage::overlay
