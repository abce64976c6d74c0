#pragma once
// JSON that is not ours (an OCI spec, a rule file, a manifest) as a document, within limits. The result is a
// nlohmann type, so only *_json.cpp files can do something with it.
//
// Duplicate keys: the last one wins, as Go's encoding/json does. Whole numbers are exact over 64 bits;
// anything larger becomes a floating point number, which no reader of integers here accepts. Text that is not
// UTF-8 is malformed.
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "lib/core/limits.h"
#include "lib/core/result.h"

namespace ctriage {

struct JsonLimits {
  std::size_t bytes = kMaxJsonBytes;
  std::size_t depth = kMaxJsonDepth;
  std::size_t elements = 250'000;  // values in all; a node of an object costs about 100 bytes
};

// Exactly one JSON value with blanks around it. Errc::limit, malformed (with the byte where it stops being
// JSON).
Result<nlohmann::json> parse_limited(std::string_view text, const JsonLimits& limits = {});

}  // namespace ctriage
