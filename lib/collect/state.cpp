// Group "state": what is gone first.
#include <array>
#include <cerrno>

#include "lib/archive/tar_header.h"
#include "lib/collect/collection.h"
#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/model/kinds.h"
#include "lib/runtime/records.h"

namespace ctriage::collect {
namespace {

using source::LiveContainer;

// Texts of /proc/PID kept as they are, beside what we made of them. Those that take the target's mmap lock go
// through the readers.
struct RawFile {
  std::string_view name;
  bool may_stick;
};
constexpr std::array<RawFile, 13> kRawFiles{{{"status", false},
                                             {"stat", false},
                                             {"cgroup", false},
                                             {"mountinfo", false},
                                             {"limits", false},
                                             {"io", false},
                                             {"oom_score_adj", false},
                                             {"uid_map", false},
                                             {"gid_map", false},
                                             {"cmdline", true},
                                             {"environ", true},
                                             {"auxv", true},
                                             {"maps", true}}};

Status add_tar_member(std::string& tar, std::string_view name, std::string_view bytes, std::int64_t mtime) {
  auto header = archive::make_tar_header(name, bytes.size(), mtime);
  if (!header) return std::move(header).error();
  tar += to_text(*header);
  tar += bytes;
  tar.append(archive::tar_padding(bytes.size()), '\0');
  return Done{};
}

// No right to read it, or no longer there: told when the process itself was read.
bool is_refused_twice(const Error& error) {
  return error.code == Errc::denied || error.code == Errc::not_found || error.code == Errc::vanished;
}

bool has_ended(const Root& proc, std::int32_t pid) {
  const auto stat = proc::read_stat(proc, pid);
  return !stat || stat->has_ended();
}

// A single artifact as a member of its own.
template <class T>
std::string document(const T& artifact) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.key("schema");
  writer.text(schema_of<T>());
  writer.members(artifact);
  writer.end_object();
  return out + "\n";
}

// What the engine wrote down of a container, as it is.
Status take_records(Collection& in, const LiveContainer& live) {
  const auto root = in.snapshot.node().root();
  if (!root) {
    in.task.gaps.add({Impact::lost, "container.record", live.container.id, root.error()});
    return Done{};
  }
  for (const std::string& path : runtime::record_files(live.container)) {
    const std::string member =
        in.path_of(live, "runtime/" + bundle::member_name(path.substr(path.rfind('/') + 1)));
    auto text = root->read_file_in_root(path, kMaxJsonLineBytes);
    if (!text && text.error().code == Errc::not_found) {
      in.out.not_collected(member, path, text.error().what);
      continue;
    }
    if (auto status = in.add_file(member, std::move(text), "container.record", path); !status) return status;
  }
  return Done{};
}

Status take_container(Collection& in, const LiveContainer& live) {
  const Container& container = live.container;
  ++in.counts.containers;
  in.counts.ended += live.ended;
  if (auto status = in.out.add(in.path_of(live, "container.json"), document(container), "OCI bundle, procfs");
      !status) {
    return status;
  }
  if (!live.raw_spec.empty()) {
    const std::string source =
        container.bundle_dir.empty() ? container.record.raw : container.bundle_dir.raw + "/config.json";
    if (auto status = in.out.add(in.path_of(live, "spec.json"), live.raw_spec, source); !status)
      return status;
  }
  return live.ended ? take_records(in, live) : Status(Done{});
}

Status take_layers(Collection& in, const LiveContainer& live) {
  const auto layers = [&](const Emit<Layer>& emit) {
    return in.snapshot.list_layers(live.container.id, emit, in.task);
  };
  return take_list<Layer>(in, live, "layers", layers, nullptr);
}

// A process of the host runs programs of the host; one of a container that does has them from outside.
bool takes_bytes_of(const Process& process) {
  if (process.exe.origin == Origin::host) return process.membership != Membership::alone;
  return process.exe.origin != Origin::image;
}

}  // namespace

Status take_containers(Collection& in) {
  for (const LiveContainer& live : in.snapshot.containers()) {
    if (auto status = take_container(in, live); !status) return status;
  }
  return Done{};
}

Status take_ended_state(Collection& in, std::size_t first) {
  constexpr std::array<std::string_view, 6> kGoneLists{"processes", "sockets",  "descriptors",
                                                       "threads",   "mappings", "mounts"};
  const auto wanted = [&](std::string_view collector) { return !in.options.left_out.contains(collector); };
  const auto& containers = in.snapshot.containers();
  for (std::size_t i = first; i < containers.size(); ++i) {
    if (auto status = take_container(in, containers[i]); !status) return status;
    for (const std::string_view list : kGoneLists) {
      if (wanted(list)) static_cast<void>(is_gone(in, containers[i], list));
    }
    if (!wanted("mounts")) continue;
    if (auto status = take_layers(in, containers[i]); !status) return status;
  }
  return Done{};
}

Status take_processes(Collection& in) {
  std::size_t index = 0;
  for (LiveContainer& live : in.snapshot.containers()) {
    const std::size_t place = index++;
    if (is_gone(in, live, "processes")) continue;
    const std::string& id = live.container.id;
    const Emit<Finding> found = [&](Finding&& finding) { return in.add_finding(std::move(finding)); };
    const std::function<Status(const Process&)> each = [&](const Process& process) -> Status {
      ++in.counts.processes;
      if (in.memory.at.try_emplace({place, process.pid}, in.memory.members.size()).second)
        in.memory.members.push_back(member_of(process, place));
      if (process.exe.sha256 && takes_bytes_of(process)) {
        in.programs.try_emplace(
            {id, *process.exe.sha256},
            Collection::Program{id, live.member, process.pid, process.exe.path.raw, process.exe.size_bytes});
      }
      return in.engine.evaluate(process, live.container, in.snapshot.name(), found);
    };
    const auto list = [&](const Emit<Process>& emit) {
      return in.snapshot.list_processes(id, emit, in.task);
    };
    if (auto status = take_list<Process>(in, live, "processes", list, each); !status) return status;
  }
  return Done{};
}

Status take_threads(Collection& in) {
  for (const LiveContainer& live : in.snapshot.containers()) {
    if (is_gone(in, live, "threads")) continue;
    const auto list = [&](const Emit<Thread>& emit) {
      return in.snapshot.list_threads(live.container.id, emit, in.task);
    };
    if (auto status = take_list<Thread>(in, live, "threads", list, nullptr); !status) return status;
  }
  return Done{};
}

Status take_descriptors(Collection& in) {
  for (const LiveContainer& live : in.snapshot.containers()) {
    if (is_gone(in, live, "descriptors")) continue;
    const auto list = [&](const Emit<Descriptor>& emit) {
      return in.snapshot.list_descriptors(live.container.id, emit, in.task);
    };
    if (auto status = take_list<Descriptor>(in, live, "descriptors", list, nullptr); !status) return status;
  }
  return Done{};
}

Status take_mappings(Collection& in) {
  std::size_t index = 0;
  for (const LiveContainer& live : in.snapshot.containers()) {
    const std::size_t place = index++;
    if (is_gone(in, live, "mappings")) continue;
    std::set<std::pair<std::uint64_t, std::uint64_t>> named;
    const Emit<Finding> found = [&](Finding&& finding) { return in.add_finding(std::move(finding)); };
    const std::function<Status(const Mapping&)> each = [&](const Mapping& mapping) -> Status {
      const auto member = in.memory.at.find({place, mapping.pid});
      if (member != in.memory.at.end() && is_anonymous_code(mapping))
        in.memory.members[member->second].anonymous_code = true;
      if (!mapping.origin) return Done{};
      std::vector<std::int32_t>& users = in.libraries[place][source::library_id(mapping)];
      if (users.empty() || users.back() != mapping.pid) users.push_back(mapping.pid);
      if (!source::is_foreign(*mapping.origin) || member == in.memory.at.end()) return Done{};
      // A program of the node has the node's, and was told itself.
      if (in.memory.members[member->second].origin == Origin::host) return Done{};
      in.memory.members[member->second].foreign_library = true;
      // Each file once, whoever has it mapped: one in ld.so.preload is every process's.
      if (named.insert({mapping.device.value, mapping.inode.value}).second)
        return in.engine.evaluate(mapping, live.container, in.snapshot.name(), found);
      return Done{};
    };
    const auto list = [&](const Emit<Mapping>& emit) {
      return in.snapshot.list_mappings(live.container.id, emit, in.task);
    };
    if (auto status = take_list<Mapping>(in, live, "mappings", list, each); !status) return status;
  }
  return Done{};
}

Status take_sockets(Collection& in) {
  for (const LiveContainer& live : in.snapshot.containers()) {
    if (is_gone(in, live, "sockets")) continue;
    const std::function<Status(const Socket&)> each = [&](const Socket&) -> Status {
      ++in.counts.sockets;
      return Done{};
    };
    const auto list = [&](const Emit<Socket>& emit) {
      return in.snapshot.list_sockets(live.container.id, emit, in.task);
    };
    if (auto status = take_list<Socket>(in, live, "sockets", list, each); !status) return status;
  }
  return Done{};
}

Status take_mounts(Collection& in) {
  for (const LiveContainer& live : in.snapshot.containers()) {
    const std::string& id = live.container.id;
    if (!is_gone(in, live, "mounts")) {
      const auto mounts = [&](const Emit<Mount>& emit) { return in.snapshot.list_mounts(id, emit, in.task); };
      if (auto status = take_list<Mount>(in, live, "mounts", mounts, nullptr); !status) return status;
    }
    if (auto status = take_layers(in, live); !status) return status;
  }
  return Done{};
}

Status take_raw(Collection& in) {
  source::Node& node = in.snapshot.node();
  const std::int64_t mtime = in.task.now().seconds;
  for (const LiveContainer& live : in.snapshot.containers()) {
    for (const auto& [pid, held] : live.processes) {
      if (held.gone || held.ended) continue;
      const auto process = proc::open_process(node.proc, pid, held.start_ticks);
      if (!process) {
        in.task.gaps.add({Impact::lost, "proc.raw", "/proc/" + std::to_string(pid), process.error()});
        continue;
      }
      std::string tar;
      const std::string own = std::to_string(pid);
      const std::string thread = proc::living_thread(*process);
      const std::string living = thread.empty() ? own : own + "/" + thread;
      const auto there = proc::open_living(*process);
      if (!there) continue;  // it ended, which was told
      for (const RawFile& file : kRawFiles) {
        const bool of_main = file.name == "status" || file.name == "stat";
        const std::string name = (of_main ? own : living) + "/" + std::string(file.name);
        auto text = file.may_stick
                        ? node.readers.read_file(name, kMaxCmdlineBytes, in.task)
                        : (of_main ? *process : *there).read_file_in_root(file.name, kMaxProcTextBytes);
        if (!text) {
          if (auto go_on = in.task.check(); !go_on) return go_on;
          // EINVAL: it ended since, and has let go of what was asked for.
          if (text.error().number == EINVAL && has_ended(node.proc, pid)) break;
          if (!is_refused_twice(text.error())) {
            in.task.gaps.add({Impact::degraded, "proc.raw", "/proc/" + name, std::move(text).error()});
          }
          continue;
        }
        if (auto status = add_tar_member(tar, name, *text, mtime); !status) return status;
      }
      if (tar.empty()) continue;
      // The readers open by number: what they gave is this process's if it has the number still.
      if (auto still = process->stat_beneath("stat"); !still) {
        in.task.gaps.add({Impact::lost, "proc.raw", "/proc/" + std::to_string(pid),
                          Error(still.error()).within("ended while its texts were read")});
        continue;
      }
      tar.append(2 * archive::kTarBlock, '\0');
      const std::string path = in.path_of(live, "raw/" + std::to_string(pid) + ".tar");
      if (auto status = in.out.add(path, tar, "/proc/" + std::to_string(pid)); !status) return status;
    }
  }
  return Done{};
}

}  // namespace ctriage::collect
