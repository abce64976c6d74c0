#pragma once
// Reads what a plan names, in its order, and hands it on. Not for other modules.
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/memory/plan.h"
#include "lib/model/memory.h"
#include "lib/proc/memory.h"

namespace ctriage::memory {

// How long one process may keep us waiting: each stuck read costs kReadTimeoutNs.
constexpr unsigned kMaxStuckReads = 16;

using StateBytes = std::array<std::uint64_t, enum_names(PageState{}).size()>;

// Pages of one mapping, a state each; where that is not data the bytes are zeros.
using TakePages = std::function<Status(std::uint32_t region, std::uint64_t address,
                                       std::span<const std::byte> bytes, std::span<const PageState> states)>;

// Of memory of a process: "memory.<facet>".
Gap gap_of(Impact impact, std::string_view facet, std::int32_t pid, Error error);
// Shared memory that it has mapped and never touched, where there is some.
void tell_untouched(const Plan& plan, std::int32_t pid, GapLog& gaps);
// What of memory was to be read and was not: one gap for each kind.
void tell_lost(const StateBytes& bytes, std::int32_t pid, GapLog& gaps);

class Streamer {
 public:
  // `is_same`: whether the process is still the one that was planned, asked after a reader had to be
  // replaced.
  Streamer(const Plan& plan, std::int32_t pid, bool swap_in, std::uint64_t core_offset, proc::Memory& memory,
           std::function<bool()> is_same, TakePages take_pages, const Emit<PageRange>& ranges,
           const Task& task);
  Status run();
  [[nodiscard]] const StateBytes& bytes_in() const { return bytes_in_; }

 private:
  struct Place {  // of the next window
    std::size_t run = 0;
    std::uint64_t address = 0;
  };
  struct Piece {  // a window: pages of one run
    std::size_t run = 0;
    std::uint64_t start = 0;
    std::size_t pages = 0;
  };
  [[nodiscard]] std::optional<Piece> next_piece(Place& place) const;
  Status ask_ahead();
  Status stream_run(std::size_t run);
  Status take(const Piece& piece);
  Status take_page_by_page(const Piece& piece, Error why);
  Status pass_on(const Piece& piece, std::span<const std::byte> bytes, std::span<const PageState> states,
                 std::string_view reason);
  Status leave(const Piece& piece, PageState state, std::string_view reason);
  [[nodiscard]] bool is_given_up(std::uint32_t region) const;
  [[nodiscard]] bool recover();
  struct Told {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    PageState state = PageState::hole;
    std::int32_t shared_with = 0;
    std::string_view reason;
    bool in_core = false;
  };
  Status tell(std::uint32_t region, const Told& told);
  Status tell_hole(std::uint32_t region, std::uint64_t start, std::uint64_t end);
  Status flush();
  [[nodiscard]] static PageState state_of(proc::Outcome outcome, const Run& run);

  const Plan& plan_;
  std::int32_t pid_;
  bool swap_in_;
  std::uint64_t core_offset_;  // of what is written next
  proc::Memory& memory_;
  std::function<bool()> is_same_;
  TakePages take_pages_;
  const Emit<PageRange>& ranges_;
  const Task& task_;
  const std::size_t page_;
  Place asking_;
  Place taking_;
  unsigned stuck_reads_ = 0;
  std::optional<std::uint32_t> stuck_region_;  // what is left of it is not read
  std::string stuck_reason_;
  bool gone_ = false;  // the process is another now
  std::optional<PageRange> pending_;
  std::uint32_t pending_region_ = 0;
  StateBytes bytes_in_{};
  std::vector<PageState> states_;
};

}  // namespace ctriage::memory
