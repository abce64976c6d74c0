#pragma once
// The digests that package databases record: MD5 (dpkg), SHA-1 (apk), SHA-256 (rpm, apk). They tell whether a
// file is the package's; against an attacker who can make collisions MD5 and SHA-1 prove little.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/stream.h"

namespace ctriage::image {

enum class Algorithm : std::uint8_t { none, md5, sha1, sha256, sha512 };
std::string_view to_text(Algorithm algorithm);
std::size_t digest_bytes(Algorithm algorithm);

// Raw bytes of hexadecimal digits, lower or upper case; empty for what is none of that length.
std::string parse_hex(std::string_view hex, Algorithm algorithm);

// The hexadecimal digest of all that the source gives. Errc::unsupported where OpenSSL does not have it.
Result<std::string> hash_all(ByteSource& in, Algorithm algorithm);

// Whether the bytes are those of "sha256:HEX". Errc::malformed for what is no such digest.
Result<bool> has_digest(ByteSource& in, std::string_view digest);

}  // namespace ctriage::image
