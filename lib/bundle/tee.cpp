#include "lib/bundle/tee.h"

#include <vector>

namespace ctriage::bundle {
namespace {

constexpr std::size_t kDrainBytes = 128 << 10;

}  // namespace

Result<std::size_t> TeeSource::read(std::span<std::byte> into) {
  auto got = in_.read(into);
  if (!got) return got;
  hash_.update(into.first(*got));
  written_ = out_.write(into.first(*got));
  if (!written_) return written_.error();
  return got;
}

Status TeeSource::drain() {
  std::vector<std::byte> buffer(kDrainBytes);
  while (true) {
    auto got = read(buffer);
    if (!got) return std::move(got).error();
    if (*got == 0) return Done{};
  }
}

}  // namespace ctriage::bundle
