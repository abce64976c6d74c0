#include "lib/views/events.h"

#include <map>
#include <utility>

#include "lib/views/log_times.h"

namespace ctriage::views {
namespace {

constexpr std::size_t kMaxShownArguments = 512;  // bytes

std::string command_of(const Process& process) {
  std::string text;
  for (const Bytes& argument : process.argv) {
    if (text.size() + argument.raw.size() > kMaxShownArguments) return text + " ...";
    text += (text.empty() ? "" : " ") + argument.raw;
  }
  return text.empty() ? "[" + process.comm.raw + "]" : text;
}

Event event_of(Timestamp at, EventKind kind, std::string what, std::string container, std::string message) {
  Event event;
  event.at = at;
  event.kind = kind;
  event.what = std::move(what);
  event.container = std::move(container);
  event.message = Bytes(std::move(message));
  return event;
}

std::string mode_notes(const FileState& file) {
  std::string notes;
  if ((file.mode & 04000U) != 0) notes += ", setuid";
  if ((file.mode & 02000U) != 0) notes += ", setgid";
  if (file.type == FileType::regular) notes += ", " + std::to_string(file.size_bytes) + " bytes";
  if (file.link_target) notes += ", link to " + file.link_target->raw;
  return notes + ", uid " + std::to_string(file.uid);
}

class ListEvents {
 public:
  ListEvents(Snapshot& snapshot, const Emit<Event>& emit, const Emit<FileAt>& each_file, Task& task)
      : snapshot_(snapshot), emit_(emit), each_file_(each_file), task_(task) {}

  Status list() {
    const auto source = snapshot_.describe(task_);
    if (!source) return source.error();
    if (source->taken_at) {
      const std::string what = source->kind == "checkpoint" ? "checkpoint made" : "evidence taken";
      if (auto told = emit_(event_of(*source->taken_at, EventKind::source, what, "",
                                     source->kind + " " + source->target.raw));
          !told)
        return told;
    }
    std::vector<Container> containers;
    const Emit<Container> keep = [&](Container&& container) -> Status {
      containers.push_back(std::move(container));
      return Done{};
    };
    if (auto listed = settled(snapshot_.list_containers(keep, task_), "containers"); !listed) return listed;
    for (const Container& container : containers) {
      if (auto listed = list_one(container); !listed) return listed;
    }
    return list_rest();
  }

 private:
  // One list that fails costs the others nothing.
  Status settled(Status status, const std::string& which) {
    if (status || failed_) return failed_ ? *failed_ : status;
    if (auto go_on = task_.check(); !go_on) return go_on;
    task_.gaps.add({Impact::lost, "timeline", which, std::move(status).error()});
    return Done{};
  }
  Status give(Event&& event) {
    if (event.at.seconds == 0 && event.at.nanoseconds == 0) return Done{};  // nobody wrote a time down
    auto told = emit_(std::move(event));
    if (!told) failed_ = told;
    return told;
  }

  Status list_one(const Container& container) {
    const std::string& id = container.id;
    const auto at = [&](const std::optional<Timestamp>& when, const char* what,
                        const std::string& more = "") -> Status {
      if (!when) return Done{};
      return give(event_of(*when, EventKind::container, what, id,
                           container.name.raw + " " + what + more + ", image " + container.image.raw));
    };
    const std::string code = container.exit_code ? " with " + std::to_string(*container.exit_code) : "";
    for (auto told : {at(container.created_at, "created"), at(container.started_at, "started"),
                      at(container.finished_at, "ended", code)}) {
      if (!told) return told;
    }
    const Emit<Process> process = [&](Process&& seen) -> Status {
      if (!seen.started_at) return Done{};
      Event event =
          event_of(*seen.started_at, EventKind::process, "started", id,
                   command_of(seen) + " (" + seen.exe.path.raw + ", " +
                       std::string(to_text(seen.exe.origin)) + "), parent " + std::to_string(seen.ppid));
      event.pid = seen.pid;
      event.path = seen.exe.path;
      event.sha256 = seen.exe.sha256;
      return give(std::move(event));
    };
    if (auto listed = settled(snapshot_.list_processes(id, process, task_), "processes"); !listed)
      return listed;
    const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
      if (!seen.after) return Done{};  // a deleted name has no time of its own
      const std::string kind(to_text(seen.kind));
      return file({EventKind::file, id, std::move(seen.path), *std::move(seen.after), kind,
                   seen.kind == ChangeKind::added});
    };
    if (auto listed = settled(snapshot_.list_changes(id, change, task_), "changes"); !listed) return listed;
    const Emit<TreeFile> tree = [&](TreeFile&& seen) {
      return file(
          {EventKind::file, id, std::move(seen.path), std::move(seen.file), "in " + seen.mount.raw, true});
    };
    if (auto listed = settled(snapshot_.list_trees(id, tree, task_), "trees"); !listed) return listed;
    return list_logs(id);
  }

  Status file(FileAt&& found) {
    if (each_file_) {
      auto told = each_file_(std::move(found));
      if (!told) failed_ = told;
      return told;
    }
    for (Event& event : events_of_file(found)) {
      if (auto told = give(std::move(event)); !told) return told;
    }
    return Done{};
  }

  Status list_logs(const std::string& id) {
    std::vector<LogFile> logs;
    const Emit<LogFile> keep = [&](LogFile&& log) -> Status {
      logs.push_back(std::move(log));
      return Done{};
    };
    if (auto listed = settled(snapshot_.list_logs(id, keep, task_), "logs"); !listed) return listed;
    for (const LogFile& log : logs) {
      const auto tell = [&](const std::optional<Timestamp>& when, const char* what,
                            const std::string& more) -> Status {
        if (!when) return Done{};
        Event event =
            event_of(*when, EventKind::log, what, id, std::string(what) + " of " + log.path.raw + more);
        event.path = log.path;
        return give(std::move(event));
      };
      if (auto told = tell(log.mtime, "written", ", " + std::to_string(log.size_bytes) + " bytes"); !told)
        return told;
      auto bytes = snapshot_.open_log(log, task_);
      auto times = bytes ? read_log_times(**bytes) : Result<LogTimes>(bytes.error());
      if (!times) {
        if (auto go_on = task_.check(); !go_on) return go_on;
        task_.gaps.add({Impact::lost, "timeline.log", log.path.raw, std::move(times).error()});
        continue;
      }
      if (auto told = tell(times->first, "first line", ""); !told) return told;
      const std::string count = ", " + std::to_string(times->lines) + " lines";
      if (auto told = tell(times->last, "last line", count); !told) return told;
    }
    return Done{};
  }

  Status list_rest() {
    const Emit<Posture> posture = [&](Posture&& seen) -> Status {
      for (const ExecTrace& exec : seen.execs) {
        if (!exec.at) continue;
        Event event = event_of(*exec.at, EventKind::exec, "exec", seen.container,
                               "exec from outside into " + seen.name.raw + " " + exec.id.raw +
                                   (exec.running ? ", still runs" : ", ended"));
        event.pid = exec.pid;
        if (auto told = give(std::move(event)); !told) return told;
      }
      return Done{};
    };
    if (auto listed = settled(snapshot_.list_postures(posture, task_), "postures"); !listed) return listed;
    const Emit<NodeFact> fact = [&](NodeFact&& seen) -> Status {
      if (!seen.file) return Done{};
      return file({EventKind::node, "", std::move(seen.path), *std::move(seen.file),
                   "of the node, " + seen.group, true});
    };
    if (auto listed = settled(snapshot_.list_node_facts(fact, task_), "node"); !listed) return listed;
    const Emit<CustodyAction> custody = [&](CustodyAction&& seen) {
      const std::string message = seen.action.raw + (seen.phase.empty() ? "" : " " + seen.phase.raw);
      return give(event_of(seen.at, EventKind::custody, "custody", "", "ctriage: " + message));
    };
    if (auto listed = settled(snapshot_.list_custody(custody, task_), "custody"); !listed) return listed;
    const Emit<Finding> finding = [&](Finding&& seen) -> Status {
      if (!seen.at) return Done{};
      Event event = event_of(
          *seen.at, EventKind::finding, "finding", seen.container,
          seen.id + " " + std::string(to_text(seen.severity)) + " " + seen.rule + ": " + seen.what.raw);
      event.pid = seen.pid;
      event.path = seen.path;
      return give(std::move(event));
    };
    return settled(snapshot_.list_findings(finding, task_), "findings");
  }

  Snapshot& snapshot_;
  const Emit<Event>& emit_;
  const Emit<FileAt>& each_file_;
  Task& task_;
  std::optional<Status> failed_;  // of emit_
};

}  // namespace

std::vector<Event> events_of_file(const FileAt& found) {
  const FileState& file = found.file;
  std::map<Timestamp, std::string> times;
  const auto add = [&](const Timestamp& at, const char* name) {
    if (at.seconds == 0 && at.nanoseconds == 0) return;  // a tar has one time of its files
    std::string& names = times[at];
    names += (names.empty() ? "" : ", ") + std::string(name);
  };
  add(file.mtime, "modified");
  add(file.atime, "accessed");
  add(file.ctime, "changed");
  if (file.btime) add(*file.btime, "born");
  std::string remark;
  // ext4 and XFS take the clock of the last tick for one and not the other: a second is no sign.
  const bool older = found.is_new && file.btime && file.btime->seconds > file.mtime.seconds + 1;
  if (older && file.type == FileType::regular)
    remark = "; born after it was modified: copied with its time, or the time was set";
  const bool ahead = file.ctime.seconds != 0 && file.mtime.seconds > file.ctime.seconds + 1;
  if (ahead) remark = "; modified after its inode last changed: the time was set";
  std::vector<Event> events;
  for (const auto& [at, names] : times) {
    Event event = event_of(at, found.kind, names, found.container,
                           found.path.raw + " (" + found.what + mode_notes(file) + ")" + remark);
    event.path = found.path;
    event.sha256 = file.sha256;
    events.push_back(std::move(event));
  }
  return events;
}

Status list_events(Snapshot& snapshot, const Emit<Event>& emit, const Emit<FileAt>& each_file, Task& task) {
  return ListEvents(snapshot, emit, each_file, task).list();
}

}  // namespace ctriage::views
