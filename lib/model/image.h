#pragma once
// What `image` says of the image that a container was made from.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/content.h"
#include "lib/model/file.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct ImagePackage {
  std::string manager;
  std::string name;
  std::string version;
  std::string architecture;
  std::string depends;
  std::uint64_t changed = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("manager", self.manager, "dpkg, apk, rpm");
    v("name", self.name, "of the package");
    v("version", self.version, "of the package");
    v("architecture", self.architecture, "of the package");
    v("depends", self.depends, "what it needs, in the words of its database");
    v("changed", self.changed, "of its files, how many the container has changed or deleted");
  }
};
template <>
inline constexpr std::string_view kKind<ImagePackage> = "image_package";

struct ChangedPackageFile {
  Bytes path;
  ChangeKind kind = ChangeKind::unknown;
  PackageOwner package;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "in the container");
    v("kind", self.kind, "what the container did to it");
    v("package", self.package, "whose it is; `fits`: the bytes there now are still the package's");
  }
};
template <>
inline constexpr std::string_view kKind<ChangedPackageFile> = "changed_package_file";

struct ImagePackagesResult {
  ImageFacts image;
  std::vector<ImagePackage> packages;
  std::vector<ChangedPackageFile> changed;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("image", self.image, "what the image has");
    v("packages", self.packages, "by its databases, in order of name");
    v("changed", self.changed, "files of packages that the container has changed or deleted");
    v("gaps", self.gaps, "what could not be looked at");
  }
};
template <>
inline constexpr std::string_view kKind<ImagePackagesResult> = "image_packages";

enum class LayerVerdict : std::uint8_t { verified, differs, not_verifiable };
constexpr auto enum_names(LayerVerdict) {
  return std::array<std::string_view, 3>{"verified", "differs", "not_verifiable"};
}

struct EntryDifference {
  Bytes path;
  std::vector<std::string> differs;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "in the layer");
    v("differs", self.differs,
      "content, size, mode, owner, type, target, link; missing: the directory does not have it; added: the "
      "layer's tar does not have it");
  }
};
template <>
inline constexpr std::string_view kKind<EntryDifference> = "entry_difference";

struct LayerCheck {  // one directory of the image store against what the layer was
  std::uint32_t number = 0;
  Bytes path;
  std::optional<std::string> digest;
  LayerVerdict verdict = LayerVerdict::not_verifiable;
  std::string by;
  std::string why;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::vector<EntryDifference> differences;
  std::uint64_t more_differences = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("number", self.number, "1 is the image's lowest");
    v("path", self.path, "of the layer's directory, as overlayfs was told");
    v("digest", self.digest, "its diff id: SHA-256 of its tar");
    v("verdict", self.verdict, "verified, differs, or not_verifiable: `why` says it");
    v("by", self.by,
      "digest: the tar made of the directory again has the diff id; entries: the layer's tar, which has the "
      "diff id, and the directory have the same entries");
    v("why", self.why, "why it could not be verified, or why it differs where that is in no entry");
    v("entries", self.entries, "of its tar that were compared");
    v("bytes", self.bytes, "of its tar");
    v("differences", self.differences, "the first hundred");
    v("more_differences", self.more_differences, "those beyond");
  }
};
template <>
inline constexpr std::string_view kKind<LayerCheck> = "layer_check";

struct PackageCheck {  // the image's files against the digests of its packages
  std::string manager;
  std::uint64_t compared = 0;
  std::uint64_t without_digest = 0;
  std::vector<ChangedPackageFile> differ;
  std::uint64_t missing = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("manager", self.manager, "dpkg, apk, rpm; empty: the image has no database");
    v("compared", self.compared, "files whose bytes were compared");
    v("without_digest", self.without_digest, "names that the database has no digest for");
    v("differ", self.differ, "files of the image whose bytes are not the package's");
    v("missing", self.missing, "files with a digest that the image does not have (left out, or deleted)");
  }
};
template <>
inline constexpr std::string_view kKind<PackageCheck> = "package_check";

struct ImageVerifyResult {
  std::string container;
  Bytes name;
  std::vector<LayerCheck> layers;
  std::optional<PackageCheck> packages;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("name", self.name, "of the image, as the engine recorded it");
    v("layers", self.layers, "of the image, the lowest first");
    v("packages", self.packages, "where a layer could not be verified: all files against their packages");
    v("gaps", self.gaps, "what could not be looked at");
  }
};
template <>
inline constexpr std::string_view kKind<ImageVerifyResult> = "image_verify";

}  // namespace ctriage
