// pack: a bundle from its volumes or its unpacked directory, byte for byte as it was; or cut into volumes.
#include <CLI/CLI.hpp>

#include "cmd/evidence.h"
#include "cmd/pack_redacted.h"
#include "lib/bundle/stored.h"
#include "lib/bundle/tee.h"
#include "lib/bundle/verify.h"
#include "lib/bundle/volumes.h"
#include "lib/core/path.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"
#include "lib/report/hands.h"

namespace ctriage {
namespace {

struct PackArguments {
  std::string source;
  std::string output;
  std::string split;
  bool redact = false;
  SealArguments seal;
};

constexpr std::string_view kSuffix = ".ctriage.tar";
constexpr std::string_view kEncrypted = ".age";

// What it is called when it is whole.
std::string whole_name(const bundle::Stored& stored) {
  std::string name = stored.whole();
  if (stored.form() == bundle::Stored::Form::unpacked && !name.ends_with(kSuffix)) name += kSuffix;
  return name;
}

Exit write_packed(const bundle::Stored& stored, const Root& into, std::uint64_t split,
                  const std::string& folder, const Sealing& sealing, const Common& common, Task& task,
                  Io& io) {
  auto bytes = stored.bytes(task);
  if (!bytes) return fail(io, bytes.error());
  std::string name = whole_name(stored);
  std::uint64_t size_bytes = bytes->size_bytes;
  const bool encrypts = !sealing.recipients.empty();
  if (encrypts) {
    const auto like = bundle::AgeEncryptor::create(sealing.recipients);
    if (!like) return fail(io, like.error());
    name += kEncrypted;
    size_bytes = like->stored_bytes(size_bytes);
  }
  auto sink = bundle::VolumeSink::create(into, name, size_bytes, split);
  if (!sink) return fail(io, sink.error());
  std::unique_ptr<bundle::AgeSink> encrypted;
  if (encrypts) {
    auto begun = bundle::AgeSink::create(*sink, sealing.recipients);
    if (!begun) {
      sink->remove();
      return fail(io, begun.error());
    }
    encrypted = *std::move(begun);
  }
  bundle::TeeSource tee(*bytes->source, encrypted ? static_cast<ByteSink&>(*encrypted) : *sink);
  PackResult result;
  Status copied = Done{};
  if (stored.encrypted()) {
    copied = tee.drain();
  } else {
    auto report = bundle::verify(tee, std::optional<Digest>(), task);
    if (!report) {
      copied = std::move(report).error();
    } else if (report->verdict != bundle::Verdict::whole) {
      sink->remove();
      return refuse_to_pack(io, name, *report);
    } else {
      result.manifest_sha256 = to_hex(*report->manifest_digest);
      result.verified = true;
    }
  }
  if (copied && tee.size_bytes() != bytes->size_bytes)
    copied = Error{Errc::changed, stored.whole() + ": changed while it was read"};
  if (copied && encrypted) copied = encrypted->finish();
  if (copied) copied = sink->seal();
  if (!copied) {
    sink->remove();
    return fail(io, copied.error());
  }
  result.volumes = sink->count();
  result.size_bytes = size_bytes;
  result.sealing = Bytes(sealing.told);
  const std::string path = name_in(folder, name);
  result.path = Bytes(result.volumes > 1 ? bundle::volume_name(path, 0) : path);
  auto told = io.out(common.output_format() == report::Format::text ? report::pack_text(result)
                                                                    : report::pack_json(result));
  return told ? Exit::complete : fail(io, told.error());
}

Exit run_pack(const PackArguments& arguments, const Common& common, Io& io) {
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
  const auto usage = [&io](const char* what) {
    io.err(std::string("ctriage: ") + what + "\n");
    return Exit::usage;
  };
  if (arguments.redact && !arguments.split.empty()) return usage("--split: pack the redacted copy once more");
  if (!arguments.redact && !arguments.seal.sign.empty())
    return usage("--sign: a sealed bundle keeps the signature that it has; with --redact the copy is signed");
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.source);
  if (!stored) return fail(io, stored.error());
  Sealing sealing;
  if (!stored->encrypted()) {
    auto opened = open_sealing(arguments.seal);
    if (!opened) return fail(io, opened.error());
    sealing = *std::move(opened);
  } else if (arguments.redact || !arguments.seal.encrypt_to.empty())
    return fail(io, Error{Errc::denied, arguments.source + ": is encrypted: age -d opens it, then pack"});
  auto into = Root::open(arguments.output);
  if (!into) return fail(io, std::move(into).error().within("-o"));
  SandboxPlan plan;
  plan.writable.push_back(into->fd());
  if (const auto readable = stored->readable()) plan.readable.push_back(*readable);
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  if (arguments.redact) return pack_redacted(*stored, *into, arguments.output, sealing, common, task, io);
  return write_packed(*stored, *into, split, arguments.output, sealing, common, task, io);
}

}  // namespace

void add_pack(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<PackArguments>();
  CLI::App* sub =
      app.add_subcommand("pack", "Join, split or pack a bundle again, verified while it is written");
  sub->group("Evidence");
  sub->add_option("source", arguments->source, "a bundle, any of its volumes, or its unpacked directory")
      ->required();
  sub->add_option("-o,--output", arguments->output, "directory to write into")->required();
  sub->add_option("--split", arguments->split, "volumes of this size, as 256M; without: one file");
  sub->add_flag(
      "--redact", arguments->redact,
      "a copy without secrets: their values hidden in records and logs, bytes of memory and files left "
      "out; the bundle stays as it is");
  add_seal_options(*sub, arguments->seal);
  sub->footer(
      "Exit status: 0 written and whole, 1 wrong, 3 cut: then nothing is written.\n"
      "Examples:\n  ctriage pack BUNDLE.ctriage.tar -o /media --split 256M\n"
      "  ctriage pack /media/BUNDLE.ctriage.tar.000 -o /evidence\n"
      "  ctriage pack BUNDLE.ctriage.tar -o /evidence --encrypt-to age1...\n"
      "  ctriage pack BUNDLE.ctriage.tar -o /to-give --redact\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_pack(*arguments, common, io); };
  });
}

}  // namespace ctriage
