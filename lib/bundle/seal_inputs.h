#pragma once
// Keys and lists of keys by the paths a person gave: read before the sandbox.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/age.h"
#include "lib/bundle/sshsig.h"

namespace ctriage::bundle {

enum class Secrecy : std::uint8_t { open, secret };  // secret: Errc::denied when others may read the file
// The content of a regular file of at most 4 MiB. Links are followed: the path is a person's.
Result<std::string> read_key_file(const std::string& path, Secrecy secrecy);

// --sign: a private key file, "agent", "agent:SHA256:..." or "agent:COMMENT". `agent_socket`: SSH_AUTH_SOCK.
Result<std::unique_ptr<Signer>> open_signer(const std::string& choice,
                                            const std::optional<std::string>& agent_socket);

// --encrypt-to: a recipient or a file of them, each. Twice the same is once.
Result<std::vector<AgeRecipient>> open_recipients(const std::vector<std::string>& given);

}  // namespace ctriage::bundle
