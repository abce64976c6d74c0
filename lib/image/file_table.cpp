#include "lib/image/file_table.h"

#include <algorithm>
#include <tuple>

#include "lib/core/limits.h"

namespace ctriage::image {

Status FileTable::add(std::string_view path, std::uint16_t package, Algorithm algorithm,
                      std::string_view digest) {
  if (path.empty() || path.size() > kMaxMemberNameBytes) return Done{};  // no file can have that name
  if (entries_.size() >= kMaxPackageFiles || path.size() > kMaxPackageNameBytes - names_.size() ||
      digest.size() > kMaxPackageDigestBytes - digests_.size())
    return Error{Errc::limit, "the packages have more names than are kept"};
  Entry entry;
  entry.name = static_cast<std::uint32_t>(names_.size());
  entry.name_bytes = static_cast<std::uint16_t>(path.size());
  entry.package = package;
  names_ += path;
  if (!digest.empty() && digest.size() == digest_bytes(algorithm)) {
    entry.algorithm = algorithm;
    entry.digest = static_cast<std::uint32_t>(digests_.size());
    digests_ += digest;
  }
  entries_.push_back(entry);
  return Done{};
}

void FileTable::finish() {
  std::ranges::sort(entries_, [&](const Entry& a, const Entry& b) {
    const int order = path_of(a).compare(path_of(b));
    if (order != 0) return order < 0;
    const bool none_a = a.algorithm == Algorithm::none;
    const bool none_b = b.algorithm == Algorithm::none;
    return std::tuple(none_a, a.package, a.name) < std::tuple(none_b, b.package, b.name);
  });
  // The package's entry with a digest stands before that without, perhaps with another package's between.
  std::size_t kept = 0;
  std::size_t first_of_name = 0;
  for (const Entry& entry : entries_) {
    if (kept == 0 || path_of(entries_[first_of_name]) != path_of(entry)) first_of_name = kept;
    const auto same = std::span(entries_).subspan(first_of_name, kept - first_of_name);
    if (same.size() < 16 &&
        std::ranges::any_of(same, [&](const Entry& e) { return e.package == entry.package; }))
      continue;
    entries_[kept++] = Entry(entry);
  }
  entries_.resize(kept);
  entries_.shrink_to_fit();
}

FileTable::Hit FileTable::hit_of(const Entry& entry) const {
  return {path_of(entry), entry.package, entry.algorithm,
          std::string_view(digests_).substr(entry.digest, digest_bytes(entry.algorithm))};
}

std::optional<FileTable::Hit> FileTable::find(std::string_view path) const {
  const auto found = std::ranges::lower_bound(entries_, path, {}, [&](const Entry& e) { return path_of(e); });
  if (found == entries_.end() || path_of(*found) != path) return std::nullopt;
  return hit_of(*found);
}

}  // namespace ctriage::image
