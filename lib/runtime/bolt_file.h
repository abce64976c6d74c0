#pragma once
// A bolt database that its owner may be writing to. Private to lib/runtime.
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/runtime/bolt.h"

namespace ctriage::runtime {

// `take` reads from one transaction: when another was committed meanwhile it is called again, from the
// beginning. Its own error where the file stood still; Errc::mismatch for one that never does; not_found
// where there is none.
Status read_bolt(const Root& node, const std::string& file, const std::function<Status(Bolt&)>& take);

// Path of buckets from `from`, or nothing.
Result<std::optional<Bolt::Bucket>> descend(Bolt& bolt, Bolt::Bucket from,
                                            const std::vector<std::string_view>& path);

}  // namespace ctriage::runtime
