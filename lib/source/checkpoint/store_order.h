#pragma once
// In which order things of a checkpoint are read. Not for other modules.
#include <algorithm>
#include <utility>
#include <vector>

#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

// A compressed archive is unpacked once. `store` and `name` of each say where it lies; those of one file keep
// their order, and all do where going back costs nothing.
template <class Work>
void put_in_order(std::vector<Work>& all) {
  if (!std::ranges::any_of(all, [](const Work& work) { return work.store->is_in_order(); })) return;
  const auto place = [](const Work& work) {
    const StoredFile* file = work.store->find(work.name);
    return std::pair(work.store, file == nullptr ? std::uint64_t{0} : file->offset);
  };
  std::ranges::stable_sort(all, {}, place);
}

}  // namespace ctriage::source
