#pragma once
// What can be told of credentials without their values.
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/values.h"

namespace ctriage::views {

struct Claims {  // of a service account token, RFC 7519
  std::string subject;
  std::string audience;  // with ", " between several
  std::optional<Timestamp> expires_at;
};
std::optional<Claims> parse_claims(std::string_view json);

// Of .docker/config.json and containers/auth.json: "registry (user)", with ", " between. The user is what
// stands before the ':' of its "auth". Nothing where it is no such document.
std::optional<std::string> parse_registries(std::string_view json);

// "server:" lines of a kubeconfig, YAML or JSON; nothing where there is none.
std::string find_servers(std::string_view text);

// A private key in PEM or OpenSSH form begins somewhere in it: RFC 7468.
bool has_private_key(std::string_view text);

}  // namespace ctriage::views
