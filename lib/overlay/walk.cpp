// Which names there are: what is in the directory now and what was held, merged in order, each once. A tree
// may be deleted under our hands, so every directory can stop being readable at any moment; then what is held
// goes on alone.
#include "lib/overlay/walk.h"

#include <algorithm>

#include "lib/core/limits.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kUpperLevels = 64;

std::size_t cost_of(const std::vector<std::string>& names) {
  std::size_t bytes = 0;
  for (const auto& name : names) bytes += sizeof(std::string) + name.size();
  return bytes;
}

}  // namespace

Walk::Walk(const Stack& stack, const Held& held, std::span<const Bytes> stubs, Visitor& visitor, Task& task)
    : stack_(stack),
      held_(held.state_.get()),
      visitor_(visitor),
      task_(task),
      upper_(stack.upper_, kUpperLevels),
      lower_(stack.lower_layers()),
      reader_(task),
      second_look_(task) {
  for (const Bytes& stub : stubs) stubs_.insert(stub.raw);
}

Status Walk::run() {
  if (auto top = take_top(); !top) return top;
  while (!frames_.empty()) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto next = next_name();
    if (!next) {
      leave();
      continue;
    }
    task_.passed(0, 1);
    if (next->only_in_image()) {
      const Frame& frame = frames_.back();
      if (auto told = tell_image(next->name, frame.image_only, path_.substr(0, frame.hider_size)); !told)
        return told;
      continue;
    }
    if (next->whiteout_file) {
      if (auto taken = take_whiteout_file(next->name); !taken) return taken;
      continue;
    }
    auto subject = meet(next->name, next->live, next->held);
    if (!subject) continue;
    if (auto taken = take(*std::move(subject), false); !taken) return taken;
  }
  return second_look_.look(stack_.upper());
}

Status Walk::take_top() {
  Subject top;
  top.path = "/";
  top.live = true;
  if (held_ != nullptr && !held_->children(0).empty()) {
    top.held = &held_->children(0).front();
    top.info = top.held->info;
  } else {
    auto info = file_info(stack_.upper().fd(), "upperdir");
    auto own = stack_.upper().duplicate();
    if (!info || !own) return (!info ? std::move(info).error() : std::move(own).error()).within("upperdir");
    top.info = *info;
    auto pin = own->pin_beneath(".");
    if (!pin) return std::move(pin).error().within("upperdir");
    top.own = *std::move(pin);
  }
  return take(std::move(top), true);
}

std::optional<Walk::Next> Walk::next_name() {
  Frame& frame = frames_.back();
  Next next;
  if (frame.again) {
    next.name = *std::exchange(frame.again, std::nullopt);
    next.live = true;
    return next;
  }
  refill(frame);
  const std::string* live = frame.next < frame.names.size() ? &frame.names[frame.next] : nullptr;
  while (is_fuse() && frame.next_held < frame.held.size() &&
         frame.held[frame.next_held].name.starts_with(kWhiteoutFile))
    ++frame.next_held;
  const HeldEntry* held = frame.next_held < frame.held.size() ? &frame.held[frame.next_held] : nullptr;
  const std::string* image = next_of_image(frame);
  const std::string* whiteout =
      frame.next_whiteout < frame.whiteouts.size() ? &frame.whiteouts[frame.next_whiteout] : nullptr;
  const std::string* first = nullptr;
  for (const std::string* each : {live, held != nullptr ? &held->name : nullptr, image, whiteout}) {
    if (each != nullptr && (first == nullptr || *each < *first)) first = each;
  }
  if (first == nullptr) return std::nullopt;
  next.name = *first;
  if (image != nullptr && *image == next.name) frame.image.take();
  if (held != nullptr && held->name == next.name) {
    next.held = held;
    ++frame.next_held;
  }
  if (live != nullptr && *live == next.name) {
    next.live = true;
    frame.last = std::move(frame.names[frame.next++]);
  }
  if (whiteout != nullptr && *whiteout == next.name) {
    ++frame.next_whiteout;
    if (next.live || next.held != nullptr) {
      gap(Impact::degraded, "overlay.semantics", path_ + "/" + next.name,
          {Errc::mismatch, "it is there, and a file beside it says that it is deleted: told as there"});
    } else {
      next.whiteout_file = true;
    }
  }
  return next;
}

const std::string* Walk::next_of_image(Frame& frame) {
  if (frame.image_only == ImageOnly::shown) return nullptr;
  auto name = frame.image.peek(lower_);
  if (name) return *name;
  gap(Impact::degraded, "overlay.lower", path(), std::move(name).error());
  frame.image_only = ImageOnly::shown;
  return nullptr;
}

void Walk::refill(Frame& frame) {
  if (!frame.live || frame.live_done || frame.next < frame.names.size()) return;
  frame.names = {};  // its memory too, before the next block is made
  frame.next = 0;
  if (!frame.more) {
    frame.live_done = true;
    return;
  }
  auto here = upper_.here();
  if (here && !std::exchange(frame.begun, true)) {
    if (auto info = file_info((*here)->fd(), path())) {
      const std::uint32_t parent =
          frames_.size() > 1 ? frames_[frames_.size() - 2].watched : SecondLook::kNone;
      frame.watched =
          second_look_.listing(parent, std::string_view(path_).substr(path_.rfind('/') + 1), *info);
    }
  }
  auto block = here ? list_live(frame, **here) : Result<NameBlock>(std::move(here).error());
  if (!block) {
    live_failed(frame, block.error());
    return;
  }
  frame.names = std::move(block->names);
  frame.more = block->more;
  frame.live_done = frame.names.empty();
  shed_names();
}

// fuse-overlayfs shows no file whose name begins with ".wh.".
Result<NameBlock> Walk::list_live(Frame& frame, const Root& here) {
  for (;;) {
    auto block = list_names(here, frame.last);
    if (!is_fuse() || !block || block->names.empty()) return block;
    const std::string last = block->names.back();
    std::erase_if(block->names, [](const std::string& name) { return name.starts_with(kWhiteoutFile); });
    if (!block->names.empty() || !block->more) return block;
    frame.last = last;
  }
}

void Walk::find_whiteout_files(Frame& frame) {
  constexpr std::size_t kMostBytes = 1 << 20;
  std::size_t bytes = 0;
  const auto add = [&](const std::string& name) {
    bytes += sizeof(std::string) + name.size();
    if (name != kOpaqueFile && bytes <= kMostBytes)
      frame.whiteouts.push_back(name.substr(kWhiteoutFile.size()));
  };
  for (const HeldEntry& entry : frame.held) {
    if (!entry.name.starts_with(kWhiteoutFile)) continue;
    second_look_.taken(entry.info);
    add(entry.name);
  }
  std::string after(kWhiteoutFile);
  for (bool more = frame.live; more && bytes <= kMostBytes;) {
    const auto here = upper_.here();
    const auto block = here ? list_names(**here, after) : Result<NameBlock>(here.error());
    if (!block) return;  // told when its names are read
    more = block->more && !block->names.empty();
    for (const std::string& name : block->names) {
      if (!name.starts_with(kWhiteoutFile)) {
        more = false;
        break;
      }
      if (const auto info = (*here)->stat_beneath(name)) second_look_.taken(*info);
      add(name);
    }
    if (more) after = block->names.back();
  }
  if (bytes > kMostBytes) {
    gap(Impact::lost, "overlay.directory", path(),
        {Errc::limit, "more than 1 MiB of names of deleted files: the rest is not told"});
  }
  std::ranges::sort(frame.whiteouts);
  frame.whiteouts.erase(std::unique(frame.whiteouts.begin(), frame.whiteouts.end()), frame.whiteouts.end());
}

bool Walk::has_opaque_file(const Subject& subject) {
  if (subject.held != nullptr && held_ != nullptr) {
    const auto children = held_->children(subject.held->number);
    if (std::ranges::find(children, kOpaqueFile, &HeldEntry::name) != children.end()) return true;
  }
  if (!subject.live || frames_.empty() || !frames_.back().live) return false;
  const auto here = upper_.here();
  return here && (*here)->stat_beneath(std::string(subject.name) + "/" + std::string(kOpaqueFile));
}

// Names waiting in all the directories we are in stay within two blocks: those of the uppermost are read
// again.
void Walk::shed_names() {
  std::size_t total = 0;
  for (std::size_t i = frames_.size(); i > 0; --i) {
    Frame& frame = frames_[i - 1];
    if (frame.names.empty()) continue;
    total += cost_of(frame.names);
    if (total <= 2 * kMaxNameBlockBytes || i == frames_.size()) continue;
    frame.names = {};
    frame.next = 0;
    frame.more = true;
  }
}

void Walk::live_failed(Frame& frame, const Error& error) {
  frame.live_done = true;
  const bool gone = error.is_gone();
  if (gone && frame.held_listed) return;  // deleted meanwhile, and all that was in it is held
  gap(Impact::lost, "overlay.directory", path(),
      gone ? Error{Errc::vanished, "removed before all its names were read"} : error);
}

std::optional<Walk::Subject> Walk::meet(const std::string& name, bool live, const HeldEntry* held) {
  Subject subject;
  subject.name = name;
  subject.path = path_ + "/" + name;
  std::optional<Error> failed;
  const Root* dir = nullptr;
  if (live) {
    auto here = upper_.here();
    if (here) {
      dir = *here;
    } else {
      failed = std::move(here).error();
    }
  }
  if (held != nullptr) {
    subject.held = held;
    subject.info = held->info;
    const bool kept = held->fd || held->saved || is_whiteout_device(held->info);
    if (dir != nullptr && kept) {
      auto now = dir->stat_beneath(name);
      subject.live = now && now->same_inode(held->info);
      if (now && !subject.live) {
        gap(Impact::degraded, "overlay.entry", subject.path,
            {Errc::changed, "replaced after it was held: both are taken, what was there first comes first"});
        subject.replaced = true;
        frames_.back().again = name;
      }
      if (!now) failed = now.error();
    }
    if (kept && failed && !failed->is_gone()) {
      const bool directory = held->info.is_directory();  // what has come into it since is not seen
      gap(directory ? Impact::lost : Impact::degraded, directory ? "overlay.directory" : "overlay.entry",
          subject.path, *failed);
    }
    if (kept) return subject;
  }
  if (dir != nullptr) {
    auto pin = dir->pin_beneath(name);
    auto info = pin ? file_info(pin->get(), name) : Result<FileInfo>(pin.error());
    if (info) {
      if (held != nullptr && !info->same_inode(held->info)) {
        gap(Impact::lost, "overlay.entry", subject.path, {Errc::changed, "replaced before it was read"});
        subject.held = nullptr;
      }
      // What was looked at first counts: a file that has grown since is taken to that size.
      if (subject.held == nullptr) subject.info = *info;
      subject.own = *std::move(pin);
      subject.live = true;
      return subject;
    }
    failed = std::move(info).error();
  }
  const bool gone = !failed || failed->is_gone();
  gap(Impact::lost, "overlay.entry", subject.path,
      gone ? Error{Errc::vanished, "removed before it was read"} : *std::move(failed));
  if (held == nullptr) return std::nullopt;
  return subject;  // its stat is known
}

void Walk::go_into(const Subject& subject, const LowerHit& hit) {
  const bool top = frames_.empty();
  if (frames_.size() >= kMaxTreeDepth) {
    gap(Impact::lost, "overlay.directory", subject.path,
        {Errc::limit, "deeper than " + std::to_string(kMaxTreeDepth) + " levels: not followed"});
    return;
  }
  Frame frame;
  frame.live = top;
  if (subject.held != nullptr && held_ != nullptr) {
    frame.held = held_->children(subject.held->number);
    frame.held_listed = subject.held->listed;
  }
  std::optional<Error> failed;
  if (!top && subject.live && frames_.back().live) {
    auto entered = upper_.enter(subject.name, subject.info);
    frame.live = entered.has_value();
    if (!entered) failed = std::move(entered).error();
  }
  if (!frame.live && (!frame.held_listed || (failed && !failed->is_gone()))) {
    if (!failed || failed->is_gone()) failed = Error{Errc::vanished, "removed before it was read"};
    gap(Impact::lost, "overlay.directory", subject.path, *std::move(failed));
  }
  if (!top) {
    Frame& above = frames_.back();
    above.image.let_go();
    const bool known = !subject.why && hit.answer != LowerHit::Answer::unknown;
    if (!known) {
      lower_.enter_unknown(subject.why ? *subject.why : hit.why);
    } else if (hit.answer == LowerHit::Answer::found && hit.info.is_directory()) {
      if (auto met = lower_.enter(subject.name, subject.marks.redirect, path_))
        gap(Impact::degraded, "overlay.semantics", subject.path, *std::move(met));
      frame.image_only = !subject.marks.redirect.empty() ? ImageOnly::renamed
                         : subject.marks.opaque          ? ImageOnly::deleted
                                                         : above.image_only;
      frame.hider_size = subject.marks.opaque ? subject.path.size() : above.hider_size;
    } else {
      lower_.enter_nothing();
    }
    path_ = subject.path;
  }
  frame.path_size = path_.size();
  if (is_fuse()) find_whiteout_files(frame);
  frames_.push_back(std::move(frame));
}

void Walk::leave() {
  const bool live = frames_.back().live;
  frames_.pop_back();
  if (frames_.empty()) return;
  if (live) upper_.leave();
  lower_.leave();
  path_.resize(frames_.back().path_size);
}

Status walk(const Stack& stack, const Held& held, std::span<const Bytes> stubs, Visitor& visitor,
            Task& task) {
  return Walk(stack, held, stubs, visitor, task).run();
}

}  // namespace ctriage::overlay
