#include "lib/memory/dump.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/dump_files.h"
#include "lib/collect/place.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/memory/core_file.h"
#include "lib/source/live/swap.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

constexpr std::uint64_t kBesideMemory = 64 << 20;  // headers and notes of a core, and its ranges

struct Wanted {  // a process
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::size_t container = 0;
};

// Errc::malformed: what was typed does not say which process is meant.
Result<std::vector<Wanted>> wanted_of(source::LiveSnapshot& snapshot, const DumpArguments& arguments,
                                      const Task& task) {
  std::vector<Wanted> members;
  for (std::size_t i = 0; i < snapshot.containers().size(); ++i) {
    for (const auto& [pid, process] : snapshot.containers()[i].processes) {
      if (!process.gone && !process.ended) members.push_back({pid, process.start_ticks, i});
    }
  }
  if (members.empty()) return Error{Errc::vanished, snapshot.name() + ": no process of it lives any more"};
  if (arguments.all) return members;
  std::int32_t pid = arguments.pid.pid;
  if (!arguments.pid.container.empty()) {
    const auto chosen = source::choose_one(snapshot, arguments.pid, task);
    if (!chosen) return chosen.error();
    pid = chosen->pid;
  }
  if (pid == 0) {
    const auto of_token = source::parse_pid_token(arguments.query.token);
    if (of_token && *of_token) pid = **of_token;
  }
  if (pid == 0 && members.size() == 1) return members;
  const auto found = std::ranges::find(members, pid, &Wanted::pid);
  if (found != members.end()) return std::vector{*found};
  std::string pids;
  constexpr std::size_t kFew = 20;
  for (const Wanted& member : std::span(members).first(std::min(kFew, members.size())))
    pids += (pids.empty() ? "" : ", ") + std::to_string(member.pid);
  if (members.size() > kFew) pids += " and " + with_commas(members.size() - kFew) + " more";
  if (pid != 0)
    return Error{Errc::not_found,
                 "pid " + std::to_string(pid) + ": not of " + snapshot.name() + ", which has " + pids};
  return Error{Errc::malformed,
               snapshot.name() + ": several processes, name one with --pid or take --all: " + pids};
}

// The command for this node. Nothing of the target's files may be run: auto-load is off.
std::string gdb_line(std::int32_t pid, const std::string& core) {
  const std::string process = "/proc/" + std::to_string(pid);
  return "gdb -nx -iex 'set auto-load no' -iex 'set sysroot " + process + "/root' " + process + "/exe " +
         shell_word(core);
}

class Dumping {
 public:
  // All files together have at most `max_bytes`.
  Dumping(source::LiveSnapshot& snapshot, const DumpPlace& place, std::uint64_t max_bytes,
          const memory::DumpOptions& options, const source::FreezeChoice& freeze, SwapIn swap, Task& task)
      : snapshot_(snapshot),
        place_(place),
        left_bytes_(max_bytes),
        options_(options),
        freezers_(snapshot.node(), freeze),
        swap_(snapshot.node(), swap),
        task_(task) {}

  Result<DumpedProcess> dump(const Wanted& wanted, const std::string& name) {
    const std::int64_t began_ns = sys::boottime_ns();
    const std::string pages_name = name + ".pages.jsonl";
    auto core = memory::CoreFile::create(place_.directory, name, left_bytes_);
    if (!core) return std::move(core).error();
    auto pages = NewFile::create(place_.directory, pages_name, left_bytes_);
    if (!pages) {
      (*core)->file().remove();
      return std::move(pages).error();
    }
    RangeFile ranges(*pages);
    memory::DumpOptions options = options_;
    // Of several one that does not fit leaves the room to the others.
    if (options.plan.shared != nullptr)
      options.max_core_bytes = left_bytes_ - std::min(kBesideMemory, left_bytes_ / 8);
    options.plan.swap_in = swap_.admits(wanted.pid, task_);
    options.freeze = freezers_.options_for(snapshot_.containers()[wanted.container], wanted.pid, task_);
    const std::uint64_t lost = task_.gaps.count(Impact::lost);
    auto dumped = memory::dump_process(
        snapshot_.node().proc, snapshot_.node().readers, wanted.pid, wanted.start_ticks, options, **core,
        [&](PageRange&& range) { return ranges.add(range); }, task_);
    const std::uint64_t written = (*core)->file().size_bytes() + pages->size_bytes();
    left_bytes_ -= std::min(left_bytes_, written);
    auto of_pages = dumped ? ranges.seal() : Result<Digest>(std::move(dumped).error());
    auto digest = of_pages ? (*core)->seal() : of_pages;
    if (!digest) return left_behind(std::move(digest).error(), wanted, (*core)->file(), *pages, name);

    DumpedProcess process = *std::move(dumped);
    freezers_.stood(snapshot_.containers()[wanted.container], process.frozen_ns);
    process.core = Bytes(place_.beside(name));
    process.pages = Bytes(place_.beside(pages_name));
    process.complete = task_.gaps.count(Impact::lost) == lost;
    process.sha256 = to_hex(*digest);
    process.pages_sha256 = to_hex(*of_pages);
    process.took_ns = sys::boottime_ns() - began_ns;
    process.opens_with = Bytes(gdb_line(wanted.pid, process.core.raw));
    return process;
  }

 private:
  // What was read stays, under a name that says that it is not whole; where nothing was read nothing stays.
  Error left_behind(Error error, const Wanted& wanted, NewFile& core, NewFile& pages,
                    const std::string& name) const {
    if (options_.plan.shared != nullptr) options_.plan.shared->forget(wanted.pid);
    if (core.size_bytes() > 0)
      return Error{error.code, error.what + "; what was read is in " + place_.beside(name) + ".part",
                   error.number};
    core.remove();
    pages.remove();
    return error;
  }

  source::LiveSnapshot& snapshot_;
  const DumpPlace& place_;
  std::uint64_t left_bytes_;
  const memory::DumpOptions& options_;
  source::Freezers freezers_;
  source::SwapRoom swap_;
  Task& task_;
};

Exit run_dump(const DumpArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  if (source::is_file_source(arguments.query)) return dump_checkpoint(arguments, common, io);
  const auto freeze = freeze_choice_of(arguments.freeze);
  if (!freeze) {
    (void)fail(io, freeze.error());
    return Exit::usage;
  }
  auto place = open_dump_place(arguments);
  if (!place) return fail(io, place.error());
  auto opened = source::open_live(arguments.query, task);
  if (!opened) return fail(io, opened.error());
  source::LiveSnapshot& snapshot = **opened;
  auto wanted = wanted_of(snapshot, arguments, task);
  if (!wanted) {
    const Exit exit = fail(io, wanted.error());
    return wanted.error().code == Errc::malformed ? Exit::usage : exit;
  }
  const auto allowed = collect::check_place(place->directory, place->path, snapshot.node().proc,
                                            collect::keep_out_of(snapshot, task));
  if (!allowed) return fail(io, allowed.error());

  memory::SharedPages shared;
  memory::DumpOptions options;
  options.plan.file_pages =
      parse_enum<memory::FilePages>(arguments.file_pages).value_or(memory::FilePages::changed);
  if (wanted->size() > 1) options.plan.shared = &shared;
  options.registers = parse_enum<memory::Registers>(arguments.registers).value_or(memory::Registers::syscall);

  DumpResult result;
  result.target = Bytes(snapshot.name());
  Dumping dumping(snapshot, *place, allowed->allowed_bytes, options, *freeze, arguments.swap_in, task);
  for (const Wanted& process : *wanted) {
    const std::string name = arguments.all ? std::to_string(process.pid) + ".core" : dump_name(arguments);
    auto dumped = dumping.dump(process, name);
    if (dumped) {
      result.processes.push_back(*std::move(dumped));
      continue;
    }
    const Errc code = dumped.error().code;
    const bool no_space =
        code == Errc::full && dumped.error().number != 0;  // else our own limit, of this one
    if (!arguments.all || !task.check() || no_space) {
      tell_gaps(io, common, gaps);
      return fail(io, dumped.error());
    }
    // A kernel thread has no memory that could be lost.
    const Impact impact = code == Errc::unsupported ? Impact::note : Impact::lost;
    gaps.add({impact, "memory.process", "pid " + std::to_string(process.pid), std::move(dumped).error()});
  }
  return end_dump(result, common, io, gaps, task);
}

}  // namespace

void add_dump(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<DumpArguments>();
  CLI::App* sub = app.add_subcommand(
      "dump", "Memory of a process as an ELF core, without attaching to it unless --regs ptrace was typed");
  sub->group("Analysis");
  sub->add_option("source", arguments->query.token,
                  "pid:N, or a live pod or container, or the path of a checkpoint, with --pid or --all")
      ->required();
  sub->add_option("-o,--output", arguments->output,
                  "the core; what each page is goes beside it into PATH.pages.jsonl. With --all: an existing "
                  "directory")
      ->required();
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  auto* pid = add_pid_option(*sub, arguments->pid, "this process of the container");
  sub->add_flag("--all", arguments->all, "every process of the container; shared memory once")->excludes(pid);
  sub->add_option("--file-pages", arguments->file_pages,
                  "of mapped files: changed (private copies), all (every page in memory) or none")
      ->check(CLI::IsMember({"changed", "all", "none"}));
  sub->add_option(
         "--regs", arguments->registers,
         "registers: syscall (stack and instruction pointer of threads that wait), ptrace (all; stops "
         "each thread for that) or none")
      ->check(CLI::IsMember({"syscall", "ptrace", "none"}));
  add_freeze_options(*sub, arguments->freeze);
  add_swap_option(*sub, arguments->swap_in);
  sub->footer(
      "Examples:\n  ctriage dump pid:4711 -o /evidence/4711.core\n"
      "  ctriage dump shop/web-7d9f -c app --all -o /evidence/memory\n"
      "  ctriage dump shop/web-7d9f --pid 17@app -o /evidence/17.core\n"
      "  ctriage dump checkpoint.tar --all -o /evidence/memory\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_dump(*arguments, common, io); };
  });
}

}  // namespace ctriage
