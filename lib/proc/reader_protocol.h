#pragma once
// What supervisor, watchdog and readers say to each other over their SOCK_SEQPACKET pairs: the first byte of
// a message is its kind. All three are this program, yet a reader has touched hostile memory, so its answers
// are checked.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/root.h"
#include "lib/core/unique_fd.h"
#include "lib/proc/memory.h"
#include "lib/proc/pagemap.h"

namespace ctriage::proc {

constexpr std::size_t kMaxAnswerBytes = 64 << 10;  // of file in one message; SO_SNDBUF is 208 KiB by default
constexpr std::size_t kMaxNameBytes = 4 << 10;     // of a name that is only for messages

// To the watchdog.
constexpr char kNewReader = 'N';   // answered: kReady with the reader's socket, or kFailed
constexpr char kKillReader = 'K';  // not answered
constexpr char kStop =
    'H';  // SwitchKind in a byte, the longest time in eight, with what is thrown: kReady, kFailed
constexpr char kLetGo = 'L';  // answered: kBytes and a byte: 1 when the time was over before; or kFailed
// To a reader.
constexpr char kOpen = 'O';   // and the name; answered: kReady or kFailed
constexpr char kAdopt = 'A';  // and a name, with a pinned file; answered: kReady or kFailed
constexpr char kKind = 'S';   // the same; answered: kBytes and f_type of statfs(2) in eight bytes, or kFailed
constexpr char kPin = 'I';    // and a name below /proc; answered: kReady with the pinned file, or kFailed
constexpr char kRead = 'R';   // answered: kBytes or kFailed
constexpr char kClose = 'C';  // not answered
// Of memory: memory_reader.cpp has what follows the first byte.
constexpr char kMemory = 'M';     // and PID; answered: kReady or kFailed
constexpr char kScan = 'P';       // populated pages of a range; answered: kBytes or kFailed
constexpr char kFetch = 'F';      // a window into the shared memory; answered: kBytes or kFailed
constexpr char kRegisters = 'G';  // of threads: tracer.h has what follows; answered: kBytes or kFailed
// Answers.
constexpr char kReady = 'r';
constexpr char kBytes = 'b';   // and up to kMaxAnswerBytes; none: the end of the file
constexpr char kFailed = 'f';  // and Errc in one byte, errno(3) in four, text

std::string encode_failure(const Error& error);
Error decode_failure(std::string_view message);  // Errc::malformed when it is none

constexpr std::size_t kMaxRunsOfAnswer = 3'000;  // of 17 bytes each, in kMaxAnswerBytes
std::uint8_t encode_flags(PageFlags flags);
PageFlags decode_flags(std::uint8_t bits);
inline char encode(Outcome outcome) { return static_cast<char>(outcome); }
// The low `bytes` bytes, the lowest first.
void append_integer(std::string& message, std::uint64_t value, unsigned bytes);

// The watchdog's life, after the fork: never returns. `supervisor` is its end of the pair, `shared` the
// memory into which readers fetch.
[[noreturn]] void run_watchdog(int proc, UniqueFd supervisor, int supervisor_pid,
                               std::span<std::byte> shared);

}  // namespace ctriage::proc
