#pragma once
// What a running container may do: lib/model/posture.h.
#include <optional>
#include <string_view>
#include <vector>

#include "lib/model/posture.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

// Whose a directory or file of the node is, by its path.
GrantKind kind_of_source(std::string_view source);
// What of the node is mounted at `mount`; nothing for the kernel's own and the container's.
std::optional<Grant> grant_of(const Mount& mount, const std::vector<Mount>& of_node);
// The readable parts of a token; nothing where it is not three parts of base64url, RFC 7515.
std::optional<TokenClaims> parse_token(std::string_view text);
// What cannot be read is a gap. `of_node`: the node's mount table.
Posture read_posture(const Node& node, const LiveContainer& live, const std::vector<Mount>& of_node,
                     Task& task);

}  // namespace ctriage::source
