#include "lib/extract/extract.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"
#include "cmd/pid_option.h"
#include "lib/collect/place.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/extract.h"
#include "lib/source/objects.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct ExtractArguments {
  source::TargetQuery query;
  std::string output;
  std::string what = "all";
  source::PidChoice pid;
  std::string max_bytes;
};

// Errc::malformed: what was typed is no list of kinds.
Result<ObjectQuery> query_of(const ExtractArguments& arguments) {
  ObjectQuery query;
  query.pid = arguments.pid.pid;
  for (const std::string_view word : split(arguments.what, ',')) {
    if (word == "all") {
      query.kinds.fill(true);
      continue;
    }
    const auto kind = parse_enum<ObjectKind>(word);
    if (!kind) {
      return Error{Errc::malformed, "--what " + std::string(word) +
                                        ": none of all, deleted, memfd, tmpfs, queues, sysv, changed, code"};
    }
    query.kinds[static_cast<std::size_t>(*kind)] = true;
  }
  return query;
}

// An empty directory, made where there is none. Errc::malformed: it has something in it.
Result<Root> open_output(const std::string& path) {
  auto directory = Root::open(path);
  if (directory) {
    const auto names = list_names(*directory, "");
    if (!names) return names.error();
    if (!names->names.empty())
      return Error{Errc::malformed, "-o " + path + ": not empty; name a new directory"};
    return directory;
  }
  if (directory.error().code != Errc::not_found) return std::move(directory).error().within("-o");
  std::string plain = path;
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  auto above = ctriage::Root::open(directory_of(plain));
  if (!above) return std::move(above).error().within("-o");
  const std::string name = plain.substr(plain.rfind('/') + 1);
  if (auto made = sys::mkdirat(above->fd(), name, 0700); !made) return std::move(made).error().within("-o");
  auto opened = sys::openat2(above->fd(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
  if (!opened) return std::move(opened).error().within("-o");
  return Root::adopt(*std::move(opened), path);
}

// How much may be written there, of what is free; for a live target the place must not be one of its own.
Result<std::uint64_t> room_of(Snapshot& snapshot, const Root& directory, const ExtractArguments& arguments,
                              std::uint64_t left_bytes, Task& task) {
  std::uint64_t most = left_bytes;
  if (!arguments.max_bytes.empty()) most = std::min(most, parse_size(arguments.max_bytes).value_or(0));
  if (auto* live = dynamic_cast<source::LiveSnapshot*>(&snapshot)) {
    const auto place = collect::check_place(directory, arguments.output, live->node().proc,
                                            collect::keep_out_of(*live, task));
    if (!place) return place.error();
    most = std::min(most, place->allowed_bytes);
  }
  return most;
}

Exit run_extract(const ExtractArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const std::int64_t began_ns = sys::boottime_ns();
  const auto usage = [&](const Error& error) {
    const Exit exit = fail(io, error);
    return error.code == Errc::malformed ? Exit::usage : exit;
  };
  auto query = query_of(arguments);
  if (!query) return usage(query.error());
  if (!arguments.max_bytes.empty() && !parse_size(arguments.max_bytes))
    return usage({Errc::malformed, "--max-bytes " + arguments.max_bytes + ": not a size, like 512M"});
  auto directory = open_output(arguments.output);
  if (!directory) return usage(directory.error());
  const auto failed = [&](const Error& error) {
    tell_gaps(io, common, gaps);
    return fail(io, error);
  };
  const auto left = free_bytes(*directory, arguments.output);
  if (!left) return failed(left.error());
  source::TargetQuery target = arguments.query;
  const std::string& inside = arguments.pid.container;
  // Of a file pids are each container's.
  if (!inside.empty() && target.container.empty() && source::is_file_source(target))
    target.container = inside;
  auto snapshot = source::open_source(target, {}, task, directory->fd());
  if (!snapshot) return failed(snapshot.error());
  if (!inside.empty()) {
    const auto chosen = source::choose_one(**snapshot, arguments.pid, task);
    if (!chosen) return failed(chosen.error());
    query->pid = chosen->pid;
  }
  const auto room = room_of(**snapshot, *directory, arguments, *left, task);
  if (!room) return failed(room.error());
  auto extraction = extract::Extraction::create(*directory, *room, task);
  if (!extraction) return failed(extraction.error());
  const auto visited = source::visit_objects(**snapshot, *query, **extraction, task);
  const auto digest = (*extraction)->seal();
  if (!visited) return failed(visited.error());
  if (!digest) return failed(digest.error());

  ExtractResult result;
  result.target = Bytes(source_word(**snapshot, arguments.query, task));
  result.directory = Bytes(arguments.output);
  result.manifest = Bytes(child_of(arguments.output, std::string(extract::kManifest)));
  result.manifest_sha256 = to_hex(*digest);
  for (const ObjectCount& count : (*extraction)->counts()) {
    if (query->wants(count.kind)) result.counts.push_back(count);
  }
  gaps.finish();
  result.complete = gaps.count(Impact::lost) == 0;
  result.took_ns = sys::boottime_ns() - began_ns;
  result.gaps = report::records_of(gaps.kept(), task.now());
  const bool text = common.output_format() == report::Format::text;
  auto written = io.out(text ? report::extract_text(result, common.verbose, io.out_style)
                             : report::extract_json(result));
  if (!written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

}  // namespace

void add_extract(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<ExtractArguments>();
  CLI::App* sub = app.add_subcommand("extract",
                                     "All at once, with a manifest: deleted and memfd programs, tmpfs, "
                                     "queues, shared memory, changed files, patched code");
  sub->group("Analysis");
  sub->add_option("source", arguments->query.token, "a checkpoint, a bundle, or a live pod or container")
      ->required();
  sub->add_option("-o,--output", arguments->output,
                  "a new or empty directory; manifest.jsonl in it says what each file was called")
      ->required();
  sub->add_option("--what", arguments->what, "all, or some of deleted,memfd,tmpfs,queues,sysv,changed,code");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_pid_option(*sub, arguments->pid, "what this process has open, mapped or runs");
  sub->add_option("--max-bytes", arguments->max_bytes,
                  "write so much at most, holes not counted: 512M, 8G; what does not fit is a gap");
  sub->footer(
      "Examples:\n  ctriage extract checkpoint.tar --what deleted -o out\n"
      "  ctriage extract BUNDLE.ctriage.tar -o /evidence/objects\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_extract(*arguments, common, io); };
  });
}

}  // namespace ctriage
