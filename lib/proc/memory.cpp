// The supervisor's side; the reader's is in memory_reader.cpp. Its answers are checked: it has touched
// hostile memory.
#include "lib/proc/memory.h"

#include <utility>

#include "lib/core/cursor.h"
#include "lib/core/sys_memory.h"
#include "lib/proc/detail.h"
#include "lib/proc/reader_protocol.h"

namespace ctriage::proc {
namespace {

constexpr std::uint8_t kSwapped = 1;
constexpr std::uint8_t kFile = 2;
constexpr std::uint8_t kZero = 4;
constexpr std::uint8_t kGuard = 8;

Error nonsense(std::string_view name) {
  return Error{Errc::malformed, std::string(name) + ": the helper process answered nonsense"};
}

ByteCursor cursor_of(std::string_view text) {
  return ByteCursor(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

std::uint8_t encode_flags(PageFlags flags) {
  return static_cast<std::uint8_t>((flags.swapped ? kSwapped : 0) | (flags.file ? kFile : 0) |
                                   (flags.zero ? kZero : 0) | (flags.guard ? kGuard : 0));
}

PageFlags decode_flags(std::uint8_t bits) {
  return {(bits & kSwapped) != 0, (bits & kFile) != 0, (bits & kZero) != 0, (bits & kGuard) != 0};
}

Result<Memory> Memory::open(Readers& readers, std::string process, const Task& task) {
  Memory memory(readers, std::move(process), task);
  if (auto opened = memory.recover(); !opened) return std::move(opened).error();
  return memory;
}

Memory::Memory(Memory&& other) noexcept
    : readers_(std::exchange(other.readers_, nullptr)),
      process_(std::move(other.process_)),
      name_(std::move(other.name_)),
      task_(other.task_),
      asked_(std::move(other.asked_)),
      next_slot_(other.next_slot_) {}

Memory::~Memory() {
  if (readers_ == nullptr) return;
  take_what_is_owed();
  // An open mem keeps the whole address space of a process that has ended.
  (void)readers_->send_request(std::string(1, kClose), name_, task_).has_value();
}

// An answer that nobody took would be taken for that of the next request.
void Memory::take_what_is_owed() {
  for (; !asked_.empty(); asked_.pop_front())
    (void)readers_->receive_answer(kBytes, name_, task_).has_value();
}

Status Memory::recover() {
  take_what_is_owed();
  if (auto sent = readers_->send_request(std::string(1, kMemory) + process_, name_, task_); !sent)
    return sent;
  auto ready = readers_->receive_answer(kReady, name_, task_);
  if (ready) return Done{};
  if (is_gone(ready.error()))
    return Error{Errc::vanished, process_ + ": no such process", ready.error().number};
  return name_capability(std::move(ready).error());
}

Result<std::uint64_t> Memory::list_populated(std::uint64_t start, std::uint64_t end,
                                             std::vector<PageRun>& into) {
  std::string request(1, kScan);
  append_integer(request, start, 8);
  append_integer(request, end, 8);
  if (auto sent = readers_->send_request(request, name_, task_); !sent) return std::move(sent).error();
  const auto answer = readers_->receive_answer(kBytes, name_, task_);
  if (!answer) return answer.error();
  ByteCursor in = cursor_of(*answer);
  const std::uint64_t next = in.u64();
  std::uint64_t last = start;
  while (in.ok() && !in.at_end()) {
    PageRun run;
    run.start = in.u64();
    run.end = in.u64();
    run.flags = decode_flags(in.u8());
    if (!in.ok() || run.start < last || run.end <= run.start || run.end > next) return nonsense(name_);
    last = run.end;
    into.push_back(run);
  }
  if (!in.ok() || next <= start || next > end) return nonsense(name_);
  return next;
}

Status Memory::ask(std::uint64_t address, std::size_t pages, bool swap) {
  std::string request(1, kFetch);
  append_integer(request, next_slot_, 1);
  append_integer(request, swap ? 1 : 0, 1);
  append_integer(request, pages, 2);
  append_integer(request, address, 8);
  if (auto sent = readers_->send_request(request, name_, task_); !sent) return sent;
  asked_.push_back({address, pages, next_slot_});
  next_slot_ = (next_slot_ + 1) % kSlots;
  return Done{};
}

Result<Window> Memory::take() {
  const Asked asked = asked_.front();
  asked_.pop_front();
  const auto answer = readers_->receive_answer(kBytes, name_, task_);
  if (!answer) return answer.error();
  ByteCursor in = cursor_of(*answer);
  Window window;
  window.address = asked.address;
  window.number = static_cast<int>(in.u32());
  if (!in.ok() || in.left() != asked.pages) return nonsense(name_);
  outcomes_.clear();
  while (!in.at_end()) {
    const std::uint8_t outcome = in.u8();
    if (outcome > static_cast<std::uint8_t>(Outcome::vanished)) return nonsense(name_);
    outcomes_.push_back(static_cast<Outcome>(outcome));
  }
  window.bytes = readers_->shared().subspan(asked.slot * kSlotBytes, asked.pages * sys::page_size());
  window.pages = outcomes_;
  return window;
}

}  // namespace ctriage::proc
