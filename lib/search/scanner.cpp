// A block holds bytes of one or more runs of pages, each a segment. What a later block must see again (starts
// of matches that may go on, and what stands before them) is copied to its beginning:
//
//   block n    ........................|ctx|<- kMarginBytes ->|
//   block n+1                          |ctx|<- kMarginBytes ->|.......................
//                                          ^ first place that block n+1 decides about
#include "lib/search/scanner.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "lib/core/text.h"
#include "lib/search/matcher.h"
#include "lib/search/place.h"

namespace ctriage::search {
namespace {

constexpr std::size_t kCellBytes = 4'096;
// A match, and what is shown or looked at behind it.
constexpr std::size_t kMarginBytes = kMaxMatchBytes + kContextBytes + 1;
constexpr std::size_t kMaxMarks = 1 << 18;        // of a block; with more of them every pattern is looked for
constexpr std::size_t kMaxFoundAtOnce = 1 << 17;  // matches that are put in order

struct Segment {
  std::size_t offset = 0;
  std::size_t end = 0;
  std::size_t from = 0;    // places before were decided in the block before
  std::size_t before = 0;  // places from here on are decided in the next
  std::uint64_t address = 0;
  std::uint64_t run = 0;
};

struct Placed {
  std::size_t offset = 0;
  std::shared_ptr<const MemoryArea> area;
};

struct Mark {
  std::uint32_t pattern = 0;
  std::uint32_t cell = 0;  // in which a match ends
};

struct Block {
  std::vector<std::byte> bytes;
  std::size_t size = 0;
  std::vector<Segment> segments;
  std::vector<Placed> areas;
  std::vector<Mark> marks;
  bool flooded = false;  // there are more

  void clear() {
    flooded = false;
    size = 0;
    segments.clear();
    areas.clear();
    marks.clear();
  }
  [[nodiscard]] const MemoryArea& area_at(std::size_t offset) const {
    const auto after = std::upper_bound(areas.begin(), areas.end(), offset,
                                        [](std::size_t at, const Placed& each) { return at < each.offset; });
    return *(after - 1)->area;
  }
};

// Runs one piece of work at a time.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void give(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      work_ = std::move(work);
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !work_; });
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return end_ || work_; });
      if (!work_) return;
      lock.unlock();
      work_();
      lock.lock();
      work_ = nullptr;
      changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;
  bool end_ = false;
  std::thread thread_{[this] { run(); }};
};

struct Hit {
  std::size_t start = 0;
  std::size_t end = 0;
  std::uint32_t pattern = 0;
  std::uint32_t segment = 0;
};

}  // namespace

struct Scanner::State {
  struct Progress {  // of a pattern in a run: places before are decided
    std::uint64_t run = 0;
    std::uint64_t next = 0;
  };

  State(const std::vector<Pattern>& patterns, const ScanOptions& options, Emit<MemoryMatch> take,
        const Task& with)
      : emit(std::move(take)),
        task(with),
        block_bytes(std::max(options.block_bytes, 2 * kMarginBytes)),
        matcher(patterns, options.prefilter),
        progress(patterns.size()),
        last_cell(patterns.size(), UINT32_MAX),
        counts(patterns.size(), 0) {
    const Prefilter* prefilter = matcher.prefilter();
    for (std::uint32_t i = 0; i < patterns.size(); ++i) {
      all.push_back(i);
      if (prefilter == nullptr || !prefilter->covers(i)) everywhere.push_back(i);
    }
    for (Block& block : blocks) block.bytes.resize(block_bytes + 2 * kMarginBytes);
  }

  Status hand_over(bool last);
  void mark(Block& block);
  Status confirm(Block& block);
  Status search(Block& block, std::uint32_t pattern, std::uint32_t segment, std::size_t from,
                std::size_t before);
  Status tell(const Block& block);
  Status tell_one(const Block& block, const Hit& hit);
  Block& filling() { return blocks[current]; }

  Emit<MemoryMatch> emit;
  const Task& task;
  std::size_t block_bytes;
  Matcher matcher;
  std::vector<Progress> progress;
  std::vector<std::uint32_t> last_cell;
  std::vector<std::uint64_t> counts;
  std::vector<std::uint32_t> all;
  std::vector<std::uint32_t> everywhere;  // patterns that the prefilter knows nothing of
  std::array<Block, 2> blocks;
  std::size_t current = 0;
  bool under_way = false;  // the other block is with the worker
  std::shared_ptr<const MemoryArea> area;
  bool open = false;  // the last segment may go on
  std::uint64_t run_end = 0;
  std::uint64_t runs = 0;
  std::uint64_t searched = 0;
  std::vector<Hit> hits;
  Worker worker;  // last: it ends before what it works on
};

Scanner::Scanner(const std::vector<Pattern>& patterns, ScanOptions options, Emit<MemoryMatch> emit,
                 const Task& task)
    : state_(std::make_unique<State>(patterns, options, std::move(emit), task)) {}

Scanner::~Scanner() = default;

std::uint64_t Scanner::searched_bytes() const { return state_->searched; }
const std::vector<std::uint64_t>& Scanner::counts() const { return state_->counts; }

Status Scanner::enter(MemoryArea&& area) {
  State& state = *state_;
  if (state.area == nullptr || state.area->space != area.space) state.open = false;
  state.area = std::make_shared<const MemoryArea>(std::move(area));
  Block& block = state.filling();
  // Mappings without a byte leave no trace.
  if (!block.areas.empty() && block.areas.back().offset == block.size) block.areas.pop_back();
  block.areas.push_back({block.size, state.area});
  return Done{};
}

std::span<std::byte> Scanner::room() {
  Block& block = state_->filling();
  return std::span(block.bytes).subspan(block.size, state_->block_bytes + kMarginBytes - block.size);
}

Status Scanner::filled(std::uint64_t address, std::size_t count) {
  State& state = *state_;
  if (count == 0) return Done{};
  Block& block = state.filling();
  if (!state.open || address != state.run_end) {
    block.segments.push_back({block.size, block.size, block.size, 0, address, ++state.runs});
    state.open = true;
  }
  block.size += count;
  block.segments.back().end = block.size;
  state.run_end = address + count;
  state.searched += count;
  state.task.passed(count);
  if (block.size < state.block_bytes) return Done{};
  if (auto go_on = state.task.check(); !go_on) return go_on;
  return state.hand_over(false);
}

Status Scanner::finish() {
  if (auto done = state_->hand_over(true); !done) return done;
  if (auto done = state_->hand_over(true); !done) return done;  // what the worker had
  const std::vector<std::uint32_t>& too_long = state_->matcher.too_long();
  for (std::size_t pattern = 0; pattern < too_long.size(); ++pattern) {
    if (too_long[pattern] == 0) continue;
    const std::string rest =
        too_long[pattern] > kMaxTooLong ? "; what comes after was not searched for it" : "";
    state_->task.gaps.add(
        {Impact::lost,
         "search.pattern",
         state_->matcher.patterns()[pattern].name,
         {Errc::limit, "at " + with_commas(too_long[pattern]) + " places only more than " +
                           with_commas(kMaxMatchBytes) + " bytes match: not among the matches" + rest}});
  }
  return Done{};
}

// The block that is filled goes to the worker; the one it had is looked at, and filled from now on.
Status Scanner::State::hand_over(bool last) {
  Block& block = filling();
  Block& other = blocks[1 - current];
  for (Segment& segment : block.segments) segment.before = segment.end;
  const bool goes_on = open && !last;
  if (goes_on) {
    Segment& segment = block.segments.back();
    segment.before = std::max(segment.from, segment.end - std::min(segment.end, kMarginBytes));
  }
  if (under_way) {
    worker.wait();
    under_way = false;
    if (auto done = confirm(other); !done) return done;
  }
  other.clear();
  if (goes_on) {
    const Segment& from = block.segments.back();
    const std::size_t keep = from.before - std::min(from.before - from.offset, kContextBytes);
    other.size = from.end - keep;
    std::memcpy(other.bytes.data(), block.bytes.data() + keep, other.size);
    other.segments.push_back(
        {0, other.size, from.before - keep, 0, from.address + (keep - from.offset), from.run});
    for (const Placed& each : block.areas) {
      if (each.offset <= keep) other.areas.clear();
      other.areas.push_back({each.offset - std::min(each.offset, keep), each.area});
    }
  } else if (area) {
    other.areas.push_back({0, area});
  }
  if (!block.segments.empty()) {
    worker.give([this, &block] { mark(block); });
    under_way = true;
  }
  if (last) open = false;
  current = 1 - current;
  return Done{};
}

// In the worker.
void Scanner::State::mark(Block& block) {
  Prefilter* prefilter = matcher.prefilter();
  if (prefilter == nullptr) return;
  std::size_t base = 0;
  const std::function<void(std::uint32_t, std::size_t)> found = [&](std::uint32_t pattern, std::size_t end) {
    if (end == 0) return;
    const auto cell = static_cast<std::uint32_t>((base + end - 1) / kCellBytes);
    if (last_cell[pattern] == cell) return;
    last_cell[pattern] = cell;
    block.flooded = block.flooded || block.marks.size() >= kMaxMarks;
    if (!block.flooded) block.marks.push_back({pattern, cell});
  };
  for (const Segment& segment : block.segments) {
    // One byte before the first place, for what looks there.
    base = segment.from - std::min<std::size_t>(segment.from - segment.offset, 1);
    prefilter->scan(std::span(block.bytes).subspan(base, segment.end - base), found);
  }
  if (block.flooded) {
    std::ranges::fill(last_cell, UINT32_MAX);
    block.marks.clear();
  }
  for (const Mark& each : block.marks) last_cell[each.pattern] = UINT32_MAX;
}

Status Scanner::State::confirm(Block& block) {
  hits.clear();
  std::ranges::sort(block.marks, {}, [](const Mark& each) { return std::pair(each.pattern, each.cell); });
  std::size_t first = 0;
  for (std::size_t at = 0; at < block.marks.size();) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const Mark& mark = block.marks[at];
    if (at == 0 || block.marks[at - 1].pattern != mark.pattern) first = 0;
    std::uint32_t end = mark.cell + 1;
    // Cells side by side together.
    for (++at;
         at < block.marks.size() && block.marks[at].pattern == mark.pattern && block.marks[at].cell <= end;
         ++at)
      end = block.marks[at].cell + 1;
    const std::size_t from = mark.cell * kCellBytes - std::min(mark.cell * kCellBytes, kMaxMatchBytes - 1);
    const std::size_t before = end * kCellBytes;
    while (first < block.segments.size() && block.segments[first].end <= from) ++first;
    for (std::size_t i = first; i < block.segments.size() && block.segments[i].offset < before; ++i) {
      if (auto done = search(block, mark.pattern, static_cast<std::uint32_t>(i), from, before); !done)
        return done;
    }
  }
  for (const std::uint32_t pattern : block.flooded ? all : everywhere) {
    if (auto go_on = task.check(); !go_on) return go_on;
    for (std::size_t i = 0; i < block.segments.size(); ++i) {
      if (auto done = search(block, pattern, static_cast<std::uint32_t>(i), 0, block.size); !done)
        return done;
    }
  }
  return tell(block);
}

// Matches that begin in [from, before) of the block and in what the segment decides.
Status Scanner::State::search(Block& block, std::uint32_t pattern, std::uint32_t index, std::size_t from,
                              std::size_t before) {
  const Segment& segment = block.segments[index];
  Progress& done = progress[pattern];
  from = std::max(from, segment.from);
  if (done.run == segment.run && done.next > segment.address)
    from =
        std::max<std::size_t>(from, segment.offset + static_cast<std::size_t>(done.next - segment.address));
  before = std::min(before, segment.before);
  if (from >= before) return Done{};
  const std::string_view text(reinterpret_cast<const char*>(block.bytes.data()) + segment.offset,
                              segment.end - segment.offset);
  std::size_t at = from - segment.offset;
  const std::size_t limit = before - segment.offset;
  while (const auto found = matcher.find(pattern, text, at, limit)) {
    hits.push_back({segment.offset + found->start, segment.offset + found->end, pattern, index});
    at = found->end;
    if (hits.size() >= kMaxFoundAtOnce) {
      if (auto told = tell(block); !told) return told;
    }
    if (at >= limit) break;
  }
  done = {segment.run, segment.address + std::max(at, limit)};
  return Done{};
}

Status Scanner::State::tell(const Block& block) {
  std::ranges::sort(hits, {}, [](const Hit& hit) { return std::tuple(hit.start, hit.pattern); });
  for (const Hit& hit : hits) {
    if (auto told = tell_one(block, hit); !told) return told;
  }
  hits.clear();
  return Done{};
}

Status Scanner::State::tell_one(const Block& block, const Hit& hit) {
  ++counts[hit.pattern];
  const Segment& segment = block.segments[hit.segment];
  const std::uint64_t address = segment.address + (hit.start - segment.offset);
  const auto text = [&](std::size_t start, std::size_t end) {
    return Bytes(std::string(reinterpret_cast<const char*>(block.bytes.data()) + start, end - start));
  };
  MemoryMatch match;
  place_in(block.area_at(hit.start), address, match);
  match.pattern = Bytes(matcher.patterns()[hit.pattern].name);
  match.size_bytes = hit.end - hit.start;
  match.before = text(hit.start - std::min(hit.start - segment.offset, kContextBytes), hit.start);
  match.bytes = text(hit.start, hit.end);
  match.after = text(hit.end, std::min(segment.end, hit.end + kContextBytes));
  return emit(std::move(match));
}

}  // namespace ctriage::search
