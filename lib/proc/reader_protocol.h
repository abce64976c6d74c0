#pragma once
// What supervisor, watchdog and readers say to each other over their SOCK_SEQPACKET pairs: the first byte of
// a message is its kind. All three are this program, yet a reader has touched hostile memory, so its answers
// are checked.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/root.h"
#include "lib/core/unique_fd.h"

namespace ctriage::proc {

constexpr std::size_t kMaxAnswerBytes = 64 << 10;  // of file in one message; SO_SNDBUF is 208 KiB by default
constexpr std::size_t kMaxNameBytes = 4 << 10;     // of a name that is only for messages

// To the watchdog.
constexpr char kNewReader = 'N';   // answered: kReady with the reader's socket, or kFailed
constexpr char kKillReader = 'K';  // not answered
// To a reader.
constexpr char kOpen = 'O';   // and the name; answered: kReady or kFailed
constexpr char kAdopt = 'A';  // and a name, with a pinned file; answered: kReady or kFailed
constexpr char kKind = 'S';   // the same; answered: kBytes and f_type of statfs(2) in eight bytes, or kFailed
constexpr char kRead = 'R';   // answered: kBytes or kFailed
constexpr char kClose = 'C';  // not answered
// Answers.
constexpr char kReady = 'r';
constexpr char kBytes = 'b';   // and up to kMaxAnswerBytes; none: the end of the file
constexpr char kFailed = 'f';  // and Errc in one byte, errno(3) in four, text

std::string encode_failure(const Error& error);
Error decode_failure(std::string_view message);  // Errc::malformed when it is none

// The watchdog's life, after the fork: never returns. `supervisor` is its end of the pair.
[[noreturn]] void run_watchdog(int proc, UniqueFd supervisor, int supervisor_pid);

}  // namespace ctriage::proc
