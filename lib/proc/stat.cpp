// /proc/PID/stat, proc_pid_stat(5):
//
//   stat  = pid " (" comm ") " state " " ppid " " pgrp " " session " " tty " " tpgid " " flags ...  (52
//   fields today) comm  = up to 15 bytes of the process's choice: ')', '(', blanks and newlines too, so it
//   ends at the LAST ')'
#include <array>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::size_t kArgumentsField = 45;  // arg_start (48); after it arg_end, env_start, env_end
constexpr std::size_t kStartField = 19;  // starttime, counted from the state; proc_pid_stat(5) calls it (22)

Error bad(std::string_view what) { return {Errc::malformed, std::string("stat: ").append(what)}; }

}  // namespace

Hex terminal(std::uint32_t number) {
  return device_id(number >> 8 & 0xffU, (number >> 12 & 0xfff00U) | (number & 0xffU));
}

bool split_strings(std::string_view text, std::vector<Bytes>& into) {
  while (!text.empty() && into.size() < kMaxArguments) {
    const std::size_t end = text.find('\0');
    into.emplace_back(std::string(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return text.empty();
}

Result<Stat> parse_stat(std::string_view text) {
  const std::size_t open = text.find(" (");
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2) {
    return bad("no name in parentheses");
  }
  const auto pid = parse_number<std::int32_t>(text.substr(0, open));
  if (!pid || *pid <= 0) return bad("no pid");

  const auto fields = split_fields(trim(text.substr(close + 1)));
  // One more than we use: when the start time is the last one there, it may be cut.
  if (fields.size() < kStartField + 2) return Error{Errc::truncated, "stat: ends before the start time"};

  Stat stat;
  stat.pid = *pid;
  stat.comm = Bytes(std::string(text.substr(open + 2, close - open - 2)));
  if (fields[0].size() != 1) return bad("no state");
  stat.state = fields[0][0];

  std::int32_t tty = 0;
  const std::array<std::int32_t*, 4> ids = {&stat.ppid, &stat.pgrp, &stat.session, &tty};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto number = parse_number<std::int32_t>(fields[i + 1]);
    if (!number) return bad("an id is no number");
    *ids[i] = *number;
  }
  stat.tty = terminal(static_cast<std::uint32_t>(tty));
  const auto flags = parse_number<std::uint32_t>(fields[6]);
  const auto user = parse_number<std::uint64_t>(fields[11]);
  const auto system = parse_number<std::uint64_t>(fields[12]);
  const auto threads = parse_number<std::uint32_t>(fields[17]);
  const auto start = parse_number<std::uint64_t>(fields[kStartField]);
  if (!flags || !user || !system || !threads || !start) return bad("a counter is no number");
  stat.flags = *flags;
  stat.cpu_ticks = *user + *system;
  stat.threads = *threads;
  stat.start_ticks = *start;
  if (fields.size() > kArgumentsField + 4) {  // Linux 3.5; one more than these, which may be cut
    const std::array<std::uint64_t*, 4> places = {&stat.arg_start, &stat.arg_end, &stat.env_start,
                                                  &stat.env_end};
    for (std::size_t i = 0; i < places.size(); ++i) {
      const auto number = parse_number<std::uint64_t>(fields[kArgumentsField + i]);
      if (!number) return bad("an address is no number");
      *places[i] = *number;
    }
  }
  return stat;
}

Result<std::string> read_text(const Root& proc, std::int32_t pid, std::string_view name) {
  return proc.read_file_in_root(under(pid, name), kMaxProcTextBytes);
}

namespace {

Result<Stat> parse_text(Result<std::string> text, const std::string& origin) {
  if (!text) {
    if (is_gone(text.error()))
      return Error{Errc::vanished, origin + ": no such process", text.error().number};
    return std::move(text).error();
  }
  auto stat = parse_stat(*text);
  if (!stat) return std::move(stat).error().within(origin);
  return stat;
}

bool says_gone(const Result<Stat>& stat) { return stat ? stat->has_ended() : is_gone(stat.error()); }

std::string living_thread_of(const Root& process, const Stat& stat) {
  if (!stat.main_thread_ended() || stat.has_ended()) return {};
  auto directory = process.descend("task");
  auto tids = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!tids) return {};
  for (const std::int32_t tid : *tids) {
    if (tid == stat.pid) continue;
    auto text = directory->read_file_in_root(under(tid, "stat"), kMaxProcTextBytes);
    const auto thread = text ? parse_stat(*text) : Result<Stat>(std::move(text).error());
    if (thread && !thread->main_thread_ended()) return "task/" + std::to_string(tid);
  }
  return {};
}

}  // namespace

Result<Stat> read_own_stat(const Root& process) {
  return parse_text(process.read_file_in_root("stat", kMaxProcTextBytes), process.name());
}

Result<Stat> read_stat(const Root& proc, std::int32_t pid) {
  return parse_text(read_text(proc, pid, "stat"), origin_of(pid));
}

bool has_gone(const Root& proc, std::int32_t pid) { return says_gone(read_stat(proc, pid)); }

bool has_gone(const Root& process) { return says_gone(read_own_stat(process)); }

namespace {

Result<Root> open_process(const Root& proc, std::int32_t pid, std::uint64_t start_ticks, Stat& into) {
  auto process = proc.descend(std::to_string(pid));
  auto stat = process ? read_own_stat(*process) : Result<Stat>(process.error());
  if (!stat && is_gone(stat.error())) {
    return Error{Errc::vanished, origin_of(pid) + ": no such process", stat.error().number};
  }
  if (!stat) return std::move(stat).error();
  if (stat->start_ticks != start_ticks) {
    return Error{Errc::vanished, origin_of(pid) + ": ended, another process has its number"};
  }
  into = *std::move(stat);
  return process;
}

}  // namespace

Result<Root> open_process(const Root& proc, std::int32_t pid, std::uint64_t start_ticks) {
  Stat stat;
  return open_process(proc, pid, start_ticks, stat);
}

std::string living_thread(const Root& process) {
  const auto stat = read_own_stat(process);
  return stat ? living_thread_of(process, *stat) : std::string();
}

Result<Root> open_living(const Root& process) {
  const std::string thread = living_thread(process);
  return thread.empty() ? process.duplicate() : process.descend(thread);
}

Result<Root> open_living(const Root& proc, std::int32_t pid, std::uint64_t start_ticks) {
  Stat stat;
  auto process = open_process(proc, pid, start_ticks, stat);
  if (!process) return process;
  const std::string thread = living_thread_of(*process, stat);
  return thread.empty() ? std::move(process) : process->descend(thread);
}

std::string live_path(const Root& proc, const Stat& stat) {
  std::string own = std::to_string(stat.pid);
  if (!stat.main_thread_ended() || stat.has_ended()) return own;
  auto process = proc.descend(own);
  const std::string thread = process ? living_thread_of(*process, stat) : std::string();
  return thread.empty() ? own : under(own, thread);
}

std::string live_path(const Root& proc, std::int32_t pid) {
  const auto stat = read_stat(proc, pid);
  return stat ? live_path(proc, *stat) : std::to_string(pid);
}

}  // namespace ctriage::proc
