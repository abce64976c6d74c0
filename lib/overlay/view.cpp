#include "lib/overlay/view.h"

#include <algorithm>
#include <deque>

#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/overlay/compare.h"
#include "lib/overlay/lower_view.h"

namespace ctriage::overlay {
namespace {

constexpr unsigned kMaxLinks = 40;  // path_resolution(7)
constexpr unsigned kMaxNames = 1'024;
constexpr std::size_t kBlockBytes = 1 << 20;

Error no_such(std::string_view path) {
  return {Errc::not_found, std::string(path) + ": no such file or directory"};
}

Result<View::Found> described(View::Found found, const std::vector<Xattr>& xattrs) {
  found.file = make_state(found.info, xattrs);
  if (!found.info.is_symlink()) return found;
  auto target = sys::readlinkat(found.pin.get(), "");
  if (!target) return std::move(target).error().within(found.path);
  found.file.link_target = Bytes(*std::move(target));
  return found;
}

Result<std::vector<std::optional<Root>>> copies_of(const std::vector<std::optional<Root>>& layers) {
  std::vector<std::optional<Root>> copies;
  for (const auto& layer : layers) {
    if (!layer) {
      copies.emplace_back(std::nullopt);
      continue;
    }
    auto copy = layer->duplicate();
    if (!copy) return std::move(copy).error();
    copies.emplace_back(*std::move(copy));
  }
  return copies;
}

}  // namespace

Result<View> View::merged(const Stack& stack) {
  View view;
  auto lowers = copies_of(stack.lowers_);
  auto data_only = copies_of(stack.data_only_);
  auto upper = stack.upper_.duplicate();
  if (!lowers) return std::move(lowers).error();
  if (!data_only) return std::move(data_only).error();
  if (!upper) return std::move(upper).error();
  view.layers_.emplace_back(*std::move(upper));
  std::move(lowers->begin(), lowers->end(), std::back_inserter(view.layers_));
  view.data_only_ = *std::move(data_only);
  view.prefix_ = stack.prefix();
  view.owners_.push_back(stack.upper_owners_);
  view.owners_.insert(view.owners_.end(), stack.lower_owners_.begin(), stack.lower_owners_.end());
  view.unreadable_ = stack.unreadable_;
  return view;
}

Result<View> View::image(const Stack& stack) {
  auto view = merged(stack);
  if (!view) return view;
  view->layers_.erase(view->layers_.begin());
  view->owners_.erase(view->owners_.begin());
  return view;
}

Result<View> View::layer(const Stack& stack, std::uint32_t number) {
  const std::size_t lowers = stack.lowers_.size();
  if (number == 0 || number > lowers + 1) {
    return Error{Errc::not_found, "layer " + std::to_string(number) + ": there are " +
                                      std::to_string(lowers + 1) + ", 1 is the image's lowest and " +
                                      std::to_string(lowers + 1) + " the UpperDir"};
  }
  const bool upper = number == lowers + 1;
  const std::optional<Root>* lower = upper ? nullptr : &stack.lowers_[lowers - number];
  if (!upper && !*lower)
    return Error{Errc::unsupported, "layer " + std::to_string(number) + " could not be opened"};
  auto copy = upper ? stack.upper_.duplicate() : (*lower)->duplicate();
  if (!copy) return std::move(copy).error();
  View view;
  view.layers_.emplace_back(*std::move(copy));
  view.alone_ = number;
  return view;
}

LowerLayers View::lower_layers() const {
  return {layers_, data_only_, prefix_, unreadable_ ? &*unreadable_ : nullptr, owners_};
}

Result<View::Found> View::from(LowerHit&& hit, std::string path) const {
  if (hit.answer == LowerHit::Answer::unknown) return std::move(hit.why).within(path);
  if (hit.answer == LowerHit::Answer::absent) return no_such(path);
  Found found;
  found.path = std::move(path);
  found.info = hit.info;
  found.layer = static_cast<std::uint32_t>(layers_.size() - hit.lower);
  found.pin = std::move(hit.pin);
  found.data = std::move(hit.data);
  found.metacopy = hit.metacopy;
  return described(std::move(found), hit.xattrs);
}

Result<View::Found> View::look_alone(const Root& directory, std::string_view name, std::string path) const {
  auto pin = directory.pin_beneath(name);
  if (!pin) return pin.error().code == Errc::not_found ? no_such(path) : std::move(pin).error();
  auto info = file_info(pin->get(), path);
  if (!info) return std::move(info).error();
  auto xattrs = read_xattrs(pin->get(), path);
  if (!xattrs) return std::move(xattrs).error();
  Found found;
  found.path = std::move(path);
  found.info = *info;
  found.layer = alone_;
  found.pin = *std::move(pin);
  return described(std::move(found), *xattrs);
}

// A path without links on the way.
Result<View::Found> View::look(const std::string& path) const {
  if (alone_ != 0) {
    return look_alone(*layers_.front(),
                      path == "/" ? std::string_view(".") : std::string_view(path).substr(1), path);
  }
  LowerView view(lower_layers());
  if (path == "/") {
    LowerHit hit = view.root();
    if (hit.answer == LowerHit::Answer::found) {
      auto pin = layers_[hit.lower]->pin_beneath(".");
      if (!pin) return std::move(pin).error();
      hit.pin = *std::move(pin);
    }
    return from(std::move(hit), path);
  }
  const auto parts = split(std::string_view(path).substr(1), '/');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (auto met = view.enter(parts[i])) return std::move(*met).within(path);
  }
  return from(view.lookup(parts.back()), path);
}

Result<View::Found> View::find(std::string_view path, bool follow, std::string& reached,
                               const Task& task) const {
  std::deque<std::string> rest;
  const auto prepend = [&rest](std::string_view text) {
    std::size_t at = 0;
    for (const std::string_view part : split(text, '/'))
      rest.insert(rest.begin() + static_cast<std::ptrdiff_t>(at++), std::string(part));
  };
  prepend(path);
  std::string here = "/";
  unsigned links = 0;
  unsigned names = 0;
  reached = here;
  auto found = look(here);
  while (found && !rest.empty()) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    if (part.empty() || part == ".") continue;
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    if (!found->info.is_directory()) return Error{Errc::not_found, here + ": not a directory"};
    // Each name is looked up from the top.
    if (++names > kMaxNames)
      return Error{Errc::outside, std::string(path) + ": more than 1,024 names on the way"};
    const std::string next = part == ".." ? parent_of(here) : child_of(here, part);
    reached = next;
    auto step = look(next);
    if (!step) return step;
    const bool last = std::ranges::all_of(rest, [](const std::string& p) { return p.empty() || p == "."; });
    if (step->info.is_symlink() && (!last || follow)) {
      if (++links > kMaxLinks) return Error{Errc::outside, std::string(path) + ": more than 40 links"};
      const std::string& target = step->file.link_target->raw;
      prepend(target);
      if (target.starts_with('/')) {
        here = "/";
        found = look(here);
      }
      continue;
    }
    here = next;
    found = std::move(step);
  }
  return found;
}

Status View::list(const std::string& directory, const Each& each, const Failed& failed,
                  const Task& task) const {
  // One name after the other, a block of them in memory.
  const auto go = [&](const auto& names_after, const auto& look_at) -> Status {
    std::string after;
    for (bool more = true; more;) {
      Result<NameBlock> block = names_after(after);
      if (!block) return std::move(block).error().within(directory);
      for (const std::string& name : block->names) {
        if (auto go_on = task.check(); !go_on) return go_on;
        Result<Found> found = look_at(name);
        if (found) {
          if (auto given = each(name, *std::move(found)); !given) return given;
        } else if (found.error().code != Errc::not_found) {  // else hidden by a whiteout, or removed since
          failed(name, std::move(found).error());
        }
      }
      more = block->more && !block->names.empty();
      if (more) after = block->names.back();
    }
    return Done{};
  };
  if (alone_ != 0) {
    const Root& top = *layers_.front();
    auto dir = directory == "/" ? top.duplicate() : top.descend(directory.substr(1));
    if (!dir) return std::move(dir).error();
    return go([&](const std::string& after) { return list_names(*dir, after); },
              [&](const std::string& name) { return look_alone(*dir, name, child_of(directory, name)); });
  }
  LowerView view(lower_layers());
  if (directory != "/") {
    for (const std::string_view part : split(std::string_view(directory).substr(1), '/')) {
      if (auto met = view.enter(part)) return std::move(*met).within(directory);
    }
  }
  return go([&](const std::string& after) { return view.list(after, kBlockBytes); },
            [&](const std::string& name) { return from(view.lookup(name), child_of(directory, name)); });
}

Result<UniqueFd> View::open(const Found& found) const {
  if (!found.info.is_regular()) return Error{Errc::unsupported, found.path + ": not a regular file"};
  if (found.metacopy && !found.data)
    return Error{Errc::not_found, found.path + ": the layers have no bytes for this metacopy"};
  const Root& root = alone_ != 0 ? *layers_.front() : *layers_[layers_.size() - found.layer];
  return root.open_pinned(found.metacopy ? found.data.get() : found.pin.get(), found.path);
}

}  // namespace ctriage::overlay
