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
constexpr std::array kPackageDatabases{"/var/lib/dpkg/status", "/lib/apk/db/installed",
                                       "/usr/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite",
                                       "/usr/lib/sysimage/rpm/rpmdb.sqlite"};

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

// Only what may be code is opened: of 20,000 changed files most are not.
bool may_be_code(const FileChange& change) {
  if (change.program) return true;
  constexpr std::array<std::string_view, 8> kEnds{".so",     ".ko",  ".ko.xz", ".ko.gz",
                                                  ".ko.zst", ".jar", ".war",   ".core"};
  const std::string_view name = base_name(change.path.view());
  return name == "core" || name.starts_with("core.") || name.find(".so.") != name.npos ||
         std::ranges::any_of(kEnds, [name](std::string_view end) { return name.ends_with(end); });
}

class NowFiles final : public image::Files {  // what the container sees now
 public:
  NowFiles(Snapshot& snapshot, std::string container)
      : snapshot_(snapshot), container_(std::move(container)) {}
  Result<OpenedFile> open(const std::string& path, Task& task) override {
    return snapshot_.open_file({container_, "merged", path, true}, task);
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task& task) override {
    return snapshot_.list_files({container_, "merged", directory, true}, emit, task);
  }

 private:
  Snapshot& snapshot_;
  std::string container_;
};

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

const image::Packages* ChangeLook::packages(const char* layer, std::optional<image::Packages>& kept,
                                            bool& tried, Task& task) {
  if (std::exchange(tried, true)) return kept ? &*kept : nullptr;
  Result<image::Packages> read = Error{Errc::unsupported, "not read"};
  if (std::string_view(layer) == "image") {
    image::ContainerFiles files(scene_.snapshot, scene_.container.id);
    read = image::Packages::read(files, task);
  } else {
    NowFiles files(scene_.snapshot, scene_.container.id);
    read = image::Packages::read(files, task);
  }
  if (read && !read->manager().empty()) kept = *std::move(read);
  return kept ? &*kept : nullptr;
}

void ChangeLook::look_at_package(FileChange& change, Seen& seen, Task& task) {
  if (!scene_.image) return;  // its files cannot be looked at
  const auto fits = [&](const PackageOwner& owner) -> std::optional<bool> {
    if (owner.digest.empty()) return std::nullopt;
    auto opened = scene_.snapshot.open_file({scene_.container.id, "upper", change.path.raw, false}, task);
    if (!opened || !opened->bytes) return std::nullopt;
    const auto same = image::has_digest(*opened->bytes, owner.digest);
    return same ? std::optional(*same) : std::nullopt;
  };
  if (change.before) {
    const image::Packages* of_image = packages("image", of_image_, image_tried_, task);
    auto owner = of_image == nullptr ? std::nullopt : of_image->find_owner(change.path.view());
    if (owner && change.kind != ChangeKind::deleted) {
      owner->fits = fits(*owner);
      if (owner->fits == false) seen.traits.emplace_back("package_differs");
    }
    change.package = std::move(owner);
  }
  // What a package manager put there since is told by its database of now, where that has changed at all.
  const auto changed = [&](const char* path) {
    GapLog aside;
    Task looking = task.with(aside);
    const auto opened = scene_.snapshot.open_file({scene_.container.id, "upper", path, true}, looking);
    return opened && !opened->entry.gone;
  };
  if (!now_tried_ && std::ranges::none_of(kPackageDatabases, changed)) now_tried_ = true;
  // A database of a manager that the image has not is nobody's but the one's who wrote it.
  const image::Packages* managed = packages("image", of_image_, image_tried_, task);
  const image::Packages* of_now = packages("merged", of_now_, now_tried_, task);
  auto owner = of_now == nullptr ? std::nullopt : of_now->find_owner(change.path.view());
  if (!owner || managed == nullptr || owner->manager != managed->manager() ||
      change.kind == ChangeKind::deleted)
    return;
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
  if (there && has_new_bytes(change)) seen.traits.emplace_back("new_bytes");
  if (there && change.after->type == FileType::regular) {
    if (has_new_bytes(change) && may_be_code(change)) {
      look_at_bytes(change, seen, task);
      look_at_package(change, seen, task);
    }
    const Bytes* capability = capability_of(change.after);
    const Bytes* before = capability_of(change.before);
    if (capability != nullptr && (before == nullptr || *before != *capability))
      seen.traits.emplace_back("capabilities_added");
  }
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
