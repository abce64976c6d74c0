#pragma once
// A credential in reach of a container. What it is called and how long it is good for; never its value.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class CredentialKind : std::uint8_t {
  environment,
  identity,
  token,
  secret,
  registry,
  kubeconfig,
  key,
  file,
  metadata
};
constexpr auto enum_names(CredentialKind) {
  return std::array<std::string_view, 9>{"environment", "identity", "token", "secret",  "registry",
                                         "kubeconfig",  "key",      "file",  "metadata"};
}

struct Credential {
  CredentialKind kind = CredentialKind::environment;
  std::string container;
  Bytes name;
  Bytes detail;
  std::optional<Timestamp> expires_at;
  std::vector<std::int32_t> pids;
  bool readers_known = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind,
      "environment: a variable whose name looks so; identity: a role of the cloud; token: of a service "
      "account; "
      "secret: a mount that the kubelet fills; registry, kubeconfig: their configuration; key: a private "
      "key; "
      "file: another place where tools keep credentials; metadata: the cloud's service");
    v("container", self.container, "container id");
    v("name", self.name, "of the variable, or the path in the container");
    v("detail", self.detail, "what is no secret: subject, audience, servers, user names, where it is from");
    v("expires_at", self.expires_at, "of a token; absent: not told, so it does not end by itself");
    v("pids", self.pids, "processes that have it or may read it, by uid and mode");
    v("readers_known", self.readers_known, "pids are all of them, as far as uid and mode tell");
  }
};
template <>
inline constexpr std::string_view kKind<Credential> = "credential";

struct CredentialSearch {  // what was looked at for them
  std::uint64_t containers = 0;
  std::uint64_t processes = 0;
  std::uint64_t variables = 0;
  std::uint64_t changed_files = 0;
  std::uint64_t tree_files = 0;
  std::uint64_t homes = 0;
  std::uint64_t files_read = 0;
  std::uint64_t mounted = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("containers", self.containers, "that were looked at");
    v("processes", self.processes, "whose environment was");
    v("variables", self.variables, "of processes and of specifications");
    v("changed_files", self.changed_files, "of the root file systems, by name");
    v("tree_files", self.tree_files, "of tmpfs and volumes, by name");
    v("homes", self.homes, "directories of users that could be listed");
    v("files_read", self.files_read, "of all of them, for what is in them");
    v("mounted", self.mounted, "secrets and tokens that the kubelet mounts");
  }
};
template <>
inline constexpr std::string_view kKind<CredentialSearch> = "credential_search";

}  // namespace ctriage
