// The tables of `show SOURCE --ps --files ...`, streamed: nothing is held but the row.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "lib/core/text.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

const std::vector<Column> kDescriptorColumns{{"PID", 7, true}, {"FD", 5, true},   {"KIND", 9},
                                             {"FLAGS", 8},     {"SIZE", 6, true}, {"TARGET", 0, false, true}};
const std::vector<Column> kSocketColumns{{"FAMILY", 7},  {"STATE", 11},       {"LOCAL", 28},
                                         {"REMOTE", 28}, {"QUEUED", 6, true}, {"PIDS", 0, false, true}};
const std::vector<Column> kMappingColumns{
    {"PID", 7, true}, {"START", 16, true}, {"SIZE", 6, true}, {"PROT", 4}, {"PATH", 0, false, true}};
const std::vector<Column> kProcessColumns{{"PID", 7, true}, {"INSIDE", 7, true}, {"PPID", 7, true},
                                          {"USER", 6},      {"FROM", 8},         {"STARTED", 9},
                                          {"RSS", 5, true}, {"MEMBER", 11},      {"COMMAND", 0}};
const std::vector<Column> kThreadColumns{{"PID", 7, true}, {"TID", 7, true}, {"S", 1},
                                         {"NAME", 16},     {"WAITS IN", 20}, {"SYSCALL", 0}};
const std::vector<Column> kMountColumns{{"TYPE", 9}, {"MOUNTPOINT", 36}, {"SOURCE", 24}, {"OPTIONS", 0}};
const std::vector<Column> kSecurityColumns{{"PID", 7, true},       {"UIDS", 15}, {"EFFECTIVE", 18},
                                           {"BOUNDING", 18},       {"NNP", 3},   {"SECCOMP", 7},
                                           {"OWN NAMESPACES", 16}, {"LSM", 0}};
const std::vector<Column> kSignalColumns{{"PID", 7, true}, {"WHAT", 0, false, true}};
const std::vector<Column> kEnvironmentColumns{{"PID", 7, true}, {"VARIABLE", 0, false, true}};

std::string number(std::int64_t value) { return std::to_string(value); }
std::string hex(std::uint64_t value) { return fmt::format("{:x}", value); }

std::string seccomp_text(std::int64_t mode) {
  return mode == 0 ? "off" : mode == 1 ? "strict" : mode == 2 ? "filter" : std::to_string(mode);
}

std::string process_row(const Process& process, const Style& style) {
  const auto& uids = process.credentials.uids;
  const std::string command =
      safe(process.exe.path.raw) + (process.argv.size() > 1 ? " " : "") +
      safe_command({process.argv.begin() + (process.argv.empty() ? 0 : 1), process.argv.end()});
  return table_row(kProcessColumns,
                   {number(process.pid), number(process.container_pid), number(process.ppid),
                    uids.empty() ? "?" : user_text(uids.size() > 1 ? uids[1] : uids[0]),
                    from_text(process.exe), process.started_at ? clock_seconds(*process.started_at) : "-",
                    column_size(process.rss_bytes), std::string(to_text(process.membership)), command},
                   style);
}

// The namespaces that differ from those of the container's first process.
std::string own_namespaces(const Process& process, const std::vector<NamespaceId>& first) {
  std::vector<std::string> own;
  for (const NamespaceId& each : process.namespaces) {
    const auto same = std::ranges::find(first, each.type, &NamespaceId::type);
    if (same == first.end() || same->inode != each.inode) own.push_back(safe(each.type));
  }
  return own.empty() ? std::string("-") : join(own, ",");
}

std::string security_row(const Process& process, const std::vector<NamespaceId>& first, const Style& style) {
  const auto& ids = process.credentials.uids;
  std::vector<std::string> uids;
  for (const std::uint32_t uid : ids) uids.push_back(std::to_string(uid));
  if (std::ranges::adjacent_find(ids, std::not_equal_to{}) == ids.end() && !uids.empty()) uids.resize(1);
  return table_row(kSecurityColumns,
                   {number(process.pid), join(uids, ","), hex(process.capabilities.effective.value),
                    hex(process.capabilities.bounding.value), process.no_new_privs ? "on" : "off",
                    seccomp_text(process.seccomp), own_namespaces(process, first),
                    process.lsm_label ? safe(process.lsm_label->raw) : "-"},
                   style);
}

std::string thread_row(const Thread& thread, const Style& style) {
  return table_row(
      kThreadColumns,
      {number(thread.pid), number(thread.tid), safe(thread.state), safe(thread.comm.raw),
       thread.wchan ? safe(thread.wchan->raw) : "-", thread.syscall ? safe(thread.syscall->raw) : "-"},
      style);
}

std::string mount_row(const Mount& mount, const Style& style) {
  return table_row(
      kMountColumns,
      {safe(mount.fstype.raw), safe(mount.mountpoint.raw), safe(mount.source.raw), safe(mount.options.raw)},
      style);
}

// One section: a heading, the table's head, its rows; or why it is not there.
class Section {
 public:
  Section(Snapshot& snapshot, const Out& out) : snapshot_(snapshot), out_(out) {}

  template <class List>
  Status print(Facet facet, std::string_view title, const std::string& head, const List& list) {
    const Coverage coverage = snapshot_.covers(facet);
    std::string text = '\n' + std::string(title) + '\n';
    if (coverage.level == Coverage::Level::none) {
      return out_(text + "   not in this source" + (coverage.why.empty() ? "" : ": " + safe(coverage.why)) +
                  '\n');
    }
    if (auto done = out_(text + head); !done) return done;
    std::uint64_t rows = 0;
    auto done = list([&](const std::string& row) {
      ++rows;
      return out_(row);
    });
    if (!done) return done;
    if (rows == 0 && coverage.level == Coverage::Level::whole) return out_("   none\n");
    if (coverage.level == Coverage::Level::whole) return Done{};
    return out_("   only partly known" + (coverage.why.empty() ? "" : ": " + safe(coverage.why)) + '\n');
  }

 private:
  Snapshot& snapshot_;
  const Out& out_;
};

// Signals and timers, then the seccomp filters; nothing where processes are not in the source: that was said.
Status show_kernel(Snapshot& snapshot, const Container& container, const ShowOptions& options,
                   const Style& style, const Out& out, Task& task) {
  if (snapshot.covers(Facet::processes).level == Coverage::Level::none) return Done{};
  if (auto done = out("\nSIGNALS AND TIMERS\n" + table_head(kSignalColumns)); !done) return done;
  bool filtered = false;
  std::uint64_t rows = 0;
  auto listed = snapshot.list_processes(
      container.id,
      [&](Process&& process) -> Status {
        if (options.pid && *options.pid != process.pid) return Done{};
        constexpr std::int32_t kFilter = 2;
        filtered = filtered || process.seccomp == kFilter;
        auto lines = signal_lines(process);
        if (!process.signals) lines.insert(lines.begin(), "its signals are not recorded");
        for (const std::string& line : lines) {
          ++rows;
          if (auto done = out(table_row(kSignalColumns, {number(process.pid), line}, style)); !done)
            return done;
        }
        return Done{};
      },
      task);
  if (listed && rows == 0) listed = out("   none\n");
  if (!listed || (!filtered && container.seccomp_filters.empty())) return listed;
  if (auto done = out("\nSECCOMP FILTERS\n"); !done) return done;
  if (container.seccomp_filters.empty())
    return out("   not in this source: only a checkpoint has the programs\n");
  std::map<std::uint32_t, std::set<std::int32_t>> users;
  listed = snapshot.list_threads(
      container.id,
      [&](Thread&& thread) {
        for (const std::uint32_t filter : thread.seccomp_filters) users[filter].insert(thread.pid);
        return Status(Done{});
      },
      task);
  std::map<std::vector<std::string>, std::uint32_t> shown;  // by the program
  for (const SeccompFilter& filter : container.seccomp_filters) {
    if (!listed) return listed;
    if (options.pid && !users[filter.number].contains(*options.pid)) continue;
    const auto same = shown.find(filter.listing);
    const auto same_as = same == shown.end() ? std::nullopt : std::optional(same->second);
    listed = out(filter_block(filter, users[filter.number], same_as, style));
    shown.emplace(filter.listing, filter.number);
  }
  return listed;
}

// Of the container's first process.
Status show_difference(Snapshot& snapshot, const Container& container, const ShowOptions& options,
                       const Out& out, Task& task) {
  return snapshot.list_processes(
      container.id,
      [&](Process&& process) -> Status {
        if (process.membership != Membership::init || (options.pid && *options.pid != process.pid))
          return Done{};
        const std::string text = difference_block(against_spec(container, process), container, process);
        return text.empty() ? Status(Done{}) : out("\nUNLIKE THE SPECIFICATION\n" + text);
      },
      task);
}

}  // namespace

std::string descriptor_head() { return table_head(kDescriptorColumns); }
std::string socket_head() { return table_head(kSocketColumns); }
std::string mapping_head() { return table_head(kMappingColumns); }

std::string descriptor_row(const Descriptor& descriptor, const Style& style) {
  return table_row(
             kDescriptorColumns,
             {number(descriptor.pid), number(descriptor.fd), safe(descriptor.kind),
              hex(descriptor.flags.value),
              descriptor.kind == "regular" || descriptor.kind == "memfd" ? column_size(descriptor.size_bytes)
                                                                         : "-",
              safe(descriptor.target.raw) + (descriptor.deleted ? "  DELETED" : "")},
             style) +
         watch_lines(descriptor);
}

std::string socket_row(const Socket& socket, const Style& style) {
  std::vector<std::string> pids;
  for (const std::int32_t pid : socket.pids) pids.push_back(std::to_string(pid));
  const std::uint64_t queued = socket.receive_queue_bytes + socket.send_queue_bytes;
  return table_row(kSocketColumns,
                   {safe(socket.family), socket.state.empty() ? "-" : safe(socket.state),
                    socket.local.empty() ? "-" : safe(socket.local.raw),
                    socket.remote.empty() ? "-" : safe(socket.remote.raw), column_size(queued),
                    pids.empty() ? "-" : join(pids, ",")},
                   style);
}

std::string mapping_row(const Mapping& mapping, const Style& style) {
  const std::uint64_t size =
      mapping.end.value > mapping.start.value ? mapping.end.value - mapping.start.value : 0;
  return table_row(
      kMappingColumns,
      {number(mapping.pid), hex(mapping.start.value), column_size(size), safe(mapping.protection),
       (mapping.path.empty() ? "(anonymous)" : safe(mapping.path.raw)) +
           (mapping.dumped_bytes.value_or(0) > 0 ? "  " + human_size(*mapping.dumped_bytes) + " dumped"
                                                 : "")},
      style);
}

Status show_sections(Snapshot& snapshot, const Container& container, const ShowOptions& options,
                     const Style& style, const Out& out, Task& task) {
  const auto wanted = [&options](std::int32_t pid) { return !options.pid || *options.pid == pid; };
  Section section(snapshot, out);
  Status done = Done{};

  // Lists the processes that are wanted and prints what `rows` makes of each.
  const auto of_processes = [&](auto&& rows) {
    return [&, rows](const auto& print) {
      return snapshot.list_processes(
          container.id,
          [&](Process&& process) -> Status {
            if (!wanted(process.pid)) return Done{};
            return rows(process, print);
          },
          task);
    };
  };
  if (options.wants(&ShowOptions::processes)) {
    if (options.pid) {
      done = section.print(Facet::processes, "PROCESS", "",
                           of_processes([&](const Process& process, const auto& print) {
                             return print(process_block(process, style));
                           }));
    } else {
      done = section.print(Facet::processes, "PROCESSES", table_head(kProcessColumns),
                           of_processes([&](const Process& process, const auto& print) {
                             return print(process_row(process, style));
                           }));
    }
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::security)) {
    std::vector<NamespaceId> first;
    done = section.print(Facet::processes, "SECURITY", table_head(kSecurityColumns),
                         of_processes([&](const Process& process, const auto& print) {
                           if (first.empty()) first = process.namespaces;
                           return print(security_row(process, first, style));
                         }));
    if (!done) return done;
    if (done = show_kernel(snapshot, container, options, style, out, task); !done) return done;
  }
  if (options.wants(&ShowOptions::environment)) {
    done = section.print(Facet::processes, "ENVIRONMENT", table_head(kEnvironmentColumns),
                         of_processes([&](const Process& process, const auto& print) -> Status {
                           for (const Bytes& variable : process.environ) {
                             auto printed = print(table_row(
                                 kEnvironmentColumns, {number(process.pid), safe(variable.raw)}, style));
                             if (!printed) return printed;
                           }
                           return Done{};
                         }));
    if (done) done = show_difference(snapshot, container, options, out, task);
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::threads)) {
    done = section.print(Facet::threads, "THREADS", table_head(kThreadColumns), [&](const auto& print) {
      return snapshot.list_threads(
          container.id,
          [&](Thread&& thread) {
            return wanted(thread.pid) ? print(thread_row(thread, style)) : Status(Done{});
          },
          task);
    });
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::files)) {
    done = section.print(Facet::descriptors, "OPEN FILES", descriptor_head(), [&](const auto& print) {
      return snapshot.list_descriptors(
          container.id,
          [&](Descriptor&& item) {
            return wanted(item.pid) ? print(descriptor_row(item, style)) : Status(Done{});
          },
          task);
    });
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::sockets)) {
    done = section.print(Facet::sockets, "SOCKETS", socket_head(), [&](const auto& print) {
      return snapshot.list_sockets(
          container.id,
          [&](Socket&& socket) -> Status {
            if (options.pid && std::ranges::find(socket.pids, *options.pid) == socket.pids.end())
              return Done{};
            return print(socket_row(socket, style));
          },
          task);
    });
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::maps)) {
    done = section.print(Facet::mappings, "MAPPINGS", mapping_head(), [&](const auto& print) {
      return snapshot.list_mappings(
          container.id,
          [&](Mapping&& item) { return wanted(item.pid) ? print(mapping_row(item, style)) : Status(Done{}); },
          task);
    });
    if (!done) return done;
  }
  if (options.wants(&ShowOptions::mounts)) {
    done = section.print(Facet::mounts, "MOUNTS", table_head(kMountColumns), [&](const auto& print) {
      return snapshot.list_mounts(
          container.id, [&](Mount&& mount) { return print(mount_row(mount, style)); }, task);
    });
    if (!done) return done;
  }
  return Done{};
}

}  // namespace ctriage::report
