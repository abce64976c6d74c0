// What a changed file is, whose it is, and whether it needs a look.
#include <algorithm>
#include <array>

#include "lib/elf/content.h"
#include "lib/image/digest.h"
#include "lib/model/change_bytes.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";  // of layers as tar: overlayfs does not know it
constexpr std::string_view kCapabilityXattr = "security.capability";
const Bytes* capability_of(const std::optional<FileState>& state) {
  if (!state) return nullptr;
  const auto at =
      std::ranges::find(state->xattrs, kCapabilityXattr, [](const XattrRecord& x) { return x.name.view(); });
  return at == state->xattrs.end() ? nullptr : &at->value;
}

// A name that is made not to be seen: blanks at its ends, control characters, dots alone.
bool is_odd_name(std::string_view name) {
  if (name.empty()) return false;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  return name.front() == ' ' || name.back() == ' ' || std::ranges::any_of(name, is_control) ||
         name.find_first_not_of('.') == name.npos;
}

bool is_code(const Content& content) {
  switch (content.kind) {
    case ContentKind::elf_program:
    case ContentKind::elf_library:
    case ContentKind::elf_module:
    case ContentKind::script:
      return true;
    default:
      return false;
  }
}

bool is_package_database(std::string_view path) {
  return path.starts_with("/var/lib/dpkg/") || path.starts_with("/lib/apk/db/") ||
         path.starts_with("/usr/lib/apk/db/") || path.starts_with("/var/lib/rpm/") ||
         path.starts_with("/usr/lib/sysimage/rpm/");
}

// Only what may be code is opened: of 20,000 changed files most are not.
bool may_be_code(const FileChange& change) {
  if (change.program) return true;
  constexpr std::array<std::string_view, 8> kEnds{".so",     ".ko",  ".ko.xz", ".ko.gz",
                                                  ".ko.zst", ".jar", ".war",   ".core"};
  const std::string_view name = base_name(change.path.view());
  return name == "core" || name.starts_with("core.") || name.find(".so.") != name.npos ||
         std::ranges::any_of(kEnds, [name](std::string_view end) { return name.ends_with(end); });
}

}  // namespace

void ChangeLook::look_at_bytes(FileChange& change, Seen& seen, Task& task) {
  const std::string_view name = base_name(change.path.view());
  auto opened = scene_.snapshot.open_file({scene_.container.id, "upper", change.path.raw, false}, task);
  Result<Content> content = Error{Errc::unsupported, "no bytes"};
  if (opened && opened->bytes) content = elf::read_content(*opened->bytes, name);
  if (!content && opened && opened->bytes) {
    task.gaps.add({Impact::degraded, "file.content", change.path.raw, content.error()});
  }
  if (!content) {  // told by the walk, which saw its first bytes
    if (change.program) seen.traits.emplace_back(change.before ? "code_replaced" : "code_added");
    return;
  }
  if (is_code(*content)) {
    seen.traits.emplace_back(change.before ? "code_replaced" : "code_added");
    if (name.starts_with('.')) seen.traits.emplace_back("hidden_code");
    if (content->packed) seen.traits.emplace_back("packed");
  }
  change.content = *std::move(content);
}

void ChangeLook::look_at_package(FileChange& change, Seen& seen, Task& task) {
  if (change.kind == ChangeKind::deleted) return;
  std::string path = change.path.raw;
  const bool link = change.after && change.after->type == FileType::symlink;
  const std::string layer = link && scene_.image ? "merged" : "upper";
  const auto fits = [&](const PackageOwner& owner) -> std::optional<bool> {
    if (owner.digest.empty()) return std::nullopt;
    auto opened = scene_.snapshot.open_file({scene_.container.id, layer, path, false}, task);
    if (!opened || !opened->bytes) return std::nullopt;
    const auto same = image::has_digest(*opened->bytes, owner.digest);
    return same ? std::optional(*same) : std::nullopt;
  };
  if (link) {      // of a service or a certificate: what it leads to is the package's
    GapLog aside;  // it may lead nowhere
    Task looking = task.with(aside);
    const auto opened = scene_.snapshot.open_file({scene_.container.id, layer, path, true}, looking);
    if (!opened) return;
    path = opened->entry.path.raw;
  } else if (change.before) {
    auto owner = book_.find_in_image(path, task);
    if (owner) owner->fits = fits(*owner);
    if (owner && owner->fits == false) seen.traits.emplace_back("package_differs");
    change.package = std::move(owner);
  }
  auto owner = book_.find_installed(path, task);
  if (!owner) return;
  owner->fits = fits(*owner);
  if (owner->fits != true) return;
  std::erase(seen.traits, "package_differs");
  seen.traits.emplace_back("package_installed");
  change.package = std::move(owner);
}

Seen ChangeLook::look_at(FileChange& change, Task& task) {
  Seen seen;
  const std::string_view path = change.path.view();
  const std::string_view name = base_name(path);
  seen.place = scene_.known.place_of(path);
  seen.cache = scene_.known.reason_of(path);
  if (const auto tool = scene_.known.find_tool(path)) {
    change.tool = tool->name;
    seen.tool_group = tool->group;
  }
  const bool quiet = change.kind == ChangeKind::runtime_stub || change.kind == ChangeKind::unchanged;
  const bool there = change.after.has_value() && !quiet && change.kind != ChangeKind::deleted;
  if (there && has_new_bytes(change) && change.after->type != FileType::directory)
    seen.traits.emplace_back("new_bytes");
  if (there && change.after->type == FileType::regular) {
    const bool code = has_new_bytes(change) && may_be_code(change);
    if (code) look_at_bytes(change, seen, task);
    if (code || (has_new_bytes(change) && !seen.place.empty())) look_at_package(change, seen, task);
    if (seen.place == "accounts") look_at_accounts(change, scene_, seen, task);
    if (is_package_database(path) && book_.is_believed(path, task))
      seen.traits.emplace_back("database_believed");
    const Bytes* capability = capability_of(change.after);
    const Bytes* before = capability_of(change.before);
    if (capability != nullptr && (before == nullptr || *before != *capability))
      seen.traits.emplace_back("capabilities_added");
  }
  if (there && change.after->type == FileType::symlink && !seen.place.empty())
    look_at_package(change, seen, task);
  if (seen.place == "accounts" && book_.has_installed(task)) seen.traits.emplace_back("packages_installed");
  if (there && (change.kind == ChangeKind::added || is_untold(change))) {
    if (name.starts_with(kWhiteoutPrefix)) seen.traits.emplace_back("whiteout_name");
    if (is_odd_name(name)) seen.traits.emplace_back("odd_name");
    const FileType type = change.after->type;
    if (type == FileType::character || type == FileType::block) seen.traits.emplace_back("device_added");
    if (type == FileType::symlink && change.after->link_target &&
        scene_.known.is_multicall(change.after->link_target->view()))
      seen.traits.emplace_back("applet_added");
  }
  if (change.kind == ChangeKind::deleted) seen.traits.emplace_back("deleted");

  if (change.explained) return seen;
  const bool code = std::ranges::find(seen.traits, "code_added") != seen.traits.end() ||
                    std::ranges::find(seen.traits, "code_replaced") != seen.traits.end();
  const bool directory = change.after && change.after->type == FileType::directory;
  if (change.kind == ChangeKind::unchanged) {
    change.explained = "copied up, nothing differs";
  } else if (directory && change.kind == ChangeKind::metadata &&
             change.differs == std::vector<std::string>{"mtime"}) {
    change.explained = "directory of a change";
  } else if (std::ranges::find(seen.traits, "package_installed") != seen.traits.end()) {
    change.explained = "installed by " + change.package->manager;
  } else if (!seen.cache.empty() && !code) {
    change.explained = seen.cache;
  }
  return seen;
}

}  // namespace ctriage::verdict
