#pragma once
// What to rotate: every credential in reach of a container, or of one process of it. Values are looked at to
// tell what they are, and go nowhere.
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/credential.h"
#include "lib/model/snapshot.h"

namespace ctriage::views {

constexpr std::size_t kMaxCredentials = 20'000;
constexpr std::size_t kMaxFileLooked = 64 << 10;  // bytes of a file that are looked into

struct CredentialOptions {
  std::function<bool(std::string_view name)> is_secret_name;  // of a variable
  std::string container = {};                                 // this one alone
  std::optional<std::int32_t> pid = {};                       // what this process has or may read
};

struct FoundCredentials {
  std::vector<Credential> credentials;
  CredentialSearch search;
};

// Of the homes of the container's own view, of what changed, of tmpfs and volumes. What the image has
// elsewhere is not looked at.
Result<FoundCredentials> find_credentials(Snapshot& snapshot, const CredentialOptions& options, Task& task);

}  // namespace ctriage::views
