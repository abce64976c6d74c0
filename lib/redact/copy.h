#pragma once
// A redacted copy of a bundle: REDACTION.md here.
#include <cstdint>

#include "lib/bundle/reader.h"
#include "lib/bundle/writer.h"
#include "lib/core/hash.h"
#include "lib/core/task.h"

namespace ctriage::redact {

struct Copied {
  bundle::Sealed sealed;
  std::uint64_t values = 0;    // different ones that were hidden
  std::uint64_t hidden = 0;    // places where they stood
  std::uint64_t left_out = 0;  // streams
};

// `parent`: a whole bundle, `digest` of its manifest.json. Reads it twice, and seals `out`.
Result<Copied> copy_redacted(bundle::Reader& parent, const Digest& digest, bundle::Writer& out, Task& task);

// The time that the members of a copy have: those of its parent.
Result<Timestamp> started_at(bundle::Reader& parent, Task& task);

}  // namespace ctriage::redact
