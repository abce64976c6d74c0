#pragma once
// A finished bundle as what is put at a destination.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

struct Outgoing {
  std::string name;  // NAME.ctriage.tar or NAME.ctriage.tar.age
  Root beside;       // the directory that it lies in
  std::uint64_t size_bytes = 0;
  bool encrypted = false;   // by its name
  bool may_be_cut = false;  // volumes that are all as long, encrypted: only its key tells whether one lacks
  std::string id;           // SHA-256 of its length and its last 4 KiB: another bundle has another
  std::optional<Digest> manifest;  // of an encrypted one it cannot be known
  std::vector<Item> volumes;       // one: under the bundle's own name
  std::optional<Item> whole;       // the same in one, where it lies as one file
};

// `path`: of the bundle, or of any of its volumes, which go as they are.
// Errc::malformed where it is not a sealed bundle. `task` stays with the caller for as long.
Result<Outgoing> open_outgoing(const std::string& path, std::uint64_t split_bytes, const Task& task);

}  // namespace ctriage::transfer
