#include "lib/overlay/owners.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/core/text.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kMaxRanges = 340;  // of one map, user_namespaces(7)

// fuse-overlayfs's, the first also of what was made by root; the last is containers/storage's.
constexpr std::array<std::string_view, 3> kOverrides{"security.fuseoverlayfs.override_stat",
                                                     "user.fuseoverlayfs.override_stat",
                                                     "user.containers.override_stat"};

std::optional<std::uint32_t> parse_octal(std::string_view text) {
  std::uint32_t value = 0;
  if (text.empty() || text.size() > 7) return std::nullopt;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<std::uint32_t>(c - '0');
  }
  return value;
}

}  // namespace

bool IdMap::changes_ids() const {
  return std::ranges::any_of(ranges, [](const Range& range) { return range.inside != range.outside; });
}

std::uint32_t IdMap::outside(std::uint32_t id) const {
  if (ranges.empty()) return id;
  for (const Range& range : ranges) {
    if (id >= range.inside && id - range.inside < range.count) return range.outside + (id - range.inside);
  }
  return kNobody;
}

Result<IdMap> parse_id_map(std::string_view text) {
  IdMap map;
  for (const std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    const auto fields = split_fields(line);
    if (fields.size() != 3 || map.ranges.size() >= kMaxRanges)
      return Error{Errc::malformed, "id map: not three numbers, or too many lines"};
    const auto inside = parse_number<std::uint32_t>(fields[0]);
    const auto outside = parse_number<std::uint32_t>(fields[1]);
    const auto count = parse_number<std::uint32_t>(fields[2]);
    if (!inside || !outside || !count) return Error{Errc::malformed, "id map: not three numbers"};
    map.ranges.push_back({*inside, *outside, *count});
  }
  return map;
}

std::string find_override(const std::vector<Xattr>& of_top) {
  for (const std::string_view name : kOverrides) {
    if (std::ranges::any_of(of_top, [&](const Xattr& xattr) { return xattr.name == name; }))
      return std::string(name);
  }
  return {};
}

void apply(const Owners& owners, const std::vector<Xattr>& xattrs, FileInfo& info) {
  info.uid = owners.uids.outside(info.uid);
  info.gid = owners.gids.outside(info.gid);
  if (owners.override_xattr.empty()) return;
  const auto said = std::ranges::find(xattrs, owners.override_xattr, &Xattr::name);
  if (said == xattrs.end()) return;
  const auto parts = split(said->value, ':');  // a fourth one is the type
  if (parts.size() < 3) return;
  const auto uid = parse_number<std::uint32_t>(parts[0]);
  const auto gid = parse_number<std::uint32_t>(parts[1]);
  const auto mode = parse_octal(parts[2]);
  if (!uid || !gid || !mode) return;
  info.uid = *uid;
  info.gid = *gid;
  info.mode = (info.mode & ~07777U) | (*mode & 07777U);
}

}  // namespace ctriage::overlay
