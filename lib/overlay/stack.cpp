#include <linux/capability.h>

#include <algorithm>
#include <atomic>

#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/overlay/lower_view.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {
namespace {

// Components of "/usr/bin/x"; ".." leads out.
Result<std::vector<std::string_view>> components(std::string_view path) {
  std::vector<std::string_view> parts;
  for (const auto part : split(path, '/')) {
    if (part == "..") return Error{Errc::outside, std::string(path) + ": climbs with .."};
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  return parts;
}

std::string parent_of(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const auto slash = path.rfind('/');
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

// Where a layer lies on the node. Relative ones start at `base` where it is known (Docker's "l/AAA"), else
// they are containerd's short form "95/fs", SEMANTICS.md; a number alone is a descriptor of a process that is
// gone, and a directory of that name would be another layer.
Result<std::string> locate(const std::string& layer, const Options& options) {
  if (layer.front() == '/') return layer;
  if (layer.find('/') != std::string::npos) {
    if (!options.base.empty()) return options.base + "/" + layer;
    if (options.upper.front() == '/') return parent_of(parent_of(options.upper)) + "/" + layer;
  }
  return Error{Errc::unsupported, layer + ": relative, and where it starts is not known"};
}

// A process of ours never changes its user namespace: one good answer stays good. `list` opens hundreds of
// stacks.
Status in_first_user_namespace() {
  static std::atomic<int> known_of{0};
  const int us = sys::own_pid();
  if (known_of == us) return Done{};
  auto proc = Root::open("/proc");
  if (!proc) return std::move(proc).error();
  auto map = proc->read_file_in_root("self/uid_map", 4096);
  if (!map) return std::move(map).error();
  const auto fields = split_fields(trim(*map));
  if (fields.size() != 3 || fields[0] != "0" || fields[1] != "0" || fields[2] != "4294967295") {
    return Error{Errc::denied, "xattrs trusted.overlay.* cannot be read from inside a user namespace"};
  }
  known_of = us;
  return Done{};
}

// trusted.* is silently not there for those without CAP_SYS_ADMIN in the first user namespace, xattr(7):
// every opaque directory would look like an ordinary one.
Status check_trusted_visible() {
  auto capabilities = sys::effective_capabilities();
  if (!capabilities) return std::move(capabilities).error();
  if ((*capabilities >> CAP_SYS_ADMIN & 1) == 0) {
    return Error{Errc::denied, "xattrs trusted.overlay.* need CAP_SYS_ADMIN"};
  }
  return in_first_user_namespace();
}

struct Opener {
  const Root& node;
  Stack::Use use;
  std::optional<Error> not_cloned;  // the first

  Result<Root> open(const std::string& path) {
    auto directory = node.descend_in_root(path);
    if (!directory || use == Stack::Use::names) return directory;
    auto clone = directory->clone_read_only();
    if (clone) return clone;
    // Denied, an old kernel, or a mount of another mount namespace (EINVAL, open_tree(2)): the directory
    // itself.
    if (!not_cloned) not_cloned = std::move(clone).error();
    return directory;
  }
};

}  // namespace

Result<Stack> Stack::open(const Options& options, const Root& node, const std::string& container, Task& task,
                          Use use) {
  if (options.upper.empty())
    return Error{Errc::unsupported, "overlay without upperdir: nothing can be written to it"};
  const auto upper_path = locate(options.upper, options);
  if (!upper_path) return Error(upper_path.error()).within("upperdir");
  Opener opener{node, use, std::nullopt};
  auto upper = opener.open(*upper_path);
  if (!upper) return std::move(upper).error().within("upperdir");
  Stack stack(*std::move(upper));
  stack.container_ = container;

  const auto open_all = [&](const std::vector<std::string>& layers,
                            std::vector<std::optional<Root>>& into) -> Status {
    for (const std::string& layer : layers) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto path = locate(layer, options);
      auto directory = path ? opener.open(*path) : Result<Root>(std::move(path).error());
      if (directory) {
        into.emplace_back(*std::move(directory));
      } else {
        into.emplace_back(std::nullopt);
        task.gaps.add({Impact::lost, "overlay.lower", layer, std::move(directory).error()});
      }
    }
    return Done{};
  };
  if (auto opened = open_all(options.lowers, stack.lowers_); !opened) return std::move(opened).error();
  if (auto opened = open_all(options.data_only, stack.data_only_); !opened) return std::move(opened).error();
  const std::size_t count = options.lowers.size();
  for (std::size_t i = count; i > 0; --i) {
    stack.layers_.push_back({container, static_cast<std::uint32_t>(count - i + 1), false,
                             Bytes(options.lowers[i - 1]), stack.lowers_[i - 1].has_value(), std::nullopt,
                             std::nullopt});
  }
  stack.layers_.push_back({container, static_cast<std::uint32_t>(count + 1), true, Bytes(options.upper), true,
                           std::nullopt, std::nullopt});

  if (opener.not_cloned) {
    task.gaps.add({Impact::degraded, "atime", options.upper,
                   std::move(*opener.not_cloned)
                       .within("layers are read in place, links may change their access time")});
  }
  stack.user_xattrs_ = options.has("userxattr");
  stack.fuse_ = options.fuse;
  stack.lower_owners_.resize(stack.lowers_.size());
  if (stack.fuse_) {
    // What it says by trusted.* it says by a file as well.
    const auto read_override = [](const Root& top) {
      const auto xattrs = read_xattrs(top.fd(), top.name());
      return xattrs ? find_override(*xattrs) : std::string();
    };
    stack.upper_owners_.override_xattr = read_override(stack.upper_);
    for (std::size_t i = 0; i < stack.lowers_.size(); ++i) {
      if (stack.lowers_[i]) stack.lower_owners_[i].override_xattr = read_override(*stack.lowers_[i]);
    }
  } else if (!stack.user_xattrs_) {
    if (auto visible = check_trusted_visible(); !visible) stack.unreadable_ = std::move(visible).error();
  }
  if (stack.unreadable_)
    task.gaps.add({Impact::degraded, "overlay.semantics", options.upper, *stack.unreadable_});
  return stack;
}

void Stack::set_origins(std::span<const Origin> origins) {
  for (std::size_t i = 0; i < origins.size() && i + 1 < layers_.size(); ++i) {
    layers_[i].digest = origins[i].digest;
    layers_[i].made_by = origins[i].made_by;
  }
}

std::vector<FileInfo> Stack::directories() const {
  std::vector<FileInfo> found;
  for (const auto& [number, info] : numbered_directories()) found.push_back(info);
  return found;
}

std::vector<std::pair<std::uint32_t, FileInfo>> Stack::numbered_directories() const {
  std::vector<std::pair<std::uint32_t, FileInfo>> found;
  const auto add = [&found](std::size_t number, const Root& directory) {
    if (auto info = directory.stat_beneath("")) found.emplace_back(static_cast<std::uint32_t>(number), *info);
  };
  const std::size_t count = lowers_.size();
  add(count + 1, upper_);
  for (std::size_t i = 0; i < count; ++i) {
    if (lowers_[i]) add(count - i, *lowers_[i]);
  }
  return found;
}

LowerLayers Stack::lower_layers() const {
  return {lowers_, data_only_, prefix(), unreadable_ ? &*unreadable_ : nullptr, lower_owners_};
}

std::string_view Stack::prefix() const {
  if (fuse_) return kFusePrefix;
  return user_xattrs_ ? kUserPrefix : kTrustedPrefix;
}

bool Stack::complete() const {
  const auto is_open = [](const std::optional<Root>& layer) { return layer.has_value(); };
  return std::ranges::all_of(lowers_, is_open) && std::ranges::all_of(data_only_, is_open);
}

void Stack::map_lower_owners(const IdMap& uids, const IdMap& gids) {
  for (Owners& owners : lower_owners_) {
    owners.uids = uids;
    owners.gids = gids;
  }
}

// Directories at the top that only the image has: what is mounted there, or lies in the UpperDir, has owners
// of its own.
std::optional<bool> Stack::shows_mapped_owners(const Root& merged, const IdMap& uids, const IdMap& gids,
                                               const Task& task) const {
  constexpr std::size_t kBlockBytes = 64 << 10;
  const auto top = merged.stat_beneath("");
  LowerView view(lower_layers());
  const auto names = view.list("", kBlockBytes);
  if (!top || !names) return std::nullopt;
  for (const std::string& name : names->names) {
    if (!task.check()) return std::nullopt;
    const LowerHit hit = view.lookup(name);
    if (hit.answer != LowerHit::Answer::found || !hit.info.is_directory()) continue;
    if (const auto upper = upper_.stat_beneath(name); upper || upper.error().code != Errc::not_found)
      continue;
    const auto shown = merged.stat_beneath(name);
    if (!shown || !shown->is_directory() || shown->device() != top->device()) continue;
    const bool as_on_disk = shown->uid == hit.info.uid && shown->gid == hit.info.gid;
    const bool mapped = shown->uid == uids.outside(hit.info.uid) && shown->gid == gids.outside(hit.info.gid);
    if (as_on_disk != mapped) return mapped;
  }
  return std::nullopt;
}

Result<Stack::Found> Stack::find_lower(std::string_view path) const {
  auto parts = components(path);
  if (!parts) return std::move(parts).error();
  LowerView view(lower_layers());
  LowerHit hit = view.root();
  for (std::size_t i = 0; i < parts->size(); ++i) {
    hit = view.lookup((*parts)[i]);
    if (hit.answer == LowerHit::Answer::unknown) return std::move(hit.why).within(path);
    const bool last = i + 1 == parts->size();
    if (!last && hit.answer == LowerHit::Answer::found && hit.info.is_symlink()) {
      return Error{Errc::outside, std::string(path) + ": a link on the way"};
    }
    if (hit.answer == LowerHit::Answer::absent || (!last && !hit.info.is_directory())) {
      return Error{Errc::not_found, std::string(path) + ": not in the lower layers"};
    }
    if (!last) view.enter((*parts)[i]);
  }
  if (hit.answer != LowerHit::Answer::found) return std::move(hit.why).within(path);
  return Found{hit.info, static_cast<std::uint32_t>(lowers_.size() - hit.lower),
               std::move(hit.metacopy ? hit.data : hit.pin)};
}

Result<UniqueFd> Stack::open_lower(const Found& found, std::string_view path) const {
  if (!found.info.is_regular()) return Error{Errc::unsupported, std::string(path) + ": not a regular file"};
  if (!found.pin)
    return Error{Errc::not_found, std::string(path) + ": the layers have no bytes for this metacopy"};
  return upper_.open_pinned(found.pin.get(), found.info, path);
}

}  // namespace ctriage::overlay
