#pragma once
// An unpacked bundle as the tar that it was: SHA256SUMS has its members in order, the manifest their time,
// and the headers follow from those. Only verify proves that the files are as they were.
#include <memory>
#include <string>

#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

class UnpackedSource : public ByteSource {
 public:
  // Errc::malformed when the directory is none, not_found names a member that is not there. The task stays
  // with the caller.
  static Result<std::unique_ptr<UnpackedSource>> open(Root directory, const Task& task);
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;  // of the tar
};

}  // namespace ctriage::bundle
