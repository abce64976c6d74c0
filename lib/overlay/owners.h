#pragma once
// Owner and mode of a layer's inodes where they are not what the disk says: layers that were mounted through
// an id map, and fuse-overlayfs's notes. SEMANTICS.md, "Owners".
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"

namespace ctriage::overlay {

struct IdMap {  // /proc/PID/uid_map, user_namespaces(7); without ranges every id stays as it is
  struct Range {
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    std::uint32_t count = 0;
  };
  std::vector<Range> ranges;
  [[nodiscard]] bool changes_ids() const;
  // What `id` is outside; kNobody where the map has nothing for it.
  [[nodiscard]] std::uint32_t outside(std::uint32_t id) const;
};
constexpr std::uint32_t kNobody = 65'534;  // /proc/sys/kernel/overflowuid
Result<IdMap> parse_id_map(std::string_view text);

struct Owners {  // of one layer
  IdMap uids;
  IdMap gids;
  std::string override_xattr;  // what fuse-overlayfs keeps "uid:gid:mode" in; empty: nowhere
};
// The xattr that says so for a layer whose top directory has these; empty: none does.
std::string find_override(const std::vector<Xattr>& of_top);
void apply(const Owners& owners, const std::vector<Xattr>& xattrs, FileInfo& info);

}  // namespace ctriage::overlay
