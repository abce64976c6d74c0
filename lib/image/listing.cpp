#include "lib/image/listing.h"

#include <algorithm>
#include <map>

namespace ctriage::image {
namespace {

bool touches_file(const FileChange& change) {
  switch (change.kind) {
    case ChangeKind::content:
    case ChangeKind::deleted:
    case ChangeKind::type:
    case ChangeKind::metadata:
    case ChangeKind::added:  // an image that lost it in a layer above
      return true;
    default:
      return false;
  }
}

// Whether what the container has there now is the package's; nothing where it cannot be told.
std::optional<bool> fits(Snapshot& snapshot, const std::string& container, const std::string& path,
                         const std::string& digest, Task& task) {
  auto file = snapshot.open_file({container, "merged", path, false}, task);
  if (file && !file->bytes) return false;
  auto same = file ? has_digest(*file->bytes, digest) : Result<bool>(std::move(file).error());
  if (same) return *same;
  task.gaps.add({Impact::degraded, "image.packages", path, std::move(same).error()});
  return std::nullopt;
}

}  // namespace

std::vector<ImagePackage> list_packages(const Packages& packages) {
  std::vector<ImagePackage> listed;
  for (const InstalledPackage& package : packages.all()) {
    ImagePackage one;
    one.manager = package.manager;
    one.name = package.name;
    one.version = package.version;
    one.architecture = package.architecture;
    one.depends = package.depends;
    listed.push_back(std::move(one));
  }
  std::ranges::stable_sort(listed, {}, &ImagePackage::name);
  return listed;
}

Status list_changed(Snapshot& snapshot, const std::string& container, const Packages& packages,
                    ImagePackagesResult& into, Task& task) {
  auto listed = snapshot.list_changes(
      container,
      [&](FileChange&& change) -> Status {
        if (!touches_file(change)) return Done{};
        const FileState* state = change.before ? &*change.before : change.after ? &*change.after : nullptr;
        if (state != nullptr && state->type == FileType::directory) return Done{};
        auto owner = packages.find_owner(change.path.view());
        if (!owner) return Done{};
        if (into.changed.size() >= kMaxChangedPackageFiles)
          return Error{Errc::limit, "more changed files of packages than are listed"};
        into.changed.push_back({change.path, change.kind, *std::move(owner)});
        return Done{};
      },
      task);
  if (!listed && listed.error().code != Errc::limit) return listed;
  if (!listed) task.gaps.add({Impact::degraded, "image.packages", container, listed.error()});
  std::map<std::pair<std::string, std::string>, std::uint64_t> counts;
  for (ChangedPackageFile& file : into.changed) {
    ++counts[{file.package.name, file.package.version}];
    if (file.kind == ChangeKind::deleted)
      file.package.fits = false;
    else if (!file.package.digest.empty())
      file.package.fits = fits(snapshot, container, file.path.raw, file.package.digest, task);
  }
  for (ImagePackage& package : into.packages) {
    const auto count = counts.find({package.name, package.version});
    if (count != counts.end()) package.changed = count->second;
  }
  return Done{};
}

Result<PackageCheck> check_packages(Files& files, const Packages& packages, Task& task) {
  PackageCheck check;
  check.manager = packages.manager();
  auto looked = packages.each_file([&](const std::string& path, const PackageOwner& owner) -> Status {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (owner.digest.empty()) {
      ++check.without_digest;
      return Done{};
    }
    auto file = files.open(path, task);
    if (!file && file.error().is_gone()) {
      ++check.missing;
      return Done{};
    }
    auto same = !file         ? Result<bool>(std::move(file).error())
                : file->bytes ? has_digest(*file->bytes, owner.digest)
                              : Result<bool>(false);
    if (!same) {
      task.gaps.add({Impact::degraded, "image.packages", path, std::move(same).error()});
      return Done{};
    }
    ++check.compared;
    if (*same) return Done{};
    if (check.differ.size() >= kMaxChangedPackageFiles)
      return Error{Errc::limit, "more changed files of packages than are listed"};
    ChangedPackageFile differs{Bytes(path), ChangeKind::content, owner};
    differs.package.fits = false;
    check.differ.push_back(std::move(differs));
    return Done{};
  });
  if (!looked) return std::move(looked).error();
  return check;
}

}  // namespace ctriage::image
