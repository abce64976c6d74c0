// `show SOURCE F1`: the finding and everything around the artifact that it names.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lib/core/text.h"
#include "lib/report/diff_internal.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"
#include "lib/report/timeline.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxIdsNamed = 20;
constexpr std::size_t kMaxParents = 32;
constexpr std::uint64_t kMaxRelatives = 100;  // children shown, processes that run a file
constexpr std::uint64_t kMaxEvents = 100;     // of the timeline around it

std::string finding_block(const Finding& finding, const Style& style) {
  std::string out =
      labelled(safe(finding.id), painted(finding.severity, severity_word(finding.severity), style) + "  " +
                                     safe(finding.title));
  out += labelled("what", safe(finding.what.raw));
  if (finding.at) out += labelled("when", to_rfc3339(*finding.at));
  std::vector<std::string> attack;
  for (const std::string& technique : finding.attack) attack.push_back(safe(technique));
  out += labelled("rule", safe(finding.rule) + (attack.empty() ? "" : "  ATT&CK " + join(attack, ", ")) +
                              "  key " + safe(finding.key));
  return out;
}

// "ctriage show SOURCE --maps": the whole of a command, since a part of it cannot be copied.
std::string show_command(const ShowOptions& options, const std::string& flags) {
  return "ctriage show " + (options.source.empty() ? "SOURCE" : safe(shell_word(options.source))) + " " +
         flags;
}

std::string more_text(std::uint64_t count, const ShowOptions& options) {
  if (count <= kMaxRelatives) return "";
  return fmt::format("   ... {} more: {}\n", with_commas(count - kMaxRelatives),
                     show_command(options, "--ps"));
}

struct Relative {  // what the line of a parent needs
  std::int32_t ppid = 0;
  std::string text;
};

// The finding's process with its parents, sockets, descriptors and the mappings that deserve a look.
Status around_process(Snapshot& snapshot, const Container& container, std::int32_t pid,
                      const ShowOptions& options, const Style& style, const Out& out, Task& task) {
  std::map<std::int32_t, Relative> relatives;
  std::string block;
  std::string children;
  std::uint64_t child_count = 0;
  auto done = snapshot.list_processes(
      container.id,
      [&](Process&& process) -> Status {
        if (process.pid == pid) block += process_block(process, style);
        std::string text =
            fmt::format("{:>7} {:<8} {} {}", process.pid, from_text(process.exe),
                        safe(process.exe.path.raw.substr(0, 512)), safe_command(process.argv, 160));
        text = fit(text, style.width) + '\n';
        if (process.ppid == pid && process.pid != pid && ++child_count <= kMaxRelatives) children += text;
        if (relatives.size() < kMaxTreeProcesses) relatives[process.pid] = {process.ppid, std::move(text)};
        return Done{};
      },
      task);
  if (!done) return done;
  std::string text = block.empty() ? fmt::format("\nPROCESS\n   pid {} is not in this source any more\n", pid)
                                   : "\nPROCESS\n" + block;
  std::string parents;
  auto at = relatives.find(pid);
  for (std::size_t i = 0; i < kMaxParents && at != relatives.end(); ++i) {
    if (at->second.ppid == at->first) break;
    at = relatives.find(at->second.ppid);
    if (at != relatives.end()) parents.insert(0, at->second.text);
  }
  if (!parents.empty()) text += "\nPARENTS\n" + parents;
  if (!children.empty()) text += "\nCHILDREN\n" + children + more_text(child_count, options);
  if (done = out(text); !done) return done;

  ShowOptions around;
  around.pid = pid;
  around.sockets = true;
  around.files = true;
  if (done = show_sections(snapshot, container, around, style, out, task); !done) return done;

  if (snapshot.covers(Facet::mappings).level == Coverage::Level::none) return Done{};
  done = out("\nMAPPINGS that are executable and writable, deleted or of no file\n" + mapping_head());
  if (!done) return done;
  std::uint64_t shown = 0;
  std::uint64_t others = 0;
  done = snapshot.list_mappings(
      container.id,
      [&](Mapping&& mapping) -> Status {
        if (mapping.pid != pid) return Done{};
        const bool executable = mapping.protection.find('x') != std::string::npos;
        const bool writable = mapping.protection.find('w') != std::string::npos;
        const bool named = mapping.path.raw.starts_with('/') && !mapping.path.raw.ends_with(" (deleted)");
        const bool kernels = mapping.path.raw == "[vdso]" || mapping.path.raw == "[vsyscall]";
        if (!executable || kernels || (named && !writable)) {
          ++others;
          return Done{};
        }
        ++shown;
        return out(mapping_row(mapping, style));
      },
      task);
  if (!done) return done;
  return out((shown == 0 ? "   none\n" : "") +
             fmt::format("   {} not shown: {}\n", counted(others, "other mapping", "other mappings"),
                         show_command(options, fmt::format("--maps --pid {}", pid))));
}

Status around_time(const Finding& finding, const ContainerNames& names, const ShowOptions& options,
                   const Style& style, const Out& out, Task& task) {
  if (!options.around) return Done{};
  std::string text = "\nTIMELINE five minutes before and after\n";
  if (!finding.at) return out(text + "   when it happened is not known\n");
  std::uint64_t count = 0;
  auto done = options.around(
      *finding.at,
      [&](Event&& event) -> Status {
        if (++count > kMaxEvents) return Done{};
        std::string line = timeline_line(TimelineForm::text, event, names);
        line.pop_back();
        text += fit(line, style.width) + '\n';
        return Done{};
      },
      task);
  if (!done) return done;
  if (count == 0) text += "   nothing else is recorded\n";
  if (count > kMaxEvents) {
    Timestamp from = *finding.at;
    Timestamp to = *finding.at;
    from.seconds -= kAroundSeconds;
    to.seconds += kAroundSeconds;
    text += fmt::format("   ... {} more: ctriage timeline {} --since {} --until {}\n",
                        with_commas(count - kMaxEvents),
                        options.source.empty() ? "SOURCE" : safe(shell_word(options.source)),
                        to_rfc3339(from), to_rfc3339(to));
  }
  return out(text);
}

// What is known of the file of a process or library, where it is not the image's.
Status file_of_process(Snapshot& snapshot, const Container& container, const Bytes& path, const Out& out,
                       Task& task) {
  if (snapshot.covers(Facet::changes).level == Coverage::Level::none) return Done{};
  std::string text;
  auto done = snapshot.list_changes(
      container.id,
      [&](FileChange&& change) -> Status {
        if (change.path == path) text += change_block(change);
        return Done{};
      },
      task);
  if (!done || text.empty()) return done;
  return out("\nFILE\n" + text);
}

// Before and after of the finding's file, and who runs it.
Status around_file(Snapshot& snapshot, const Container& container, const Bytes& path,
                   const ShowOptions& options, const Style& style, const Out& out, Task& task) {
  std::string text = "\nFILE\n";
  bool found = false;
  auto done = snapshot.list_changes(
      container.id,
      [&](FileChange&& change) -> Status {
        if (change.path != path) return Done{};
        found = true;
        text += change_block(change);
        return Done{};
      },
      task);
  if (!done) return done;
  if (!found) text += "   its change is not recorded in this source\n";
  if (snapshot.covers(Facet::processes).level != Coverage::Level::none) {
    std::string runs;
    std::uint64_t running = 0;
    done = snapshot.list_processes(
        container.id,
        [&](Process&& process) -> Status {
          if (process.exe.path != path || ++running > kMaxRelatives) return Done{};
          runs += fit(fmt::format("{:>7} {:<8} {}", process.pid, from_text(process.exe),
                                  safe_command(process.argv)),
                      style.width) +
                  '\n';
          return Done{};
        },
        task);
    if (!done) return done;
    text += "\nRUN BY\n" + (runs.empty() ? std::string("   no process that is recorded\n")
                                         : runs + more_text(running, options));
  }
  return out(text);
}

}  // namespace

std::string process_block(const Process& process, const Style& style) {
  const auto line = [](std::string_view label, const std::string& text) {
    return text.empty() ? std::string() : "   " + pad_right(std::string(label), 14) + ' ' + text + '\n';
  };
  std::vector<std::string> uids;
  for (const std::uint32_t uid : process.credentials.uids) uids.push_back(std::to_string(uid));
  std::vector<std::string> gids;
  for (const std::uint32_t gid : process.credentials.gids) gids.push_back(std::to_string(gid));
  std::string out;
  const std::string inside = process.container_pid != 0 && process.container_pid != process.pid
                                 ? fmt::format(" ({} inside)", process.container_pid)
                                 : std::string();
  out += line("pid", fmt::format("{}{}, parent {}, session {}, {}", process.pid, inside, process.ppid,
                                 process.session, process.tty.value == 0 ? "no terminal" : "on a terminal"));
  out += line("member", std::string(to_text(process.membership)));
  out += line("program", safe(process.exe.path.raw));
  out += line("from", from_text(process.exe) + ", " + std::string(to_text(process.exe.origin)) + ", mode " +
                          mode_text(process.exe.mode) + ", owner " + user_text(process.exe.uid) + ", " +
                          human_size(process.exe.size_bytes));
  out += line("sha256", process.exe.sha256 ? safe(*process.exe.sha256) : std::string());
  if (process.exe.mtime) out += line("modified", to_rfc3339(*process.exe.mtime));
  if (process.exe.btime) out += line("made", to_rfc3339(*process.exe.btime));
  out += line("command", fit(safe_command(process.argv, 4096), 4 * std::size_t{style.width}));
  out += line("name", safe(process.comm.raw));
  if (process.started_at) out += line("started", to_rfc3339(*process.started_at));
  out += line("uids", join(uids, ",") + "  gids " + join(gids, ","));
  out += line("capabilities",
              fmt::format("effective {:#x}, bounding {:#x}", process.capabilities.effective.value,
                          process.capabilities.bounding.value));
  out += line("confined",
              fmt::format("no-new-privs {}, seccomp {}, {}", process.no_new_privs ? "on" : "off",
                          process.seccomp == 0 ? "off" : "on",
                          !process.lsm_label ? std::string("no LSM label") : safe(process.lsm_label->raw)));
  if (process.tracer_pid != 0) out += line("traced by", std::to_string(process.tracer_pid));
  out += line("directory", safe(process.cwd.raw));
  if (process.root.raw != "/") out += line("root", safe(process.root.raw));
  out += line("memory",
              human_size(process.rss_bytes) + " resident, " + counted(process.threads, "thread", "threads"));
  return out;
}

Finding with_source(Finding finding, std::string_view source) {
  if (source.empty()) return finding;
  const std::string word = shell_word(source);
  std::string& next = finding.next.raw;
  for (auto at = next.find(kSourcePlaceholder); at != next.npos;
       at = next.find(kSourcePlaceholder, at + word.size())) {
    next.replace(at, kSourcePlaceholder.size(), word);
  }
  return finding;
}

Result<Finding> find_finding(Snapshot& snapshot, std::string_view wanted, Task& task) {
  std::optional<Finding> found;
  std::vector<std::string> ids;
  std::uint64_t more = 0;
  auto done = snapshot.list_findings(
      [&](Finding&& finding) {
        if (ids.size() < kMaxIdsNamed) {
          ids.push_back(finding.id);
        } else {
          ++more;
        }
        if (!found && (finding.id == wanted || finding.key == wanted)) found = std::move(finding);
        return Status(Done{});
      },
      task);
  if (!done) return std::move(done).error();
  if (found) return *std::move(found);
  std::string what = "no finding " + std::string(wanted) + "; ";
  what += ids.empty() ? "there are none" : "there are " + join(ids, ", ");
  if (more > 0) what += fmt::format(" and {} more", more);
  return Error{Errc::not_found, std::move(what)};
}

Result<Outcome> show_finding_text(Snapshot& snapshot, std::string_view wanted, const ShowOptions& options,
                                  const Style& style, const Out& out, Task& task) {
  auto finding = find_finding(snapshot, wanted, task);
  if (!finding) return std::move(finding).error();
  if (auto done = out(finding_block(*finding, style)); !done) return std::move(done).error();
  bool found = false;
  ContainerNames names;
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        names.emplace(container.id, container_name(container));
        if (container.id != finding->container) return Done{};
        found = true;
        auto done = out(labelled("where", safe(container_name(container)) + "  " + short_id(container.id) +
                                              "  " + safe(container.image.raw)));
        if (!done) return done;
        if (finding->pid) {
          done = around_process(snapshot, container, *finding->pid, options, style, out, task);
          if (done && finding->path) done = file_of_process(snapshot, container, *finding->path, out, task);
          return done;
        }
        if (finding->path) return around_file(snapshot, container, *finding->path, options, style, out, task);
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error();
  if (!found && !finding->container.empty()) {
    auto done =
        out(labelled("where", "container " + short_id(finding->container) + ", which is not in this source"));
    if (!done) return std::move(done).error();
  }
  if (auto done = around_time(*finding, names, options, style, out, task); !done)
    return std::move(done).error();
  auto gaps = gaps_of(snapshot, task);
  if (!gaps) return std::move(gaps).error();
  if (auto done = out('\n' + gaps_block(*gaps, options.every_gap, style)); !done)
    return std::move(done).error();
  if (!options.source.empty()) {
    std::vector<std::pair<std::string, std::string>> hints{
        {"ctriage show " + shell_word(options.source), "the overview"}};
    if (finding->pid) {
      hints.emplace_back(fmt::format("ctriage show {} --pid {}", shell_word(options.source), *finding->pid),
                         "all of the process");
    }
    if (auto done = out('\n' + next_lines("next", hints, style)); !done) return std::move(done).error();
  }
  Outcome outcome;
  outcome.worst = finding->severity;
  outcome.lost = gaps->count(Impact::lost);
  return outcome;
}

}  // namespace ctriage::report
