#pragma once
// Bech32, BIP 173, as age writes its keys: any length, checksum of the first version.
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ctriage::bundle {

// "age" and 32 bytes give "age1...". All lower case.
std::string to_bech32(std::string_view prefix, std::span<const std::byte> bytes);
// The bytes of a text with that prefix (lower case; the text may be all upper case), or nothing.
std::optional<std::string> from_bech32(std::string_view prefix, std::string_view text);

}  // namespace ctriage::bundle
