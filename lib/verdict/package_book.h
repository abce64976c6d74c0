#pragma once
// Which files a package manager put into a container since its start. Its database of now says so, and who
// can write a program can write that database: an entry is believed only where the rest fits it.
//
//   all   the image has not this package in this version: then its own entry counts, and no other
//   dpkg  dpkg.log, in the UpperDir, says since the container was made that the package was unpacked or
//   installed apk   database, scripts and triggers were written within a minute, as apk does it at the end of
//   each run rpm   nothing more: the entry is a header of the whole package
//
// Who forges all of that, too, is believed.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "lib/image/packages.h"
#include "lib/model/file.h"

namespace ctriage::verdict {

struct Scene;

constexpr std::size_t kMaxLogEntries = 50'000;     // of dpkg.log, packages
constexpr std::uint64_t kMaxLogBytes = 64U << 20;  // the end of a longer one is not read
constexpr std::size_t kMaxConfigurationFiles = 50'000;

class PackageBook {
 public:
  explicit PackageBook(Scene& scene) : scene_(scene) {}

  // The package that the image has for a file of this name.
  std::optional<PackageOwner> find_in_image(std::string_view path, Task& task);
  // The package that has this name now, was installed since and is believed; `digest` of a configuration file
  // is filled in, too. Nothing where the database has not changed.
  std::optional<PackageOwner> find_installed(std::string_view path, Task& task);
  // A change of a file of the database (status, installed, info/NAME.list ...) is what the manager would do.
  bool is_believed(std::string_view database_file, Task& task);
  // Something was installed since, and all of it is believed.
  bool has_installed(Task& task);

 private:
  using Version = std::pair<std::string, std::string>;  // name, version
  const image::Packages* of_image(Task& task);
  const image::Packages* of_now(Task& task);
  bool believes(const std::string& name, const std::string& version, Task& task);
  bool is_logged(const Version& version, Task& task);
  bool apk_has_run(Task& task);
  void read_log(const char* path, Task& task);
  void read_configuration_digests(Task& task);
  [[nodiscard]] const char* layer_of_now() const;

  Scene& scene_;
  std::optional<image::Packages> image_;
  std::optional<image::Packages> now_;
  std::set<Version> in_image_;
  std::optional<std::set<Version>> logged_;
  std::optional<std::map<std::string, std::string, std::less<>>> configuration_;  // path -> "md5:HEX"
  std::optional<bool> apk_;
  bool image_tried_ = false;
  bool now_tried_ = false;
};

}  // namespace ctriage::verdict
