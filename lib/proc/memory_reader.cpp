#include "lib/proc/memory_reader.h"

#include <algorithm>
#include <cstring>

#include "lib/core/cursor.h"
#include "lib/core/sys.h"
#include "lib/core/sys_memory.h"
#include "lib/proc/memory.h"
#include "lib/proc/reader_protocol.h"

namespace ctriage::proc {
namespace {

ByteCursor body_of(std::string_view request) {
  return ByteCursor(std::as_bytes(std::span(request.data(), request.size())).subspan(1));
}

std::string refuse(std::string_view what) {
  return encode_failure(Error{Errc::malformed, std::string("memory: ").append(what)});
}

}  // namespace

std::string MemoryReader::open(std::string_view request) {
  opened_.reset();
  const std::string process(request.substr(1));
  auto memory = proc_.open_beneath(process + "/mem");
  if (!memory) return encode_failure(memory.error());
  auto pagemap = proc_.open_beneath(process + "/pagemap");
  if (!pagemap) return encode_failure(pagemap.error());
  opened_.emplace(
      Opened{*std::move(memory), Pagemap(*std::move(pagemap), process + "/pagemap"), process + "/mem"});
  return std::string(1, kReady);
}

// start, end; answered by the address to go on from, then start, end and flags of each run.
std::string MemoryReader::scan(std::string_view request) {
  ByteCursor in = body_of(request);
  const std::uint64_t start = in.u64();
  const std::uint64_t end = in.u64();
  if (!opened_ || !in.ok() || end <= start) return refuse("no such range");
  std::vector<PageRun> runs;
  const auto next = opened_->pagemap.list_populated(start, end, kMaxRunsOfAnswer, runs);
  if (!next) return encode_failure(next.error());
  std::string answer(1, kBytes);
  append_integer(answer, *next, 8);
  for (const PageRun& run : runs) {
    append_integer(answer, run.start, 8);
    append_integer(answer, run.end, 8);
    append_integer(answer, encode_flags(run.flags), 1);
  }
  return answer;
}

// What of `run` lies in the window at `address` that `room` is for. The last errno(3), 0 when all was read.
int MemoryReader::read_run(const PageRun& run, std::uint64_t address, std::span<std::byte> room,
                           std::span<char> outcomes) {
  const std::size_t page = sys::page_size();
  int last_errno = 0;
  for (std::uint64_t at = run.start; at < run.end;) {
    const auto offset = static_cast<std::size_t>(at - address);
    const auto wanted = room.subspan(offset, static_cast<std::size_t>(run.end - at));
    const auto got = sys::pread(opened_->memory.get(), wanted, at, opened_->name);
    const std::size_t whole = got ? *got / page : 0;
    std::fill_n(outcomes.begin() + static_cast<std::ptrdiff_t>(offset / page), whole, encode(Outcome::read));
    at += whole * page;
    // A page that cannot be read ends the read before it; alone it tells why. It is passed over.
    if (whole > 0) continue;
    if (!got) last_errno = got.error().number;
    const auto index = static_cast<std::size_t>((at - address) / page);
    outcomes[index] = encode(got && *got == 0 ? Outcome::vanished : Outcome::unreadable);
    at += page;
  }
  return last_errno;
}

// slot, swap (1: pages in swap too), pages, address; answered by errno(3) of what could not be read and one
// byte a page.
std::string MemoryReader::fetch(std::string_view request) {
  ByteCursor in = body_of(request);
  const std::size_t slot = in.u8();
  const bool swap = in.u8() != 0;
  const std::size_t pages = in.u16();
  const std::uint64_t address = in.u64();
  const std::size_t page = sys::page_size();
  if (!opened_ || !in.ok() || slot >= kSlots || pages == 0 || pages * page > kSlotBytes)
    return refuse("no such window");
  const auto room = shared_.subspan(slot * kSlotBytes, pages * page);
  std::string outcomes(pages, encode(Outcome::absent));

  // Looked at once more: a page that is not there would be made by reading it.
  std::vector<PageRun> runs;
  int last_errno = 0;
  const std::uint64_t end = address + room.size();
  for (std::uint64_t at = address; at < end;) {
    runs.clear();
    const auto next = opened_->pagemap.list_populated(at, end, pages, runs);
    if (!next) return encode_failure(next.error());
    for (const PageRun& run : runs) {
      const bool left = run.flags.guard || run.flags.zero || (run.flags.swapped && !swap);
      if (!left) {
        if (const int number = read_run(run, address, room, outcomes); number != 0) last_errno = number;
        continue;
      }
      const Outcome why = run.flags.guard  ? Outcome::guard
                          : run.flags.zero ? Outcome::read
                                           : Outcome::swapped;
      const auto offset = static_cast<std::size_t>(run.start - address);
      const auto size = static_cast<std::size_t>(run.end - run.start);
      std::fill_n(outcomes.begin() + static_cast<std::ptrdiff_t>(offset / page), size / page, encode(why));
      if (run.flags.zero) std::memset(room.data() + offset, 0, size);
    }
    at = *next;
  }
  for (std::size_t index = 0; index < pages; ++index) {
    if (outcomes[index] != encode(Outcome::read)) std::memset(room.data() + index * page, 0, page);
  }
  std::string answer(1, kBytes);
  append_integer(answer, static_cast<std::uint64_t>(last_errno), 4);
  return answer + outcomes;
}

}  // namespace ctriage::proc
