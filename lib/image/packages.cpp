#include "lib/image/packages.h"

#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/image/readers.h"

namespace ctriage::image {

std::string_view name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

Result<std::string> read_text(Files& files, const std::string& path, std::size_t most, Task& task) {
  auto file = files.open(path, task);
  if (!file) return std::move(file).error();
  if (!file->bytes) return Error{Errc::unsupported, path + ": not a regular file"};
  auto text = read_all(*file->bytes, most);
  if (!text) return std::move(text).error().within(path);
  return text;
}

// bin -> usr/bin, or /usr/bin: file-hierarchy(7), Debian's usrmerge.
Result<Aliases> Aliases::read(Files& files, Task& task) {
  Aliases aliases;
  auto listed = files.list(
      "/",
      [&](FileEntry&& entry) -> Status {
        if (!entry.file.link_target) return Done{};
        const std::string_view name = name_of(entry.path.view());
        std::string_view target = entry.file.link_target->view();
        while (target.starts_with('/')) target.remove_prefix(1);
        if (target.starts_with("usr/") && target.substr(4) == name)
          aliases.merged_.push_back(std::string(name) + "/");
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error();
  return aliases;
}

std::string Aliases::plain(std::string_view path) const {
  while (path.starts_with('/') || path.starts_with("./")) path.remove_prefix(path.front() == '/' ? 1 : 2);
  while (path.ends_with('/')) path.remove_suffix(1);
  for (const std::string& top : merged_)
    if (path.starts_with(top)) return "usr/" + std::string(path);
  return std::string(path);
}

Result<std::uint16_t> Packages::add_package(InstalledPackage package) {
  const std::size_t bytes =
      package.name.size() + package.version.size() + package.architecture.size() + package.depends.size();
  if (packages_.size() >= kMaxPackages || bytes > kMaxPackageTextBytes - text_bytes_)
    return Error{Errc::limit, "more packages than are kept"};
  text_bytes_ += bytes;
  packages_.push_back(std::move(package));
  return static_cast<std::uint16_t>(packages_.size() - 1);
}

Status Packages::add_file(std::string_view path, std::uint16_t package, Algorithm algorithm,
                          std::string_view digest) {
  return files_.add(aliases_.plain(path), package, algorithm, digest);
}

PackageOwner Packages::owner_of(const FileTable::Hit& hit) const {
  const InstalledPackage& package = packages_[hit.package];
  PackageOwner owner;
  owner.manager = package.manager;
  owner.name = package.name;
  owner.version = package.version;
  if (hit.algorithm != Algorithm::none) {
    owner.digest = std::string(to_text(hit.algorithm)) + ":" +
                   to_hex(std::as_bytes(std::span(hit.digest.data(), hit.digest.size())));
  }
  return owner;
}

std::optional<PackageOwner> Packages::find_owner(std::string_view path) const {
  const auto hit = files_.find(aliases_.plain(path));
  if (!hit) return std::nullopt;
  return owner_of(*hit);
}

std::optional<std::size_t> Packages::find_package_of(std::string_view path) const {
  const auto hit = files_.find(aliases_.plain(path));
  if (!hit) return std::nullopt;
  return hit->package;
}

Status Packages::each_file(const EachFile& each) const {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const FileTable::Hit hit = files_.at(i);
    if (auto status = each("/" + std::string(hit.path), owner_of(hit)); !status) return status;
  }
  return Done{};
}

Status Packages::read_all(Files& files, Task& task) {
  struct Reader {
    const char* manager;
    Result<bool> (*read)(Files&, Packages&, Task&);
  };
  constexpr std::array<Reader, 3> kReaders{{{"dpkg", read_dpkg}, {"apk", read_apk}, {"rpm", read_rpm}}};
  for (const Reader& reader : kReaders) {
    const auto found = reader.read(files, *this, task);
    if (auto go_on = task.check(); !go_on) return go_on;
    if (manager_.empty() && (!found || *found)) manager_ = reader.manager;
    if (found) continue;
    complete_ = false;
    task.gaps.add({Impact::degraded, "image.packages", reader.manager, found.error()});
  }
  files_.finish();
  return Done{};
}

Result<Packages> Packages::read(Files& files, Task& task) {
  auto aliases = Aliases::read(files, task);
  if (!aliases) return std::move(aliases).error();
  Packages packages;
  packages.aliases_ = *std::move(aliases);
  if (auto read = packages.read_all(files, task); !read) return std::move(read).error();
  return packages;
}

}  // namespace ctriage::image
