#pragma once
// Which package a name belongs to, for the hundred thousand names of an image: texts in one piece, entries of
// 16 bytes beside them. Private to lib/image.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/image/digest.h"

namespace ctriage::image {

constexpr std::size_t kMaxPackageFiles = 500'000;        // names of all packages of one image
constexpr std::size_t kMaxPackageNameBytes = 20 << 20;   // of these together
constexpr std::size_t kMaxPackageDigestBytes = 8 << 20;  // of their digests
constexpr std::size_t kMaxPackages = 20'000;

class FileTable {
 public:
  // `path` without its first '/'; `digest` raw, empty for none. Errc::limit when there is no room.
  Status add(std::string_view path, std::uint16_t package, Algorithm algorithm, std::string_view digest);
  // After the last one: then find and each. A name that a package has twice is kept once, with its digest.
  void finish();

  struct Hit {
    std::string_view path;
    std::uint16_t package = 0;
    Algorithm algorithm = Algorithm::none;
    std::string_view digest;  // raw
  };
  // Where several packages have it (directories), one with a digest, else the first.
  [[nodiscard]] std::optional<Hit> find(std::string_view path) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] Hit at(std::size_t index) const { return hit_of(entries_[index]); }  // in order of path

 private:
  struct Entry {
    std::uint32_t name = 0;
    std::uint32_t digest = 0;
    std::uint16_t name_bytes = 0;
    std::uint16_t package = 0;
    Algorithm algorithm = Algorithm::none;
  };
  [[nodiscard]] std::string_view path_of(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name, entry.name_bytes);
  }
  [[nodiscard]] Hit hit_of(const Entry& entry) const;

  std::string names_;
  std::string digests_;
  std::vector<Entry> entries_;
};

}  // namespace ctriage::image
