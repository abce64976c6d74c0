#include "lib/overlay/lower_view.h"

#include <algorithm>
#include <cerrno>

#include "lib/core/text.h"

namespace ctriage::overlay {
namespace {

// Per lower layer: 128 layers times the upper's 64 would be all the descriptors we have.
constexpr std::size_t kKeepLowerLevels = 4;

// "/a/b" and the relative redirect "c" make "/a/c".
std::string sibling(const std::string& target, const std::string& name) {
  const auto slash = target.rfind('/');
  return slash == std::string::npos ? name : target.substr(0, slash + 1) + name;
}

}  // namespace

LowerView::LowerView(const LowerLayers& layers) : layers_(layers), chains_(layers.lowers.size()) {
  Level top;
  const std::size_t count = layers_.lowers.size();
  if (layers_.unreadable != nullptr) top.unknown = *layers_.unreadable;
  for (std::size_t i = 0; i < count && !top.unknown; ++i) {
    if (!layers_.lowers[i]) {
      // What is below a layer that we do not have cannot be told: it may hide or replace everything.
      top.unknown =
          Error{Errc::unsupported, "lower layer " + std::to_string(count - i) + " could not be opened"};
      break;
    }
    chains_[i].emplace(*layers_.lowers[i], kKeepLowerLevels);
    top.dirs.push_back({static_cast<std::uint16_t>(i), &*chains_[i], false});
  }
  levels_.push_back(std::move(top));
}

LowerHit LowerView::root() {
  LowerHit hit;
  const auto unknown = [&hit](Error why) {
    hit.answer = LowerHit::Answer::unknown;
    hit.why = std::move(why);
  };
  const Level& top = levels_.front();
  if (top.dirs.empty()) {
    unknown(top.unknown ? *top.unknown : Error{Errc::not_found, "no lower layer"});
    hit.inherited = true;
    return hit;
  }
  hit.lower = top.dirs.front().lower;
  const int fd = layers_.lowers[hit.lower]->fd();
  auto info = file_info(fd, "/");
  auto xattrs = read_xattrs(fd, "/");
  if (!info || !xattrs) {
    unknown(!info ? std::move(info).error() : std::move(xattrs).error());
    return hit;
  }
  hit.answer = LowerHit::Answer::found;
  hit.info = *info;
  hit.xattrs = *std::move(xattrs);
  understand(hit);
  return hit;
}

void LowerView::understand(LowerHit& hit) const {
  if (hit.lower < layers_.owners.size()) apply(layers_.owners[hit.lower], hit.xattrs, hit.info);
}

Result<bool> LowerView::is_whited_out(const Root& dir, const std::string& name) const {
  if (!is_fuse()) return false;
  const auto info = dir.stat_beneath(std::string(kWhiteoutFile) + name);
  if (info) return true;
  if (info.error().code == Errc::not_found || info.error().number == ENAMETOOLONG) return false;
  return info.error();
}

LowerView::Search LowerView::begin(std::string_view name, std::string_view redirect) const {
  Search search;
  search.target = redirect.empty() ? name : redirect;
  search.in = search.target.starts_with('/') ? &levels_.front() : &levels_.back();
  return search;
}

// The layers below `lower` have it under another name.
void LowerView::follow(Search& search, std::uint16_t lower, const std::string& redirect) const {
  if (redirect.empty()) return;
  if (!redirect.starts_with('/')) {
    search.target = sibling(search.target, redirect);
    return;
  }
  search.target = redirect;
  search.in = &levels_.front();
  const auto& dirs = search.in->dirs;
  search.at = static_cast<std::size_t>(
      std::find_if(dirs.begin(), dirs.end(), [&](const Dir& dir) { return dir.lower > lower; }) -
      dirs.begin());
}

Result<std::optional<LowerView::Place>> LowerView::reach(const Dir& dir, const std::string& target,
                                                         bool& last) {
  last = false;
  Place place;
  if (!target.starts_with('/')) {
    auto here = dir.chain->here();
    if (!here) return std::move(here).error();
    place.dir = *here;
    place.name = target;
    place.chain = dir.chain;
    return std::optional<Place>(std::move(place));
  }
  const auto parts = split(std::string_view(target).substr(1), '/');
  place.own.emplace_back(*layers_.lowers[dir.lower], kKeepLowerLevels);
  place.chain = &place.own.back();
  place.name = parts.back();
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    auto here = place.chain->here();
    if (!here) return std::move(here).error();
    auto info = (*here)->stat_beneath(parts[i]);
    if (!info && info.error().code == Errc::not_found) return std::optional<Place>();
    if (!info) return std::move(info).error();
    if (!info->is_directory()) {
      last = true;
      return std::optional<Place>();
    }
    if (auto entered = place.chain->enter(parts[i], *info); !entered) return std::move(entered).error();
    here = place.chain->here();
    auto xattrs = here ? read_xattrs((*here)->fd(), parts[i]) : Result<std::vector<Xattr>>(here.error());
    auto marks = xattrs ? read_marks(*info, *xattrs, layers_.prefix) : Result<Marks>(xattrs.error());
    if (!marks) return std::move(marks).error();
    if (!marks->redirect.empty())
      return Error{Errc::unsupported, "overlay redirect through a redirected directory: " + target};
    place.last = place.last || marks->opaque;
  }
  auto here = place.chain->here();
  if (!here) return std::move(here).error();
  place.dir = *here;
  return std::optional<Place>(std::move(place));
}

LowerHit LowerView::lookup(std::string_view name, std::string_view redirect) {
  LowerHit hit;
  const auto give_up = [&hit](Error why) -> LowerHit&& {
    if (hit.answer != LowerHit::Answer::found) hit.answer = LowerHit::Answer::unknown;
    hit.why = std::move(why);
    return std::move(hit);
  };
  // A metacopy file was found: what is left to find is the inode with its bytes.
  const auto no_data = [&] {
    return give_up(Error{Errc::not_found, "the layers have no bytes for this metacopy"});
  };
  if (is_fuse() && name.starts_with(kWhiteoutFile)) return hit;
  Search search = begin(name, redirect);
  while (search.at < search.in->dirs.size()) {
    const Dir& dir = search.in->dirs[search.at++];
    bool last = false;
    auto place = reach(dir, search.target, last);
    if (!place) return give_up(std::move(place).error());
    if (!*place) {
      if (last) return hit.metacopy ? no_data() : std::move(hit);
      continue;
    }
    last = (*place)->last;
    const auto gone = is_whited_out(*(*place)->dir, (*place)->name);
    if (!gone) return give_up(gone.error());
    if (*gone) return hit;
    auto pin = (*place)->dir->pin_beneath((*place)->name);
    if (!pin && pin.error().code != Errc::not_found) return give_up(std::move(pin).error());
    if (pin) {
      auto info = file_info(pin->get(), name);
      if (!info) return give_up(std::move(info).error());
      if (is_whiteout_device(*info)) return hit.metacopy ? no_data() : std::move(hit);
      auto xattrs = read_xattrs(pin->get(), name);
      if (!xattrs) return give_up(std::move(xattrs).error());
      auto marks = read_marks(*info, *xattrs, layers_.prefix);
      if (!marks) return give_up(std::move(marks).error());
      if (marks->whiteout || (hit.metacopy && !info->is_regular()))
        return hit.metacopy ? no_data() : std::move(hit);
      if (!hit.metacopy) {
        hit.answer = LowerHit::Answer::found;
        hit.lower = dir.lower;
        hit.info = *info;
        hit.xattrs = *std::move(xattrs);
        hit.pin = *std::move(pin);
        understand(hit);
        if (!marks->metacopy) return hit;
        hit.metacopy = true;
      } else if (!marks->metacopy) {
        hit.data = *std::move(pin);
        return hit;
      }
      follow(search, dir.lower, marks->redirect);
    }
    if (last) return hit.metacopy ? no_data() : std::move(hit);
  }
  if (hit.metacopy) {
    if (search.target.starts_with('/')) find_data_only(hit, search.target);
    return hit.data ? std::move(hit) : no_data();
  }
  if (search.in->unknown) {
    hit.inherited = true;
    return give_up(*search.in->unknown);
  }
  return hit;
}

void LowerView::find_data_only(LowerHit& hit, const std::string& target) const {
  for (const auto& layer : layers_.data_only) {
    if (!layer) continue;
    auto pin = layer->pin_beneath(std::string_view(target).substr(1));
    auto info = pin ? file_info(pin->get(), target) : Result<FileInfo>(pin.error());
    if (!info || !info->is_regular()) continue;
    hit.data = *std::move(pin);
    return;
  }
}

Result<UniqueFd> LowerView::open(const LowerHit& hit, std::string_view name) const {
  if (hit.metacopy && !hit.data) return hit.why;
  return layers_.lowers[hit.lower]->open_pinned(hit.metacopy ? hit.data.get() : hit.pin.get(), name);
}

// Of each layer a block; names up to the least end of those blocks are complete.
Result<NameBlock> LowerView::list(std::string_view after, std::size_t block_bytes) {
  NameBlock merged;
  std::optional<std::string> end;
  for (const Dir& dir : levels_.back().dirs) {
    auto here = dir.chain->here();
    if (!here) return std::move(here).error();
    auto block = list_names(**here, after, block_bytes);
    if (!block) return std::move(block).error();
    if (block->more && !block->names.empty()) {
      if (!end || block->names.back() < *end) end = block->names.back();
      merged.more = true;
    }
    merged.names.insert(merged.names.end(), std::make_move_iterator(block->names.begin()),
                        std::make_move_iterator(block->names.end()));
  }
  if (is_fuse())
    std::erase_if(merged.names, [](const std::string& name) { return name.starts_with(kWhiteoutFile); });
  std::sort(merged.names.begin(), merged.names.end());
  merged.names.erase(std::unique(merged.names.begin(), merged.names.end()), merged.names.end());
  if (end)
    merged.names.erase(std::upper_bound(merged.names.begin(), merged.names.end(), *end), merged.names.end());
  return merged;
}

LowerView::Step LowerView::step_into(const Dir& dir, const std::string& target, Level& below,
                                     std::string& redirect) {
  const auto give_up = [&below](Error why) {
    below.unknown = std::move(why);
    return Step::last;
  };
  bool last = false;
  auto place = reach(dir, target, last);
  if (!place) return give_up(std::move(place).error());
  if (!*place) return last ? Step::last : Step::none;
  Place& at = **place;
  const auto gone = is_whited_out(*at.dir, at.name);
  if (!gone) return give_up(gone.error());
  if (*gone) return Step::last;
  auto info = at.dir->stat_beneath(at.name);
  if (!info) {
    if (info.error().code != Errc::not_found) return give_up(std::move(info).error());
    return at.last ? Step::last : Step::none;
  }
  if (!info->is_directory()) return Step::last;  // a whiteout too: nothing further down is merged
  if (auto entered = at.chain->enter(at.name, *info); !entered) return give_up(std::move(entered).error());
  auto inside = at.chain->here();
  const auto xattrs =
      inside ? read_xattrs((*inside)->fd(), at.name) : Result<std::vector<Xattr>>(inside.error());
  auto marks = xattrs ? read_marks(*info, *xattrs, layers_.prefix) : Result<Marks>(xattrs.error());
  if (!marks) {
    at.chain->leave();
    return give_up(std::move(marks).error());
  }
  if (is_fuse() && (*inside)->stat_beneath(kOpaqueFile)) marks->opaque = true;
  const bool own = !at.own.empty();
  below.chains.splice(below.chains.end(), at.own);
  below.dirs.push_back({dir.lower, at.chain, own});
  redirect = marks->redirect;
  return marks->opaque || at.last ? Step::in_and_last : Step::in;
}

std::optional<Error> LowerView::enter(std::string_view name, std::string_view redirect,
                                      std::string_view within) {
  Level below;
  below.elsewhere = elsewhere(within, name, redirect);
  bool ended = false;
  Search search = begin(name, redirect);
  while (!ended && search.at < search.in->dirs.size()) {
    const Dir& dir = search.in->dirs[search.at++];
    std::string further;
    const Step step = step_into(dir, search.target, below, further);
    ended = step == Step::last || step == Step::in_and_last;
    if (step == Step::in) follow(search, dir.lower, further);
  }
  // Where a layer decided (a file, a whiteout, an opaque directory), what lies below it does not count, known
  // or not.
  std::optional<Error> met = below.unknown;
  if (!ended) below.unknown = search.in->unknown;
  levels_.push_back(std::move(below));
  return met;
}

void LowerView::enter_nothing() { levels_.emplace_back(); }

void LowerView::enter_unknown(Error why) {
  levels_.emplace_back();
  levels_.back().unknown = std::move(why);
}

void LowerView::leave() {
  for (const Dir& dir : levels_.back().dirs) {
    if (!dir.own) dir.chain->leave();
  }
  levels_.pop_back();
}

std::optional<std::string> LowerView::elsewhere(std::string_view within, std::string_view name,
                                                std::string_view redirect) const {
  const auto& above = levels_.back().elsewhere;
  if (redirect.starts_with('/')) return std::string(redirect);
  if (!above && (redirect.empty() || redirect == name)) return std::nullopt;
  return std::string(above ? *above : within).append("/").append(redirect.empty() ? name : redirect);
}

Result<const std::string*> LowerNames::peek(LowerView& view) {
  constexpr std::size_t kBlockBytes = 64 << 10;
  while (next_ == names_.size()) {
    if (!more_) return static_cast<const std::string*>(nullptr);
    auto block = view.list(last_, kBlockBytes);
    if (!block) {
      more_ = false;
      return std::move(block).error();
    }
    names_ = std::move(block->names);
    next_ = 0;
    more_ = block->more && !names_.empty();
  }
  return &names_[next_];
}

void LowerNames::let_go() {
  constexpr std::size_t kKeep = 32;
  if (names_.size() - next_ <= kKeep) return;
  names_ = {};
  next_ = 0;
  more_ = true;
}

}  // namespace ctriage::overlay
