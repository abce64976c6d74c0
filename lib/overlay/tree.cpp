#include "lib/overlay/tree.h"

#include <sys/stat.h>

#include <algorithm>

namespace ctriage::overlay {
namespace {

constexpr std::size_t kKeepLowerLevels =
    4;  // per lower layer: 128 layers times the upper's 64 would be all we have

// A directory below, called by its own name only: names of 32,768 nested directories would be gigabytes.
Result<Root> step_down(const Root& from, std::string_view name) {
  auto below = from.descend(name);
  if (below) below->call(std::string(name));
  return below;
}

const Xattr* find(const std::vector<Xattr>& xattrs, std::string_view name) {
  const auto at = std::find_if(xattrs.begin(), xattrs.end(), [&](const Xattr& x) { return x.name == name; });
  return at == xattrs.end() ? nullptr : &*at;
}

}  // namespace

Status DirChain::enter(std::string_view name, const FileInfo& expected) {
  auto from = here();
  if (!from) return std::move(from).error();
  auto below = step_down(**from, name);
  if (!below) return std::move(below).error();
  auto info = file_info(below->fd(), name);
  if (!info) return std::move(info).error();
  if (!info->same_inode(expected)) {
    return Error{Errc::changed, std::string(name) + ": replaced by another directory"};
  }
  levels_.push_back({std::string(name), info->inode, info->dev_major, info->dev_minor, *std::move(below)});
  let_go();
  return Done{};
}

void DirChain::leave() { levels_.pop_back(); }

void DirChain::let_go() {
  // Those just outside the window; here() may have opened up to kKeepEvery of them.
  std::size_t looked_at = 0;
  for (std::size_t i = levels_.size(); i > 0 && looked_at <= keep_last_ + kKeepEvery; --i, ++looked_at) {
    if (looked_at >= keep_last_ && (i - 1) % kKeepEvery != 0) levels_[i - 1].dir.reset();
  }
}

Result<const Root*> DirChain::here() {
  if (levels_.empty()) return top_;
  if (levels_.back().dir) return &*levels_.back().dir;
  std::size_t first_closed = levels_.size();
  while (first_closed > 0 && !levels_[first_closed - 1].dir) --first_closed;
  for (std::size_t i = first_closed; i < levels_.size(); ++i) {
    Level& level = levels_[i];
    auto below = step_down(i == 0 ? *top_ : *levels_[i - 1].dir, level.name);
    if (!below) return std::move(below).error();
    auto info = file_info(below->fd(), level.name);
    if (!info) return std::move(info).error();
    if (info->inode != level.inode || info->dev_major != level.dev_major ||
        info->dev_minor != level.dev_minor) {
      return Error{Errc::changed, level.name + ": replaced by another directory"};
    }
    level.dir = *std::move(below);
  }
  let_go();
  return &*levels_.back().dir;
}

bool is_whiteout(const FileInfo& info) {
  return info.is_char_device() && info.rdev_major == 0 && info.rdev_minor == 0;
}

bool is_opaque(const std::vector<Xattr>& xattrs) {
  const auto* opaque = find(xattrs, "trusted.overlay.opaque");
  return opaque != nullptr && opaque->value == "y";
}

std::optional<Error> uninterpreted(const FileInfo& info, const std::vector<Xattr>& xattrs) {
  const auto refuse = [](std::string_view what) {
    return Error{Errc::unsupported,
                 std::string("overlay ").append(what).append(" is not interpreted by this version")};
  };
  if (info.is_directory()) {
    if (find(xattrs, "trusted.overlay.redirect") != nullptr) return refuse("redirect");
    const auto* opaque = find(xattrs, "trusted.overlay.opaque");
    if (opaque != nullptr && opaque->value != "y") return refuse("opaque other than y (whiteouts by xattr)");
  } else if (info.is_regular()) {
    if (find(xattrs, "trusted.overlay.metacopy") != nullptr) return refuse("metacopy");
    if (find(xattrs, "trusted.overlay.whiteout") != nullptr) return refuse("whiteout by xattr");
  }
  return std::nullopt;
}

LowerView::LowerView(const std::vector<std::optional<Root>>& lowers, const std::optional<Error>& unreadable)
    : chains_(lowers.size()) {
  Level top;
  top.unknown = unreadable;
  for (std::size_t i = 0; i < lowers.size() && !unreadable; ++i) {
    if (!lowers[i]) {
      // What is below a layer that we do not have cannot be told: it may hide or replace everything.
      top.unknown = Error{Errc::unsupported,
                          "lower layer " + std::to_string(lowers.size() - i) + " could not be opened"};
      break;
    }
    chains_[i].emplace(*lowers[i], kKeepLowerLevels);
    top.lowers.push_back(static_cast<std::uint16_t>(i));
  }
  levels_.push_back(std::move(top));
}

LowerHit LowerView::root() {
  LowerHit hit;
  const auto unknown = [&hit](Error why) {
    hit.answer = LowerHit::Answer::unknown;
    hit.why = std::move(why);
  };
  Level& top = levels_.front();
  if (top.lowers.empty()) {
    unknown(top.unknown ? *top.unknown : Error{Errc::not_found, "no lower layer"});
    hit.inherited = true;
    return hit;
  }
  hit.lower = top.lowers.front();
  auto dir = chains_[hit.lower]->here();
  if (!dir) {
    unknown(std::move(dir).error());
    return hit;
  }
  auto info = file_info((*dir)->fd(), "/");
  auto xattrs = read_xattrs((*dir)->fd(), "/");
  if (!info || !xattrs) {
    unknown(!info ? std::move(info).error() : std::move(xattrs).error());
    return hit;
  }
  hit.answer = LowerHit::Answer::found;
  hit.info = *info;
  hit.xattrs = *std::move(xattrs);
  return hit;
}

LowerHit LowerView::lookup(std::string_view name) {
  LowerHit hit;
  const auto unknown = [&hit](Error why) -> LowerHit&& {
    hit.answer = LowerHit::Answer::unknown;
    hit.why = std::move(why);
    return std::move(hit);
  };
  Level& level = levels_.back();
  for (const std::uint16_t lower : level.lowers) {
    auto dir = chains_[lower]->here();
    if (!dir) return unknown(std::move(dir).error());
    auto pin = (*dir)->pin_beneath(name);
    if (!pin) {
      if (pin.error().code == Errc::not_found) continue;
      return unknown(std::move(pin).error());
    }
    auto info = file_info(pin->get(), name);
    if (!info) return unknown(std::move(info).error());
    if (is_whiteout(*info)) return hit;
    auto xattrs = read_xattrs(pin->get(), name);
    if (!xattrs) return unknown(std::move(xattrs).error());
    if (auto why = uninterpreted(*info, *xattrs)) return unknown(*std::move(why));
    hit.answer = LowerHit::Answer::found;
    hit.lower = lower;
    hit.info = *info;
    hit.xattrs = *std::move(xattrs);
    hit.pin = *std::move(pin);
    return hit;
  }
  if (level.unknown) {
    hit.inherited = true;
    return unknown(*level.unknown);
  }
  return hit;
}

Result<UniqueFd> LowerView::open(const LowerHit& hit, std::string_view name) {
  auto dir = chains_[hit.lower]->here();
  if (!dir) return std::move(dir).error();
  auto fd = (*dir)->open_beneath(name);
  if (!fd) return fd;
  auto info = file_info(fd->get(), name);
  if (!info) return std::move(info).error();
  if (!info->same_inode(hit.info)) {
    return Error{Errc::changed, std::string(name) + ": another file in the lower layer by now"};
  }
  return fd;
}

LowerView::Step LowerView::step_into(std::uint16_t lower, std::string_view name,
                                     std::optional<Error>& unknown) {
  DirChain& chain = *chains_[lower];
  const auto give_up = [&unknown](Error why) {
    unknown = std::move(why);
    return Step::last;
  };
  auto dir = chain.here();
  if (!dir) return give_up(std::move(dir).error());
  auto info = (*dir)->stat_beneath(name);
  if (!info) return info.error().code == Errc::not_found ? Step::none : give_up(std::move(info).error());
  if (!info->is_directory()) return Step::last;  // a whiteout too: nothing further down is merged
  if (auto entered = chain.enter(name, *info); !entered) return give_up(std::move(entered).error());
  auto inside = chain.here();
  const auto xattrs =
      inside ? read_xattrs((*inside)->fd(), name) : Result<std::vector<Xattr>>(inside.error());
  auto why = xattrs ? uninterpreted(*info, *xattrs) : std::optional<Error>(xattrs.error());
  if (why) {
    chain.leave();
    return give_up(*std::move(why));
  }
  return is_opaque(*xattrs) ? Step::in_and_last : Step::in;
}

std::optional<Error> LowerView::enter(std::string_view name) {
  Level below;
  bool ended = false;
  for (const std::uint16_t lower : levels_.back().lowers) {
    const Step step = step_into(lower, name, below.unknown);
    if (step == Step::in || step == Step::in_and_last) below.lowers.push_back(lower);
    ended = step == Step::last || step == Step::in_and_last;
    if (ended) break;
  }
  // Where a layer decided (a file, a whiteout, an opaque directory), what lies below it does not count, known
  // or not.
  std::optional<Error> met = below.unknown;
  if (!ended) below.unknown = levels_.back().unknown;
  levels_.push_back(std::move(below));
  return met;
}

void LowerView::enter_nothing() { levels_.emplace_back(); }

void LowerView::enter_unknown(Error why) {
  levels_.emplace_back();
  levels_.back().unknown = std::move(why);
}

void LowerView::leave() {
  for (const std::uint16_t lower : levels_.back().lowers) chains_[lower]->leave();
  levels_.pop_back();
}

}  // namespace ctriage::overlay
