#pragma once
// What `image deps` says: which files an image's programs load, and which packages those are of.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/content.h"
#include "lib/model/image.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct LoadedFile {
  Bytes path;
  Bytes needed_as;
  Bytes needed_by;
  std::optional<std::string> sha256;
  std::uint64_t size_bytes = 0;
  std::string package;
  std::string version;
  std::optional<std::string> missing;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "in the image, links followed; of a missing one empty");
    v("needed_as", self.needed_as,
      "DT_NEEDED, PT_INTERP or #! of who needs it; of a program what was asked for");
    v("needed_by", self.needed_by, "the first file that needs it; empty: a program");
    v("sha256", self.sha256, "of the file");
    v("size_bytes", self.size_bytes, "of the file");
    v("package", self.package, "whose it is; empty: no package of the image has a file of this name");
    v("version", self.version, "of the package");
    v("missing", self.missing, "why it is not known: the program would not start");
  }
};
template <>
inline constexpr std::string_view kKind<LoadedFile> = "loaded_file";

enum class PackageRole : std::uint8_t { loaded, dependency, never_loaded };
constexpr auto enum_names(PackageRole) {
  return std::array<std::string_view, 3>{"loaded", "dependency", "never_loaded"};
}

struct NeededPackage {
  PackageRole role = PackageRole::never_loaded;
  std::string manager;
  std::string name;
  std::string version;
  std::string architecture;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("role", self.role,
      "loaded: a file of it is; dependency: one of those needs it, by the words of the database; "
      "never_loaded: "
      "it is installed and neither");
    v("manager", self.manager, "dpkg, apk, rpm");
    v("name", self.name, "of the package");
    v("version", self.version, "of the package");
    v("architecture", self.architecture, "of the package");
  }
};
template <>
inline constexpr std::string_view kKind<NeededPackage> = "needed_package";

struct ImageDepsResult {
  ImageFacts image;
  std::vector<LoadedFile> files;
  std::vector<NeededPackage> packages;
  std::vector<std::string> not_installed;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("image", self.image, "what the image has");
    v("files", self.files, "programs and what they load, each behind the first that needs it");
    v("packages", self.packages, "all that are installed, in order of name");
    v("not_installed", self.not_installed,
      "what packages that are needed depend on and no installed package is called: another may provide it");
    v("gaps", self.gaps, "what could not be looked at");
  }
};
template <>
inline constexpr std::string_view kKind<ImageDepsResult> = "image_deps";

}  // namespace ctriage
