// pack: a bundle from its volumes or its unpacked directory, byte for byte as it was; or cut into volumes.
#include <CLI/CLI.hpp>

#include "cmd/evidence.h"
#include "lib/bundle/stored.h"
#include "lib/bundle/tee.h"
#include "lib/bundle/verify.h"
#include "lib/bundle/volumes.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"

namespace ctriage {
namespace {

struct PackArguments {
  std::string source;
  std::string output;
  std::string split;
};

constexpr std::string_view kSuffix = ".ctriage.tar";

// What it is called when it is whole.
std::string whole_name(const bundle::Stored& stored) {
  std::string name = stored.whole();
  if (stored.form() == bundle::Stored::Form::unpacked && !name.ends_with(kSuffix)) name += kSuffix;
  return name;
}

// Not whole: what verify says, and nothing is left behind.
Exit refuse(Io& io, const std::string& name, const bundle::Report& report) {
  for (const std::string& problem : report.problems)
    io.err("ctriage: " + escape_terminal(name + ": " + problem) + "\n");
  const bool cut = report.verdict == bundle::Verdict::cut;
  if (cut) io.err("ctriage: " + escape_terminal(name) + ": cut: it ends early\n");
  io.err("nothing was written\n");
  return cut ? Exit::lost : Exit::failed;
}

Exit write_packed(const bundle::Stored& stored, const Root& into, std::uint64_t split,
                  const std::string& folder, Task& task, Io& io) {
  auto bytes = stored.bytes(task);
  if (!bytes) return fail(io, bytes.error());
  const std::string name = whole_name(stored);
  auto sink = bundle::VolumeSink::create(into, name, bytes->size_bytes, split);
  if (!sink) return fail(io, sink.error());
  bundle::TeeSource tee(*bytes->source, *sink);
  std::string manifest;
  Status copied = Done{};
  if (stored.encrypted()) {
    copied = tee.drain();
  } else {
    auto report = bundle::verify(tee, std::optional<Digest>(), task);
    if (!report) {
      copied = std::move(report).error();
    } else if (report->verdict != bundle::Verdict::whole) {
      sink->remove();
      return refuse(io, name, *report);
    } else {
      manifest = to_hex(*report->manifest_digest);
    }
  }
  if (copied && tee.size_bytes() != bytes->size_bytes)
    copied = Error{Errc::changed, stored.whole() + ": changed while it was read"};
  if (copied) copied = sink->seal();
  if (!copied) {
    sink->remove();
    return fail(io, copied.error());
  }
  std::string path = folder + (folder.ends_with('/') ? "" : "/") + name;
  if (sink->count() > 1)
    path = bundle::volume_name(path, 0) + " and " + counted(sink->count() - 1, "more", "more");
  std::string text = escape_terminal(path) + "\n";
  if (!manifest.empty()) text += manifest + "  manifest.json\n";
  if (stored.encrypted()) text += "encrypted: copied as it is, not verified\n";
  auto told = io.out(text);
  return told ? Exit::complete : fail(io, told.error());
}

Exit run_pack(const PackArguments& arguments, Io& io) {
  std::uint64_t split = UINT64_MAX;
  if (!arguments.split.empty()) {
    const auto size = parse_size(arguments.split);
    if (!size || *size < bundle::kLeastVolume) {
      io.err("ctriage: --split " + escape_terminal(arguments.split) +
             ": not a size like 256M, of 4K at least\n");
      return Exit::usage;
    }
    split = *size;
  }
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.source);
  if (!stored) return fail(io, stored.error());
  auto into = Root::open(arguments.output);
  if (!into) return fail(io, std::move(into).error().within("-o"));
  SandboxPlan plan;
  plan.writable.push_back(into->fd());
  if (const auto readable = stored->readable()) plan.readable.push_back(*readable);
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  return write_packed(*stored, *into, split, arguments.output, task, io);
}

}  // namespace

void add_pack(CLI::App& app, Action& chosen) {
  auto arguments = std::make_shared<PackArguments>();
  CLI::App* sub =
      app.add_subcommand("pack", "Join, split or pack a bundle again, verified while it is written");
  sub->group("Evidence");
  sub->add_option("source", arguments->source, "a bundle, any of its volumes, or its unpacked directory")
      ->required();
  sub->add_option("-o,--output", arguments->output, "directory to write into")->required();
  sub->add_option("--split", arguments->split, "volumes of this size, as 256M; without: one file");
  sub->footer(
      "Exit status: 0 written and whole, 1 wrong, 3 cut: then nothing is written.\n"
      "Examples:\n  ctriage pack BUNDLE.ctriage.tar -o /media --split 256M\n"
      "  ctriage pack /media/BUNDLE.ctriage.tar.000 -o /evidence\n");
  sub->callback([arguments, &chosen] { chosen = [arguments](Io& io) { return run_pack(*arguments, io); }; });
}

}  // namespace ctriage
