#pragma once
// Counts what passes to another visitor.
#include <cstdint>

#include "lib/model/pages.h"

namespace ctriage::search {

class Tally final : public MemoryVisitor {
 public:
  explicit Tally(MemoryVisitor& to) : to_(to) {}
  Status enter(MemoryArea&& area) override {
    if (area.space != space_) {
      space_ = area.space;
      ++(area.kind == AreaKind::memory ? processes_ : objects_);
    }
    return to_.enter(std::move(area));
  }
  std::span<std::byte> room() override { return to_.room(); }
  Status filled(std::uint64_t address, std::size_t count) override { return to_.filled(address, count); }

  [[nodiscard]] std::uint64_t processes() const { return processes_; }
  [[nodiscard]] std::uint64_t objects() const { return objects_; }

 private:
  MemoryVisitor& to_;
  std::uint64_t space_ = 0;
  std::uint64_t processes_ = 0;
  std::uint64_t objects_ = 0;
};

}  // namespace ctriage::search
