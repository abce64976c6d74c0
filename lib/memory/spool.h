#pragma once
// A core and its ranges on their way out. As long as the target stands still they are kept in memory, so that
// it stands no longer than copying takes. Not for other modules.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/memory/still.h"
#include "lib/model/memory.h"

namespace ctriage::memory {

class Spool final : public ByteSink {
 public:
  Spool(ByteSink& core, const Emit<PageRange>& ranges) : core_(core), ranges_(ranges) {}
  // Makes room, and touches it, for so many bytes: before hold(), for that takes time.
  void make_room(std::uint64_t bytes) { room_.resize(bytes); }
  void hold(Still still) { still_.emplace(std::move(still)); }

  Status write(std::span<const std::byte> bytes) override;
  Status add(PageRange&& range);
  [[nodiscard]] bool is_holding() const { return still_.has_value(); }
  // Lets the target go, and writes what was kept. What was added till then tells that it is frozen only if it
  // was so to the end.
  Status release();

  [[nodiscard]] std::int64_t frozen_ns() const { return end_.frozen_ns; }
  // Why not all of it is frozen; after release().
  [[nodiscard]] const std::optional<Error>& not_held() const { return end_.not_held; }

 private:
  Status release_early(std::string why);

  ByteSink& core_;
  const Emit<PageRange>& ranges_;
  std::optional<Still> still_;
  std::vector<std::byte> room_;
  std::size_t kept_bytes_ = 0;
  std::vector<PageRange> kept_ranges_;
  Still::End end_;
};

}  // namespace ctriage::memory
