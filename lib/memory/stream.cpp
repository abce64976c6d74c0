#include "lib/memory/stream.h"

#include <algorithm>
#include <cstring>

#include "lib/core/sys_memory.h"
#include "lib/core/text.h"

namespace ctriage::memory {

Gap gap_of(Impact impact, std::string_view facet, std::int32_t pid, Error error) {
  return {impact, std::string("memory.").append(facet), "pid " + std::to_string(pid), std::move(error)};
}

void tell_untouched(const Plan& plan, std::int32_t pid, GapLog& gaps) {
  if (plan.untouched_bytes == 0) return;
  gaps.add(gap_of(Impact::degraded, "pages", pid,
                  {Errc::unsupported, human_size(plan.untouched_bytes) +
                                          " of shared memory that it has mapped and not touched: not read"}));
}

void tell_lost(const StateBytes& bytes, std::int32_t pid, GapLog& gaps) {
  const auto tell = [&](PageState state, Impact impact, Errc code, const std::string& what) {
    const std::uint64_t count = bytes[static_cast<std::size_t>(state)];
    if (count > 0) gaps.add(gap_of(impact, "pages", pid, {code, human_size(count) + " " + what}));
  };
  tell(PageState::unreadable, Impact::lost, Errc::denied, "could not be read: the ranges tell why");
  tell(PageState::timeout, Impact::lost, Errc::timeout, "did not come in time: the ranges tell which");
  tell(PageState::vanished, Impact::lost, Errc::vanished, "was given up by the process while it was read");
  tell(PageState::swapped, Impact::degraded, Errc::unsupported,
       "lies in swap and was left there: reading it would bring it back into memory; --swap all takes it");
}

Streamer::Streamer(const Plan& plan, std::int32_t pid, bool swap_in, std::uint64_t core_offset,
                   proc::Memory& memory, std::function<bool()> is_same, TakePages take_pages,
                   const Emit<PageRange>& ranges, const Task& task)
    : plan_(plan),
      pid_(pid),
      swap_in_(swap_in),
      core_offset_(core_offset),
      memory_(memory),
      is_same_(std::move(is_same)),
      take_pages_(std::move(take_pages)),
      ranges_(ranges),
      task_(task),
      page_(sys::page_size()) {}

Status Streamer::run() {
  std::size_t next = 0;
  for (std::uint32_t index = 0; index < plan_.regions.size(); ++index) {
    const Region& region = plan_.regions[index];
    const Choice& choice = plan_.choices[index];
    if (choice.take == Take::nothing) {
      auto told = tell(index, {region.start, region.end, choice.left, 0, choice.reason, false});
      if (!told) return told;
      continue;
    }
    std::uint64_t at = region.start;
    for (; next < plan_.runs.size() && plan_.runs[next].region == index; ++next) {
      const Run& run = plan_.runs[next];
      if (auto told = tell_hole(index, at, run.start); !told) return told;
      auto done = run.state == PageState::data
                      ? stream_run(next)
                      : tell(index, {run.start, run.end, run.state, run.shared_with, {}, false});
      if (!done) return done;
      at = run.end;
    }
    if (auto told = tell_hole(index, at, region.end); !told) return told;
  }
  return flush();
}

// Windows of the runs of data, in order.
std::optional<Streamer::Piece> Streamer::next_piece(Place& place) const {
  for (; place.run < plan_.runs.size(); ++place.run, place.address = 0) {
    const Run& run = plan_.runs[place.run];
    if (run.state != PageState::data) continue;
    const std::uint64_t start = std::max(place.address, run.start);
    if (start >= run.end) continue;
    const std::uint64_t bytes = std::min<std::uint64_t>(run.end - start, proc::kSlotBytes);
    place.address = start + bytes;
    return Piece{place.run, start, static_cast<std::size_t>(bytes / page_)};
  }
  return std::nullopt;
}

Status Streamer::ask_ahead() {
  while (memory_.has_room()) {
    const auto piece = next_piece(asking_);
    if (!piece) return Done{};
    if (is_given_up(plan_.runs[piece->run].region)) continue;
    if (auto asked = memory_.ask(piece->start, piece->pages, swap_in_); !asked) return asked;
  }
  return Done{};
}

Status Streamer::stream_run(std::size_t run) {
  while (taking_.run < run || (taking_.run == run && taking_.address < plan_.runs[run].end)) {
    const auto piece = next_piece(taking_);
    if (!piece) return Done{};
    if (auto taken = take(*piece); !taken) return taken;
  }
  return Done{};
}

Status Streamer::take(const Piece& piece) {
  if (auto go_on = task_.check(); !go_on) return go_on;
  const Run& run = plan_.runs[piece.run];
  if (gone_) return leave(piece, PageState::vanished, "the process has ended or runs another program");
  if (is_given_up(run.region)) return leave(piece, PageState::timeout, stuck_reason_);
  if (auto asked = ask_ahead(); !asked) return take_page_by_page(piece, std::move(asked).error());
  const auto window = memory_.take();
  if (!window) return take_page_by_page(piece, window.error());
  states_.clear();
  for (const proc::Outcome outcome : window->pages) states_.push_back(state_of(outcome, run));
  const std::string reason = window->number != 0 ? system_error(window->number, "read").what : "";
  return pass_on(piece, window->bytes, states_, reason);
}

// A read got stuck and its reader was ended. The pages before the one that sticks are had one by one; that
// one and what is left of its mapping are not waited for again.
Status Streamer::take_page_by_page(const Piece& piece, Error why) {
  if (auto go_on = task_.check(); !go_on) return go_on;
  ++stuck_reads_;
  stuck_reason_ = why.what;
  asking_ = taking_;
  const Run& run = plan_.runs[piece.run];
  std::vector<std::byte> bytes(piece.pages * page_);
  std::vector<PageState> states(piece.pages, PageState::timeout);
  bool stuck = !recover();
  for (std::size_t page = 0; page < piece.pages && !stuck; ++page) {
    auto asked = memory_.ask(piece.start + page * page_, 1, swap_in_);
    const auto window = asked ? memory_.take() : Result<proc::Window>(std::move(asked).error());
    if (window) {
      std::ranges::copy(window->bytes, bytes.begin() + static_cast<std::ptrdiff_t>(page * page_));
      states[page] = state_of(window->pages.front(), run);
      continue;
    }
    if (auto go_on = task_.check(); !go_on) return go_on;
    stuck = true;
    ++stuck_reads_;
    stuck_reason_ = window.error().what;
    stuck_region_ = run.region;
    (void)recover();
  }
  return pass_on(piece, bytes, states, stuck_reason_);
}

// Whether there is a reader of the same memory again.
bool Streamer::recover() {
  const auto again = memory_.recover();
  if (again && is_same_()) return true;
  gone_ = true;
  return false;
}

bool Streamer::is_given_up(std::uint32_t region) const {
  if (gone_ || stuck_region_ == region) return true;
  // What waits for nobody outside of the kernel is read still.
  const Region& of = plan_.regions[region];
  return stuck_reads_ >= kMaxStuckReads && (of.inode != 0 || of.flags.userfault);
}

PageState Streamer::state_of(proc::Outcome outcome, const Run& run) {
  switch (outcome) {
    case proc::Outcome::read:
      return PageState::data;
    case proc::Outcome::absent:
      return run.exact ? PageState::vanished : PageState::hole;
    case proc::Outcome::swapped:
      return PageState::swapped;
    case proc::Outcome::guard:
      return PageState::guard;
    case proc::Outcome::unreadable:
      return PageState::unreadable;
    case proc::Outcome::vanished:
      return PageState::vanished;
  }
  return PageState::unreadable;
}

Status Streamer::leave(const Piece& piece, PageState state, std::string_view reason) {
  const std::vector<std::byte> zeros(piece.pages * page_);
  const std::vector<PageState> states(piece.pages, state);
  return pass_on(piece, zeros, states, reason);
}

Status Streamer::pass_on(const Piece& piece, std::span<const std::byte> bytes,
                         std::span<const PageState> states, std::string_view reason) {
  const std::uint32_t region = plan_.runs[piece.run].region;
  for (std::size_t first = 0; first < states.size();) {
    std::size_t end = first + 1;
    while (end < states.size() && states[end] == states[first]) ++end;
    const bool refused = states[first] == PageState::unreadable || states[first] == PageState::timeout;
    auto told = tell(region, {piece.start + first * page_, piece.start + end * page_, states[first], 0,
                              refused ? reason : std::string_view(), true});
    if (!told) return told;
    core_offset_ += (end - first) * page_;
    first = end;
  }
  task_.passed(bytes.size());
  return take_pages_(region, piece.start, bytes, states);
}

Status Streamer::tell_hole(std::uint32_t region, std::uint64_t start, std::uint64_t end) {
  if (start >= end) return Done{};
  const Region& of = plan_.regions[region];
  // A page of a file that is not there is in the file; of memory without a name it may be nowhere else.
  const bool elsewhere = of.is_shared() && of.inode != 0 && !is_named_file(of.inode, plan_.path_of(of));
  std::string_view reason;
  if (elsewhere) reason = "this process has not touched it: the object may have bytes there";
  if (plan_.cut.contains(region)) reason = "too many runs of pages: some of it may be there and was left out";
  return tell(region, {start, end, PageState::hole, 0, reason, false});
}

Status Streamer::tell(std::uint32_t region, const Told& told) {
  bytes_in_[static_cast<std::size_t>(told.state)] += told.end - told.start;
  const auto shared_with = told.shared_with != 0 ? std::optional(told.shared_with) : std::nullopt;
  if (pending_ && pending_region_ == region && pending_->end.value == told.start &&
      pending_->state == told.state && pending_->shared_with == shared_with &&
      pending_->core_offset_bytes.has_value() == told.in_core &&
      pending_->reason.value_or("") == told.reason) {
    pending_->end = Hex{told.end};
    return Done{};
  }
  if (auto done = flush(); !done) return done;
  const Region& of = plan_.regions[region];
  PageRange range;
  range.pid = pid_;
  range.start = Hex{told.start};
  range.end = Hex{told.end};
  range.state = told.state;
  range.protection = std::string(of.protection.begin(), of.protection.end());
  range.offset_bytes = of.inode != 0 ? of.offset_bytes + (told.start - of.start) : of.offset_bytes;
  range.device = Hex{of.device};
  range.inode = Hex{of.inode};
  range.path = Bytes(std::string(plan_.path_of(of)));
  if (told.in_core) range.core_offset_bytes = core_offset_;
  range.shared_with = shared_with;
  if (!told.reason.empty()) range.reason = std::string(told.reason);
  pending_ = std::move(range);
  pending_region_ = region;
  return Done{};
}

Status Streamer::flush() {
  if (!pending_) return Done{};
  PageRange range = *std::move(pending_);
  pending_.reset();
  return ranges_(std::move(range));
}

}  // namespace ctriage::memory
