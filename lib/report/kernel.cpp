// Parts of `show` about what the kernel keeps for processes: signals, timers, seccomp filters, watches; and
// how far the first process is from what its container's specification says.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>

#include "lib/core/text.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxWatchesShown = 20;  // of one descriptor
constexpr std::size_t kMaxNamesShown = 8;

// signal(7), the numbers of x86 and Arm.
std::string signal_name(std::uint32_t signal) {
  constexpr std::array<std::string_view, 32> kNames{
      "",     "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
      "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
      "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS"};
  return signal > 0 && signal < kNames.size() ? std::string(kNames.at(signal)) : std::to_string(signal);
}

std::string signal_names(std::uint64_t mask) {
  constexpr std::uint32_t kSignals = 64;
  if (std::popcount(mask) > 32) return "all but" + (mask == UINT64_MAX ? " none" : " " + signal_names(~mask));
  std::vector<std::string> names;
  for (std::uint32_t signal = 1; signal <= kSignals; ++signal) {
    if ((mask >> (signal - 1) & 1U) != 0) names.push_back(signal_name(signal));
  }
  return join(names, " ");
}

std::string interval_text(std::uint64_t ns) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  return fmt::format("{}.{:03} s", with_commas(ns / kSecondNs), ns % kSecondNs / 1'000'000);
}

std::string timer_text(const Timer& timer) {
  std::string text = "timer " + safe(timer.kind);
  if (timer.kind == "posix") text += " " + std::to_string(timer.id);
  if (timer.clock) text += ", clock " + std::to_string(*timer.clock);
  text += timer.notify == "none" ? ", tells nobody" : ", sends " + signal_name(timer.signal);
  if (timer.tid) text += " to thread " + std::to_string(*timer.tid);
  if (timer.remaining_ns)
    text += *timer.remaining_ns == 0 ? ", not armed" : ", next in " + interval_text(*timer.remaining_ns);
  if (timer.interval_ns)
    text += *timer.interval_ns == 0 ? ", once" : ", every " + interval_text(*timer.interval_ns);
  return text;
}

struct EventName {
  std::uint64_t bit;
  std::string_view name;
};
constexpr EventName kFileEvents[] = {  // inotify(7); fanotify(7) has the same bits
    {0x1, "access"},   {0x2, "modify"},   {0x4, "attrib"},        {0x8, "close-write"},
    {0x10, "close"},   {0x20, "open"},    {0x40, "move-from"},    {0x80, "move-to"},
    {0x100, "create"}, {0x200, "delete"}, {0x400, "delete-self"}, {0x800, "move-self"}};
constexpr EventName kFanotifyEvents[] = {
    {0x1000, "exec"}, {0x10000, "ask-open"}, {0x20000, "ask-access"}, {0x40000, "ask-exec"}};
constexpr EventName kEpollEvents[] = {{0x1, "in"}, {0x2, "pri"}, {0x4, "out"}, {0x2000, "rdhup"}};

std::string events_text(const Watch& watch) {
  std::vector<std::string> names;
  const auto take = [&](const auto& known) {
    for (const EventName& each : known) {
      if ((watch.events.value & each.bit) != 0) names.emplace_back(each.name);
    }
  };
  if (watch.kind == "epoll") {
    take(kEpollEvents);
  } else {
    take(kFileEvents);
    if (watch.kind.starts_with("fanotify")) take(kFanotifyEvents);
  }
  return names.empty() ? fmt::format("{:#x}", watch.events.value) : join(names, ",");
}

// bpf(2), enum bpf_map_type of linux/bpf.h: the common ones.
std::string map_type_text(std::uint32_t type) {
  constexpr std::array<std::string_view, 28> kNames{"unspec",
                                                    "hash",
                                                    "array",
                                                    "prog array",
                                                    "perf event array",
                                                    "percpu hash",
                                                    "percpu array",
                                                    "stack trace",
                                                    "cgroup array",
                                                    "lru hash",
                                                    "lru percpu hash",
                                                    "lpm trie",
                                                    "array of maps",
                                                    "hash of maps",
                                                    "devmap",
                                                    "sockmap",
                                                    "cpumap",
                                                    "xskmap",
                                                    "sockhash",
                                                    "cgroup storage",
                                                    "reuseport sockarray",
                                                    "percpu cgroup storage",
                                                    "queue",
                                                    "stack",
                                                    "sk storage",
                                                    "devmap hash",
                                                    "struct ops",
                                                    "ring buffer"};
  return type < kNames.size() ? std::string(kNames.at(type)) : "type " + std::to_string(type);
}

// Words below a line, as many on each as fit.
std::string wrapped(const std::vector<std::string>& words, std::size_t indent, const Style& style) {
  const std::size_t width = style.width == 0 ? 120 : style.width;
  std::string out;
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) {
      out += std::string(indent, ' ') + line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + safe(word);
  }
  return line.empty() ? out : out + std::string(indent, ' ') + line + '\n';
}

std::string_view name_of(const Bytes& variable) {
  return variable.view().substr(0, variable.view().find('='));
}

}  // namespace

std::vector<std::string> signal_lines(const Process& process) {
  std::vector<std::string> lines;
  if (process.signals) {
    const Signals& signals = *process.signals;
    if (signals.blocked.value != 0) lines.push_back("blocks " + signal_names(signals.blocked.value));
    if (signals.ignored.value != 0) lines.push_back("ignores " + signal_names(signals.ignored.value));
    std::map<std::uint64_t, std::uint64_t> by_handler;
    for (const SignalHandler& each : signals.handlers) {
      if (each.signal > 0 && each.signal <= 64)
        by_handler[each.handler.value] |= std::uint64_t{1} << (each.signal - 1);
    }
    for (const auto& [handler, mask] : by_handler)
      lines.push_back(fmt::format("catches {} at {:x}", signal_names(mask), handler));
    if (by_handler.empty() && signals.caught.value != 0)
      lines.push_back("catches " + signal_names(signals.caught.value));
  }
  for (const Timer& timer : process.timers) lines.push_back(timer_text(timer));
  return lines;
}

std::string filter_block(const SeccompFilter& filter, const std::set<std::int32_t>& pids,
                         std::optional<std::uint32_t> same_as, const Style& style) {
  std::vector<std::string> users;
  for (const std::int32_t pid : pids) users.push_back(std::to_string(pid));
  std::string out = fmt::format("   filter {}, {}, of {} {}", filter.number,
                                counted(filter.instructions, "instruction", "instructions"),
                                users.size() == 1 ? "pid" : "pids", users.empty() ? "-" : join(users, ","));
  if (filter.previous) out += fmt::format(", set after filter {}", *filter.previous);
  for (const std::string& flag : filter.flags) out += ", " + safe(flag);
  if (same_as) return out + fmt::format(": the program of filter {}\n", *same_as);
  out += '\n';
  if (!filter.otherwise.empty())
    out += fmt::format("      {}: any call not named here; 32-bit calls: {}\n", safe(filter.otherwise),
                       safe(filter.other_machines));
  for (const SeccompRule& rule : filter.rules) {
    out += fmt::format("      {}{}: {}\n", safe(rule.action), rule.by_arguments ? ", by the arguments" : "",
                       counted(rule.syscalls.size(), "call", "calls"));
    out += wrapped(rule.syscalls, 9, style);
  }
  for (const std::string& line : filter.listing) out += "      " + safe(line) + '\n';
  return out;
}

std::string watch_lines(const Descriptor& descriptor) {
  constexpr std::string_view kIndent = "                  ";
  std::string out;
  if (descriptor.bpf_map) {
    const BpfMap& map = *descriptor.bpf_map;
    out += fmt::format("{}{}, at most {} of {} + {} bytes{}{}\n", kIndent, map_type_text(map.type),
                       with_commas(map.max_entries), map.key_bytes, map.value_bytes,
                       map.id ? ", id " + std::to_string(*map.id) : "",
                       map.frozen.value_or(false) ? ", frozen" : "");
  }
  std::size_t shown = 0;
  for (const Watch& watch : descriptor.watches) {
    if (shown++ == kMaxWatchesShown) {
      out += fmt::format("{}... {} more: --json\n", kIndent,
                         with_commas(descriptor.watches.size() - kMaxWatchesShown));
      break;
    }
    std::string what = watch.fd ? "fd " + std::to_string(*watch.fd)
                       : watch.path.empty()
                           ? fmt::format("inode {} of {}:{}", watch.inode.value, watch.device.value >> 32,
                                         watch.device.value & UINT32_MAX)
                           : safe(watch.path.raw);
    out += fmt::format("{}watches {}{}: {}\n", kIndent, what,
                       watch.kind == "fanotify mount" ? " (all of the mount)" : "", events_text(watch));
  }
  return out;
}

SpecDifference against_spec(const Container& container, const Process& init) {
  SpecDifference difference;
  const auto& args = container.args;
  const auto& argv = init.argv;
  // execve(2) of a script puts its interpreter before, and the script's whole path in place of the first.
  const auto last_part = [](const Bytes& path) { return path.view().substr(path.view().rfind('/') + 1); };
  const auto from = static_cast<std::ptrdiff_t>(argv.size()) - static_cast<std::ptrdiff_t>(args.size());
  const bool script = from > 0 && !args.empty() &&
                      last_part(argv[static_cast<std::size_t>(from)]) == last_part(args[0]) &&
                      std::equal(args.begin() + 1, args.end(), argv.begin() + from + 1);
  difference.arguments = !args.empty() && !argv.empty() && argv != args && !script;
  if (container.environ.empty() || init.environ.empty()) return difference;
  std::map<std::string_view, std::string_view> spec;
  for (const Bytes& variable : container.environ) spec[name_of(variable)] = variable.view();
  std::map<std::string_view, const Bytes*> now;
  for (const Bytes& variable : init.environ) now[name_of(variable)] = &variable;
  for (const auto& [name, variable] : now) {
    const auto found = spec.find(name);
    // The runtime sets HOME where the specification has none.
    if (found == spec.end() && name != "HOME") difference.added.push_back(*variable);
    if (found != spec.end() && found->second != variable->view()) difference.changed.push_back(*variable);
  }
  for (const auto& [name, variable] : spec) {
    if (!now.contains(name)) difference.missing.emplace_back(std::string(variable));
  }
  return difference;
}

std::string difference_line(const SpecDifference& difference) {
  std::vector<std::string> parts;
  if (difference.arguments) parts.emplace_back("arguments");
  std::vector<std::string> names;
  std::size_t more = 0;
  const auto take = [&](char sign, const std::vector<Bytes>& variables) {
    for (const Bytes& variable : variables) {
      if (names.size() < kMaxNamesShown) {
        names.push_back(sign + safe(name_of(variable)));
      } else {
        ++more;
      }
    }
  };
  take('+', difference.added);
  take('~', difference.changed);
  take('-', difference.missing);
  if (!names.empty())
    parts.push_back("environment " + join(names, " ") +
                    (more == 0 ? "" : " and " + with_commas(more) + " more"));
  return parts.empty() ? std::string() : labelled("unlike", "its specification: " + join(parts, "; "));
}

std::string difference_block(const SpecDifference& difference, const Container& container,
                             const Process& init) {
  std::string out;
  if (difference.arguments) {
    out += "   specification  " + safe_command(container.args, 4096) + '\n';
    out +=
        fmt::format("   {:<13}  ", "pid " + std::to_string(init.pid)) + safe_command(init.argv, 4096) + '\n';
  }
  for (const Bytes& variable : difference.added) out += "   added          " + safe(variable.raw) + '\n';
  for (const Bytes& variable : difference.changed) out += "   changed        " + safe(variable.raw) + '\n';
  for (const Bytes& variable : difference.missing) out += "   missing        " + safe(variable.raw) + '\n';
  return out;
}

}  // namespace ctriage::report
