#pragma once
// What of a bundle lies at a destination, by name. NAME is all before ".ctriage.tar":
//   NAME.manifest.sha256        "HEX  manifest.json": names every byte of the bundle; the first, or as soon
//   as it is known NAME.ctriage.tar[.age]      the bundle, or NAME.ctriage.tar.000, .001, ... its volumes
//   NAME.COMPLETE               SHA-256 and name of each, for sha256sum -c; the last: without it the rest is
//   not whole
#include <span>
#include <string>
#include <string_view>

#include "lib/transfer/destination.h"

namespace ctriage::transfer {

struct Note {
  std::string name;
  std::string text;
};
Note manifest_note(std::string_view whole, const Digest& manifest);
// `volumes` with their digests.
Note complete_note(std::string_view whole, std::span<const Item> volumes);
Item to_item(Note note);

}  // namespace ctriage::transfer
