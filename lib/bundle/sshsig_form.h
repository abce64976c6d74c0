#pragma once
// What signers of both kinds, a file's and an agent's, make a signature of. sshsig.cpp has the form.
#include <string>
#include <string_view>

#include "lib/bundle/sshsig.h"

namespace ctriage::bundle {

// What the key signs for a message with that hash.
std::string seal_text(const Digest512& message);
// Armored, of the wire form of the key's signature; checked against the message first.
Result<std::string> finish_signature(std::string_view blob, std::string_view signature,
                                     const Digest512& message);

}  // namespace ctriage::bundle
