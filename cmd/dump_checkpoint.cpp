// dump of a checkpoint: a core of each process, from page maps and pages.
#include <sys/utsname.h>

#include <algorithm>

#include "cmd/dump_files.h"
#include "lib/bundle/writer.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/memory/core_file.h"
#include "lib/source/checkpoint/core.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

// Of a compressed archive several cores grow at once: each is two open files and its plan.
constexpr std::size_t kMostAtOnce = 32;
constexpr std::size_t kMostPlanBytes = 12 << 20;

struct Wanted {
  source::CheckpointTasks* tasks = nullptr;
  std::int32_t pid = 0;
  std::string name;  // of the core
};

Error usage(std::string what) { return {Errc::malformed, std::move(what)}; }

Status check_options(const DumpArguments& arguments) {
  if (arguments.swap_in != SwapIn::automatic || !arguments.freeze.mode.empty() ||
      !arguments.freeze.most.empty() || arguments.file_pages != "changed" || arguments.registers != "syscall")
    return usage(
        "--swap, --freeze, --file-pages and --regs are of live processes; a checkpoint has what it has");
  return Done{};
}

// Nothing of the image's files is on this host by the paths that the core has, and its own must not be taken
// for them: so they are looked for where nothing is, until the user puts the image's directory in its place.
std::string gdb_line(const std::string& machine, const std::string& core) {
  const auto host = sys::uname();
  const bool native = host && machine == static_cast<const char*>(host->machine);
  return std::string(native ? "gdb" : "gdb-multiarch") +
         " -nx -iex 'set auto-load no' -iex 'set sysroot /nonexistent' -c " + shell_word(core);
}

// Errc::malformed: what was typed does not say which process is meant.
Result<std::vector<Wanted>> wanted_of(source::CheckpointSnapshot& snapshot, const DumpArguments& arguments,
                                      Task& task) {
  std::vector<source::ChosenProcess> members;
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        auto tasks = snapshot.tasks_of(container.id);
        if (!tasks) return std::move(tasks).error();
        if (*tasks == nullptr) return Done{};
        for (const Process& process : (*tasks)->processes) {
          if (process.state != "Z") members.push_back({container.id, container.name.raw, process.pid});
        }
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error();
  if (members.empty())
    return Error{Errc::not_found, arguments.query.token + ": no process with memory in it"};
  if (!arguments.all && arguments.pid.pid != 0) {
    auto chosen = source::choose_process(snapshot, arguments.pid, task);
    if (!chosen) return std::move(chosen).error();
    members = *std::move(chosen);
  }
  const bool several = std::ranges::any_of(
      members, [&](const auto& member) { return member.container != members.front().container; });
  if (!arguments.all && members.size() != 1) {
    std::string pids;
    constexpr std::size_t kFew = 20;
    for (const auto& member : std::span(members).first(std::min(kFew, members.size())))
      pids += (pids.empty() ? "" : ", ") + std::to_string(member.pid) + (several ? "@" + member.name : "");
    if (members.size() > kFew) pids += " and " + with_commas(members.size() - kFew) + " more";
    return usage(arguments.query.token + ": several processes, name one with --pid or take --all: " + pids);
  }
  std::vector<Wanted> wanted;
  for (const auto& member : members) {
    auto tasks = snapshot.tasks_of(member.container);
    if (!tasks) return std::move(tasks).error();
    const std::string name =
        (several ? bundle::member_name(member.name) + "." : "") + std::to_string(member.pid) + ".core";
    wanted.push_back({*tasks, member.pid, arguments.all ? name : dump_name(arguments)});
  }
  return wanted;
}

class Dumping {
 public:
  Dumping(const DumpPlace& place, std::uint64_t max_bytes, bool all, Task& task)
      : place_(place), left_bytes_(max_bytes), all_(all), task_(task) {}

  // An error ends it: one process was wanted and is not to be had, no room, time to end.
  Status take(const Wanted& wanted) {
    if (!growing_.empty() && growing_.front()->tasks != wanted.tasks) {
      if (auto done = finish(); !done) return done;
    }
    if (wanted.tasks != last_) shared_ = memory::SharedPages();  // objects are each container's
    last_ = wanted.tasks;
    auto begun = begin(wanted);
    if (!begun) {
      shared_.forget(wanted.pid);  // what its core would have had is for the next that maps it
      const bool no_space = begun.error().code == Errc::full;
      if (!all_ || no_space || !task_.check()) return begun;
      task_.gaps.add(
          {Impact::lost, "memory.process", "pid " + std::to_string(wanted.pid), std::move(begun).error()});
      return Done{};
    }
    std::size_t kept = 0;
    for (const auto& one : growing_) kept += one->core->kept_bytes();
    const bool more = wanted.tasks->is_in_order() && growing_.size() < kMostAtOnce && kept < kMostPlanBytes;
    return more ? Status(Done{}) : finish();
  }

  // Reads the pages of those that have begun.
  Status finish() {
    if (growing_.empty()) return Done{};
    std::vector<source::CheckpointCore*> cores;
    std::vector<source::CheckpointCore::WriteAt> writes;
    for (const auto& one : growing_) {
      cores.push_back(one->core.get());
      writes.emplace_back([file = &one->file](std::uint64_t offset, std::span<const std::byte> bytes) {
        return file->write_at(offset, bytes);
      });
    }
    auto done = source::fill_cores(*last_, cores, writes, task_);
    for (auto& one : growing_) {
      if (done) done = seal(*one);
    }
    growing_.clear();
    return done;
  }

  std::vector<DumpedProcess> processes;

 private:
  struct Growing {  // what is not sealed is of no use: the checkpoint has all of it still
    std::unique_ptr<source::CheckpointCore> core;
    source::CheckpointTasks* tasks;
    memory::PlacedCore file;
    NewFile pages;
    std::string name;
    std::int64_t began_ns;
    std::uint64_t lost;  // gaps of it
    bool sealed = false;
    ~Growing() {
      if (sealed) return;
      file.file().remove();
      pages.remove();
    }
  };

  Status begin(const Wanted& wanted) {
    const std::int64_t began_ns = sys::boottime_ns();
    const std::uint64_t lost = task_.gaps.count(Impact::lost);
    auto core = source::CheckpointCore::plan(*wanted.tasks, wanted.pid, all_ ? &shared_ : nullptr, task_);
    if (!core) return std::move(core).error();
    if ((*core)->data_bytes() > left_bytes_)
      return Error{Errc::full, "pid " + std::to_string(wanted.pid) + ": " +
                                   human_size((*core)->data_bytes()) + " of memory, and there is room for " +
                                   human_size(left_bytes_)};
    auto file = memory::PlacedCore::create(place_.directory, wanted.name, left_bytes_);
    if (!file) return std::move(file).error();
    auto pages = NewFile::create(place_.directory, wanted.name + ".pages.jsonl", left_bytes_);
    if (!pages) {
      file->file().remove();
      return std::move(pages).error();
    }
    auto one = std::unique_ptr<Growing>(new Growing{*std::move(core), wanted.tasks, *std::move(file),
                                                    *std::move(pages), wanted.name, began_ns, 0});
    if (auto written = one->core->write_head(one->file, task_); !written) return written;
    one->lost = task_.gaps.count(Impact::lost) - lost;
    left_bytes_ -= std::min(left_bytes_, one->core->size_bytes());
    growing_.push_back(std::move(one));
    return Done{};
  }

  Status seal(Growing& one) {
    const std::uint64_t lost = task_.gaps.count(Impact::lost);
    RangeFile ranges(one.pages);
    auto told = one.core->tell([&](PageRange&& range) { return ranges.add(range); }, task_);
    if (!told) return told;
    auto digest = one.file.seal(one.core->size_bytes(), task_);
    if (!digest) return std::move(digest).error();
    one.sealed = true;
    auto of_pages = ranges.seal();
    if (!of_pages) return std::move(of_pages).error();
    left_bytes_ -= std::min(left_bytes_, one.pages.size_bytes());
    DumpedProcess process = one.core->process();
    process.core = Bytes(place_.beside(one.name));
    process.pages = Bytes(place_.beside(one.name + ".pages.jsonl"));
    process.complete = one.lost == 0 && task_.gaps.count(Impact::lost) == lost;
    process.sha256 = to_hex(*digest);
    process.pages_sha256 = to_hex(*of_pages);
    process.took_ns = sys::boottime_ns() - one.began_ns;
    process.opens_with = Bytes(gdb_line(one.tasks->machine, process.core.raw));
    processes.push_back(std::move(process));
    return Done{};
  }

  const DumpPlace& place_;
  std::uint64_t left_bytes_;
  bool all_;
  Task& task_;
  memory::SharedPages shared_;
  source::CheckpointTasks* last_ = nullptr;
  std::vector<std::unique_ptr<Growing>> growing_;
};

Exit fail_with(Io& io, const Error& error) {
  const Exit exit = fail(io, error);
  return error.code == Errc::malformed ? Exit::usage : exit;
}

}  // namespace

Exit dump_checkpoint(const DumpArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  if (auto checked = check_options(arguments); !checked) return fail_with(io, checked.error());
  auto place = open_dump_place(arguments);
  if (!place) return fail(io, place.error());
  auto room = free_bytes(place->directory, place->path);
  if (!room) return fail(io, room.error());
  auto opened = source::open_source(arguments.query, {}, task, place->directory.fd());
  if (!opened) return fail(io, opened.error());
  auto* snapshot = dynamic_cast<source::CheckpointSnapshot*>(opened->get());
  if (snapshot == nullptr) {
    return fail(
        io, {Errc::unsupported, arguments.query.token +
                                    ": no checkpoint and nothing live; the cores that a bundle has "
                                    "are in it: tar xOf BUNDLE --wildcards '*/PID.core.zst*' | zstd -dc"});
  }
  auto wanted = wanted_of(*snapshot, arguments, task);
  if (!wanted) return fail_with(io, wanted.error());
  DumpResult result;
  result.target = Bytes(arguments.query.token);
  Dumping dumping(*place, *room, arguments.all, task);
  Status done = Done{};
  for (const Wanted& process : *wanted) {
    if (done) done = dumping.take(process);
  }
  if (done) done = dumping.finish();
  if (!done) {
    tell_gaps(io, common, gaps);
    return fail(io, done.error());
  }
  result.processes = std::move(dumping.processes);
  return end_dump(result, common, io, gaps, task);
}

}  // namespace ctriage
