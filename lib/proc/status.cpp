// /proc/PID/status, /proc/PID/fdinfo/N and /proc/PID/limits: lines of "Key:\tvalue" and one table of fixed
// columns. proc_pid_status(5): the kernel escapes the newline in "Name:", so every line is the kernel's own.
#include <array>
#include <utility>

#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

std::optional<std::vector<std::uint32_t>> numbers(std::string_view value) {
  std::vector<std::uint32_t> found;
  for (const std::string_view field : split_fields(trim(value))) {
    const auto number = parse_number<std::uint32_t>(field);
    if (!number) return std::nullopt;
    found.push_back(*number);
  }
  return found;
}

bool take_ids(std::string_view value, std::vector<std::uint32_t>& into) {
  auto found = numbers(value);
  if (!found) return false;
  into = *std::move(found);
  return true;
}

template <class T>
bool take_number(std::string_view value, T& into, int base = 10) {
  const auto number = parse_number<T>(trim(value), base);
  if (number) into = *number;
  return number.has_value();
}

bool take_kilobytes(std::string_view value, std::uint64_t& into) {  // "    1612 kB"
  const auto fields = split_fields(trim(value));
  if (fields.size() != 2 || fields[1] != "kB") return false;
  const auto number = parse_number<std::uint64_t>(fields[0]);
  if (!number || *number > UINT64_MAX / 1024) return false;
  into = *number * 1024;
  return true;
}

bool take_innermost_pid(std::string_view value,
                        std::int32_t& into) {  // NSpid: "4711\t12\t1", outermost first
  const auto fields = split_fields(trim(value));
  return !fields.empty() && take_number(fields.back(), into);
}

Signals& signals_of(Process& process) {
  if (!process.signals) process.signals.emplace();
  return *process.signals;
}

// False when a line that we know holds something else; lines of newer kernels are passed over.
bool take_line(std::string_view key, std::string_view value, Process& into) {
  if (key == "Uid") return take_ids(value, into.credentials.uids) && into.credentials.uids.size() == 4;
  if (key == "Gid") return take_ids(value, into.credentials.gids) && into.credentials.gids.size() == 4;
  if (key == "Groups") return take_ids(value, into.credentials.groups);
  if (key == "NSpid") return take_innermost_pid(value, into.container_pid);
  if (key == "TracerPid") return take_number(value, into.tracer_pid);
  if (key == "VmSize") return take_kilobytes(value, into.virtual_bytes);
  if (key == "VmRSS") return take_kilobytes(value, into.rss_bytes);
  if (key == "VmSwap") return take_kilobytes(value, into.swap_bytes);
  if (key == "CapInh") return take_number(value, into.capabilities.inheritable.value, 16);
  if (key == "CapPrm") return take_number(value, into.capabilities.permitted.value, 16);
  if (key == "CapEff") return take_number(value, into.capabilities.effective.value, 16);
  if (key == "CapBnd") return take_number(value, into.capabilities.bounding.value, 16);
  if (key == "CapAmb") return take_number(value, into.capabilities.ambient.value, 16);
  if (key == "SigBlk") return take_number(value, signals_of(into).blocked.value, 16);
  if (key == "SigIgn") return take_number(value, signals_of(into).ignored.value, 16);
  if (key == "SigCgt") return take_number(value, signals_of(into).caught.value, 16);
  if (key == "Seccomp") return take_number(value, into.seccomp);
  if (key == "Seccomp_filters") return take_number(value, into.seccomp_filters.emplace());
  if (key == "NoNewPrivs") {
    std::uint32_t set = 0;
    if (!take_number(value, set)) return false;
    into.no_new_privs = set != 0;
  }
  return true;
}

// "ino:9e7e" of a line of words; nothing: not there, or no number.
template <class T>
std::optional<T> word_of(const std::vector<std::string_view>& words, std::string_view name, int base) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with(name) || words[i].size() <= name.size() || words[i][name.size()] != ':')
      continue;
    std::string_view value = words[i].substr(name.size() + 1);
    if (value.empty() && i + 1 < words.size()) value = words[i + 1];  // epoll pads: "tfd:        5"
    return parse_number<T>(value, base);
  }
  return std::nullopt;
}

// A line of fs/notify/fdinfo.c or of ep_show_fdinfo(), fs/eventpoll.c; numbers are hexadecimal but for tfd.
std::optional<Watch> parse_watch(std::string_view line) {
  constexpr unsigned kMinorBits = 20;  // the kernel's own dev_t
  const bool inotify = line.starts_with("inotify wd:");
  const bool fanotify = line.starts_with("fanotify ino:") || line.starts_with("fanotify mnt_id:");
  if (!inotify && !fanotify && !line.starts_with("tfd:")) return std::nullopt;
  const auto words = split_fields(line);
  Watch watch;
  watch.kind = inotify ? "inotify" : !fanotify ? "epoll" : line[9] == 'm' ? "fanotify mount" : "fanotify";
  watch.events = Hex{word_of<std::uint64_t>(words, inotify || fanotify ? "mask" : "events", 16).value_or(0)};
  watch.inode = Hex{word_of<std::uint64_t>(words, "ino", 16).value_or(0)};
  const auto device = word_of<std::uint64_t>(words, "sdev", 16).value_or(0);
  watch.device = Hex{device >> kMinorBits << 32 | (device & ((1U << kMinorBits) - 1))};
  if (!inotify && !fanotify) watch.fd = word_of<std::int32_t>(words, "tfd", 10);
  return watch;
}

// bpf_map_show_fdinfo() of kernel/bpf/syscall.c; other lines are passed over.
bool take_map_line(std::string_view key, std::string_view value, BpfMap& into) {
  if (key == "map_type") return take_number(value, into.type);
  if (key == "key_size") return take_number(value, into.key_bytes);
  if (key == "value_size") return take_number(value, into.value_bytes);
  if (key == "max_entries") return take_number(value, into.max_entries);
  if (key == "map_id") return take_number(value, into.id.emplace());
  if (key == "frozen") {
    std::uint32_t set = 0;
    if (!take_number(value, set)) return false;
    into.frozen = set != 0;
  }
  return true;
}

}  // namespace

Status parse_status(std::string_view text, Process& into) {
  std::string wrong;
  each_whole_line(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    const std::string_view key = line.substr(0, colon);
    const std::string_view value =
        colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
    if (!take_line(key, value, into) && wrong.empty()) wrong = key;
  });
  if (!wrong.empty())
    return Error{Errc::malformed, "status: the value of " + wrong + " is not what it should be"};
  if (into.credentials.uids.empty() || into.credentials.gids.empty()) {
    return Error{Errc::truncated, "status: ends before Uid and Gid"};
  }
  return Done{};
}

Result<FdInfo> parse_fdinfo(std::string_view text) {
  FdInfo info;
  bool have_position = false;
  bool have_flags = false;
  bool over = false;
  std::string wrong;
  each_whole_line(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1);
    bool ok = true;
    if (auto watch = parse_watch(line)) {
      over = over || info.watches.size() >= kMaxWatches;
      if (!over) info.watches.push_back(*std::move(watch));
    } else if (key == "pos" && !have_position) {
      // A signed 64-bit offset: /proc/PID/mem has positions over 2^63, printed as negative numbers.
      std::int64_t position = 0;
      ok = have_position = take_number(value, position);
      info.position_bytes = static_cast<std::uint64_t>(position);
    } else if (key == "flags" && !have_flags) {
      ok = have_flags = take_number(value, info.flags, 8);
    } else if (key == "ino" && !info.inode) {  // Linux 5.14; later lines of inotify begin with "inotify wd:"
      std::uint64_t inode = 0;
      ok = take_number(value, inode);
      if (ok) info.inode = inode;
    } else if (key == "map_type" || info.bpf_map) {
      if (!info.bpf_map) info.bpf_map.emplace();
      ok = take_map_line(key, value, *info.bpf_map);
    }
    if (!ok && wrong.empty()) wrong = key;
  });
  if (!wrong.empty()) return Error{Errc::malformed, "fdinfo: the value of " + wrong + " is no number"};
  if (!have_position || !have_flags) return Error{Errc::truncated, "fdinfo: ends before pos and flags"};
  if (over) return Error{Errc::limit, "fdinfo: over " + std::to_string(kMaxWatches) + " watches"};
  return info;
}

// proc_pid_timers(5): "ID: 1", "signal: 60/00007fff86e452a8", "notify: signal/pid.2634", "ClockID: 0".
std::vector<Timer> parse_timers(std::string_view text) {
  std::vector<Timer> timers;
  each_whole_line(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = trim(line.substr(colon + 1));
    const std::string_view first = value.substr(0, value.find('/'));
    if (key == "ID") {
      const auto id = parse_number<std::int32_t>(value);
      if (!id) return;
      timers.emplace_back();
      timers.back().kind = "posix";
      timers.back().id = *id;
      return;
    }
    if (timers.empty()) return;
    Timer& timer = timers.back();
    if (key == "signal") timer.signal = parse_number<std::uint32_t>(first).value_or(0);
    if (key == "ClockID") timer.clock = parse_number<std::int32_t>(value);
    if (key != "notify") return;
    for (const std::string_view word : {"signal", "none", "thread"}) {
      if (first == word) timer.notify = word;
    }
    const std::size_t tid = value.find("/tid.");
    if (tid != std::string_view::npos) timer.tid = parse_number<std::int32_t>(value.substr(tid + 5));
  });
  return timers;
}

// proc_pid_limits(5): "%-25s %-20s %-20s %-10s\n"; names hold single blanks, so the first column ends where
// it is wide.
std::vector<Limit> parse_limits(std::string_view text) {
  constexpr std::size_t kNameWidth = 25;
  std::vector<Limit> limits;
  each_whole_line(text, [&](std::string_view line) {
    if (line.size() <= kNameWidth || line[kNameWidth] != ' ' || line.starts_with("Limit ")) return;
    const auto values = split_fields(line.substr(kNameWidth));
    const std::string_view name = trim(line.substr(0, kNameWidth));
    if (name.empty() || values.size() < 2) return;
    const auto is_value = [](std::string_view v) {
      return v == "unlimited" || parse_number<std::uint64_t>(v);
    };
    if (!is_value(values[0]) || !is_value(values[1])) return;
    limits.push_back({std::string(name), std::string(values[0]), std::string(values[1]),
                      std::string(values.size() > 2 ? values[2] : std::string_view())});
  });
  return limits;
}

}  // namespace ctriage::proc
