#pragma once
// Tells an error of who walks through memory, which ends the walk, from one of reading, which is a gap. Not
// for other modules.
#include "lib/model/pages.h"

namespace ctriage::source {

class Refusing final : public MemoryVisitor {
 public:
  explicit Refusing(MemoryVisitor& to) : to_(to) {}
  Status enter(MemoryArea&& area) override { return seen(to_.enter(std::move(area))); }
  std::span<std::byte> room() override { return to_.room(); }
  Status filled(std::uint64_t address, std::size_t count) override {
    return seen(to_.filled(address, count));
  }
  [[nodiscard]] bool refused() const { return refused_; }

 private:
  Status seen(Status done) {
    refused_ = refused_ || !done;
    return done;
  }
  MemoryVisitor& to_;
  bool refused_ = false;
};

}  // namespace ctriage::source
