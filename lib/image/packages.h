#pragma once
// The packages of an image and which file is of which, by the databases that dpkg, apk and rpm keep in it.
// What was read is what the image says: a database is as good as the image it lies in.
//
//   dpkg  var/lib/dpkg/status         stanzas of "Field: value", deb-control(5), dpkg(1)
//         var/lib/dpkg/info/NAME.list, NAME.md5sums; diversions: three lines each
//         var/lib/dpkg/status.d/NAME  of distroless images: one stanza, beside it NAME.md5sums
//   apk   lib/apk/db/installed        stanzas of "X:value": P name, V version, F directory, R file in it,
//                                     Z its digest: "Q1" base64(SHA-1), "Q2" base64(SHA-256)
//   rpm   var/lib/rpm/rpmdb.sqlite or usr/lib/sysimage/rpm/rpmdb.sqlite: table Packages, a header each
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/task.h"
#include "lib/image/file_table.h"
#include "lib/image/files.h"
#include "lib/model/content.h"

namespace ctriage::image {

struct InstalledPackage {
  std::string manager;  // dpkg, apk, rpm
  std::string name;
  std::string version;
  std::string architecture;
  std::string depends;  // as the database has it: "libc6 (>= 2.34), libfoo | libbar"
};

constexpr std::size_t kMaxPackageTextBytes = 8 << 20;  // names, versions, dependencies of all packages

// Names that the image has in two ways: where /bin is a link to usr/bin, /bin/ls is /usr/bin/ls.
class Aliases {
 public:
  static Result<Aliases> read(Files& files, Task& task);
  // "usr/bin/ls" of "/bin/ls", "./bin/ls" and "bin/ls".
  [[nodiscard]] std::string plain(std::string_view path) const;

 private:
  std::vector<std::string> merged_;  // "bin/"
};

class Packages {
 public:
  // A database that cannot be read, or not all of it, is a gap ("image.packages", degraded); where there is
  // none, manager() is empty. An error only where the image's files cannot be looked at, or at a stop.
  static Result<Packages> read(Files& files, Task& task);

  [[nodiscard]] const std::string& manager() const { return manager_; }  // dpkg, apk, rpm; the first found
  [[nodiscard]] const std::vector<InstalledPackage>& all() const { return packages_; }
  // False: a name that is not found may be of a package all the same.
  [[nodiscard]] bool complete() const { return complete_; }

  // The package that has a file (or directory) of this name. `digest` is empty where the database has none:
  // directories, links, dpkg's configuration files. `fits` is the caller's: image::has_digest().
  [[nodiscard]] std::optional<PackageOwner> find_owner(std::string_view path) const;
  // The same as an index into all().
  [[nodiscard]] std::optional<std::size_t> find_package_of(std::string_view path) const;
  // Each name, in their order.
  using EachFile = std::function<Status(const std::string& path, const PackageOwner& owner)>;
  Status each_file(const EachFile& each) const;

  // For the readers of one database each.
  Result<std::uint16_t> add_package(InstalledPackage package);
  Status add_file(std::string_view path, std::uint16_t package, Algorithm algorithm, std::string_view digest);

 private:
  [[nodiscard]] PackageOwner owner_of(const FileTable::Hit& hit) const;
  Status read_all(Files& files, Task& task);

  std::string manager_;
  bool complete_ = true;
  Aliases aliases_;
  std::vector<InstalledPackage> packages_;
  std::size_t text_bytes_ = 0;
  FileTable files_;
};

}  // namespace ctriage::image
