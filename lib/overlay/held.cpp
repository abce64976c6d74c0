#include <algorithm>
#include <queue>
#include <tuple>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/overlay/content.h"
#include "lib/overlay/dir_chain.h"
#include "lib/overlay/held_state.h"
#include "lib/overlay/marks.h"

namespace ctriage::overlay {
namespace {

constexpr std::uint64_t kSmallFileBytes = 64 << 10;
constexpr std::size_t kMaxHoldNames = 262'144;  // names looked at: holding is over in a fraction of a second
constexpr std::size_t kMaxHoldDepth = 4'096;
constexpr std::uint32_t kTop = 1;

// Who gets a descriptor when there are not enough: programs, small files, other files, the rest; among equals
// the newest. The time is ctime, which the container's processes cannot set.
struct Rank {
  int level = 0;
  Timestamp at;
  std::size_t entry = 0;
  bool operator>(const Rank& other) const {
    return std::tie(level, at, entry) > std::tie(other.level, other.at, other.entry);
  }
};

Rank rank_of(const FileInfo& info, std::size_t entry) {
  Rank rank{1, info.ctime, entry};
  if (info.is_regular()) rank.level = (info.mode & 0111) != 0 ? 4 : info.size_bytes < kSmallFileBytes ? 3 : 2;
  return rank;
}

class Taking {
 public:
  Taking(const Root& top, const Held::Budget& budget, Task& task)
      : top_(top), budget_(budget), task_(task), chain_(top, 64) {}

  Status take_all(std::vector<HeldEntry>& into, bool& complete) {
    auto status = take_tree();
    complete = status && whole_;
    into = std::move(entries_);
    return status;
  }

 private:
  struct Frame {
    std::vector<std::size_t> directories;  // still to go into, last first
  };

  Status take_tree() {
    auto top = chain_.here();
    if (!top) return std::move(top).error();
    auto info = file_info((*top)->fd(), "/");
    auto pin = sys::duplicate((*top)->fd(), "/");
    if (!info || !pin) return !info ? std::move(info).error() : std::move(pin).error();
    entries_.push_back({0, kTop, false, "", *info, *std::move(pin), nullptr});
    ++open_;
    auto listed = list(0);
    while (listed && !frames_.empty()) {
      Frame& frame = frames_.back();
      if (frame.directories.empty()) {
        frames_.pop_back();
        if (!frames_.empty()) chain_.leave();
        continue;
      }
      const std::size_t next = frame.directories.back();
      frame.directories.pop_back();
      if (frames_.size() >= kMaxHoldDepth || !chain_.enter(entries_[next].name, entries_[next].info)) {
        whole_ = false;  // the walk finds out why and says so
        continue;
      }
      listed = list(next);
    }
    if (listed) {  // a name may have moved into a directory that was done
      for (HeldEntry& entry : entries_) {
        if (entry.listed && entry.fd) check_unchanged(entry, entry.fd.get());
      }
    }
    return listed;
  }

  // Names may have come after they were listed: the walk lists again, and if it cannot there is a gap.
  void check_unchanged(HeldEntry& directory, int fd) {
    auto now = file_info(fd, directory.name);
    if (now && now->ctime == directory.info.ctime) return;
    directory.listed = false;
    whole_ = false;
  }

  // All names of the directory we are in, which is entries_[directory].
  Status list(std::size_t directory) {
    frames_.emplace_back();
    auto here = chain_.here();
    if (!here) {
      whole_ = false;
      return Done{};
    }
    bool listed = true;
    std::string after;
    for (bool more = true; more;) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      auto block =
          names_ < kMaxHoldNames ? list_names(**here, after) : Result<NameBlock>(Error{Errc::limit, "hold"});
      if (!block) {
        listed = false;
        break;
      }
      for (std::string& name : block->names) {
        after = name;
        listed = add(**here, entries_[directory].number, std::move(name)) && listed;
      }
      more = block->more && !block->names.empty();
    }
    entries_[directory].listed = listed;
    whole_ = whole_ && listed;
    check_unchanged(entries_[directory], (*here)->fd());
    std::reverse(frames_.back().directories.begin(), frames_.back().directories.end());
    return Done{};
  }

  // False when the name could not be taken into the index.
  bool add(const Root& dir, std::uint32_t parent, std::string name) {
    ++names_;
    auto pin = dir.pin_beneath(name);
    if (!pin) return false;
    auto info = file_info(pin->get(), name);
    if (!info) return false;
    const bool program = info->is_regular() && (info->mode & 0111) != 0;
    // A quarter of the index is for programs only, so that a flood of other names does not push them out.
    const std::size_t most = program ? budget_.memory_bytes : budget_.memory_bytes / 4 * 3;
    const std::size_t size = 2 * sizeof(HeldEntry) + name.size();  // the vector may have doubled
    if (memory_ + size > most) return false;
    memory_ += size;

    HeldEntry entry;
    entry.parent = parent;
    entry.name = std::move(name);
    entry.info = *info;
    entries_.push_back(std::move(entry));
    const std::size_t index = entries_.size() - 1;
    if (info->is_directory()) {
      entries_[index].number = ++directories_;
      frames_.back().directories.push_back(index);
    }
    if (!is_whiteout_device(*info)) keep(index, *std::move(pin));  // a whiteout is its stat
    return true;
  }

  void keep(std::size_t index, UniqueFd pin) {
    const Rank rank = rank_of(entries_[index].info, index);
    if (open_ >= budget_.descriptors && (lowest_.empty() || !(rank > lowest_.top()))) {
      entries_[index].fd = std::move(pin);
      give_up_descriptor(index);
      return;
    }
    if (rank.level > 1) {
      auto fd = top_.open_pinned(pin.get(), entries_[index].info, entries_[index].name);
      if (!fd) {
        whole_ = false;
        return;
      }
      pin = *std::move(fd);
    }
    if (open_ >= budget_.descriptors) {
      const std::size_t victim = lowest_.top().entry;
      lowest_.pop();
      give_up_descriptor(victim);
      --open_;
    }
    entries_[index].fd = std::move(pin);
    lowest_.push(rank);
    ++open_;
  }

  void give_up_descriptor(std::size_t index) {
    HeldEntry& entry = entries_[index];
    if (entry.info.is_regular()) {
      whole_ = false;
    } else {
      save(entry);
    }
    entry.fd.reset();
  }

  void save(HeldEntry& entry) {
    auto xattrs = read_xattrs(entry.fd.get(), entry.name);
    auto target =
        entry.info.is_symlink() ? sys::readlinkat(entry.fd.get(), "") : Result<std::string>(std::string());
    std::size_t size = sizeof(HeldEntry::Saved);
    if (xattrs) {
      for (const Xattr& xattr : *xattrs) size += sizeof(Xattr) + xattr.name.size() + xattr.value.size();
    }
    if (target) size += target->size();
    if (!xattrs || !target || memory_ + size > budget_.memory_bytes) {
      whole_ = false;
      return;
    }
    memory_ += size;
    entry.saved =
        std::make_unique<HeldEntry::Saved>(HeldEntry::Saved{*std::move(xattrs), *std::move(target)});
  }

  const Root& top_;
  const Held::Budget& budget_;
  Task& task_;
  DirChain chain_;
  std::vector<Frame> frames_;
  std::vector<HeldEntry> entries_;
  std::priority_queue<Rank, std::vector<Rank>, std::greater<>> lowest_;
  std::size_t open_ = 0;
  std::size_t memory_ = 0;
  std::size_t names_ = 0;
  std::uint32_t directories_ = kTop;
  bool whole_ = true;
};

}  // namespace

std::span<const HeldEntry> Held::State::children(std::uint32_t directory) const {
  const auto first = std::partition_point(entries.begin(), entries.end(),
                                          [&](const HeldEntry& entry) { return entry.parent < directory; });
  const auto last = std::partition_point(first, entries.end(),
                                         [&](const HeldEntry& entry) { return entry.parent == directory; });
  return {first, last};
}

Held::Held() = default;
Held::Held(Held&&) noexcept = default;
Held& Held::operator=(Held&&) noexcept = default;
Held::~Held() = default;

Result<Held> Held::take(const Stack& stack, const Budget& budget, Task& task) {
  Held held;
  held.state_ = std::make_unique<State>();
  State& state = *held.state_;
  auto taken = Taking(stack.upper(), budget, task).take_all(state.entries, state.complete);
  // Stopped half way: what is held so far is worth having, and whoever comes next sees the stop as well.
  if (!taken && taken.error().code != Errc::stopped && taken.error().code != Errc::timeout) {
    return std::move(taken).error().within("hold upperdir");
  }
  std::sort(state.entries.begin(), state.entries.end(), [](const HeldEntry& a, const HeldEntry& b) {
    return a.parent != b.parent ? a.parent < b.parent : a.name < b.name;
  });
  for (const HeldEntry& entry : state.entries) {
    if (!entry.info.is_regular()) continue;
    state.files += entry.fd ? 1U : 0U;
    state.bytes += std::min(entry.info.size_bytes, entry.info.allocated_bytes);
  }
  return held;
}

std::uint64_t Held::files() const { return state_ ? state_->files : 0; }
std::uint64_t Held::bytes() const { return state_ ? state_->bytes : 0; }
bool Held::complete() const { return state_ && state_->complete; }

}  // namespace ctriage::overlay
