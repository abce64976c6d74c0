#include "cmd/diff_two.h"

#include <fcntl.h>

#include <array>
#include <memory>

#include "lib/compare/compare.h"
#include "lib/core/sandbox.h"
#include "lib/report/difference.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

// Random, so that no page can have been made for a digest.
Result<std::string> make_salt() {
  constexpr std::size_t kSaltBytes = 32;
  auto device = sys::openat2(AT_FDCWD, "/dev/urandom", O_RDONLY | O_NOCTTY);
  if (!device) return std::move(device).error();
  std::string salt(kSaltBytes, '\0');
  auto got = sys::read(device->get(), std::as_writable_bytes(std::span(salt)), "/dev/urandom");
  if (!got) return std::move(got).error();
  if (*got != salt.size()) return Error{Errc::io, "/dev/urandom gives too little"};
  return salt;
}

compare::CompareOptions options_of(const DiffTwoArguments& arguments, std::string salt) {
  using enum ComparedKind;
  compare::CompareOptions options;
  options.container = arguments.before.container;
  options.pid = arguments.pid.pid;
  options.salt = std::move(salt);
  const bool everything = arguments.all || !arguments.names_a_section();
  const auto add = [&](bool asked, std::initializer_list<ComparedKind> kinds) {
    if (asked || everything) options.kinds.insert(kinds);
    if (asked) options.asked.insert(kinds);
  };
  if (everything) options.kinds.insert(container);
  add(arguments.processes, {process});
  add(arguments.maps, {mapping});
  add(arguments.files, {descriptor});
  add(arguments.sockets, {socket});
  add(arguments.changes, {file});
  add(arguments.mounts, {mount, layer});
  add(arguments.memory, {memory});
  options.live_memory = arguments.memory || arguments.all;
  return options;
}

// A process that opens the source and answers for it. What it gives up, the other and we have still.
Result<Child> start_side(const source::TargetQuery& query, Io& io, std::span<Child* const> siblings) {
  const Child::Work work = [&](Channel& asker) {
    GapLog gaps;
    Task task = make_task(gaps, io);
    task.meter = nullptr;
    auto opened = source::open_source(query, {}, task);
    if (auto* checkpoint = opened ? dynamic_cast<source::CheckpointSnapshot*>(opened->get()) : nullptr)
      checkpoint->hash_changes();
    return compare::serve(opened, asker, io.stop, task) ? 0 : 1;
  };
  return Child::start(work, io.on_stop, siblings);
}

}  // namespace

Exit run_diff_two(const DiffTwoArguments& arguments, const Common& common, Io& io) {
  auto salt = make_salt();
  if (!salt) return fail(io, salt.error());
  auto first = start_side(arguments.before, io, {});
  if (!first) return fail(io, first.error());
  const std::array<Child*, 1> siblings{&*first};
  auto second = start_side(arguments.after, io, siblings);
  if (!second) return fail(io, second.error());
  GapLog gaps;
  Task task = make_task(gaps, io);
  // What they say was made from evidence: no file is opened for it.
  if (auto inside = enter_sandbox({}, gaps); !inside) return fail(io, inside.error());

  compare::Side before("A", first->channel(), io.stop);
  compare::Side after("B", second->channel(), io.stop);
  compare::Comparer comparer(before, after, options_of(arguments, *std::move(salt)));
  const auto failed = [&](const Error& error) {
    if (io.stop) {
      first->stop();
      second->stop();
    }
    tell_gaps(io, common, gaps);
    return fail(io, error);
  };
  auto comparison = comparer.begin(task);
  if (!comparison) return failed(comparison.error());
  const report::ListDifferences list = [&](Comparison& result, const Emit<Difference>& emit) {
    return comparer.run(result, emit, task);
  };
  const report::DifferenceOptions options{arguments.before.token, arguments.after.token, common.verbose};
  const report::Format format = common.output_format();
  auto told = format == report::Format::text
                  ? report::difference_text(*comparison, list, options, io.out_style, io.out, task)
                  : report::difference_json(*comparison, list, format, io.out, task);
  if (!told) return failed(told.error());
  return exit_for(common, std::nullopt, told->lost);
}

}  // namespace ctriage
