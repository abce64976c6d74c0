#include "lib/bundle/verify.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/bundle/salvager.h"
#include "lib/bundle/seal_inputs.h"
#include "lib/bundle/sidecar.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"
#include "lib/report/collect_screen.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct VerifyArguments {
  std::string path;
  std::string digest;
  std::string signers;
  std::string identity;
  bool salvage = false;
  std::string output;
};

std::optional<Bytes> if_any(const std::string& text) {
  return text.empty() ? std::optional<Bytes>() : std::optional<Bytes>(Bytes(text));
}

std::vector<SalvagedStream> streams_of(const std::vector<bundle::StreamState>& states) {
  std::vector<SalvagedStream> streams;
  for (const bundle::StreamState& state : states) {
    streams.push_back({Bytes(state.name), state.size_bytes, state.whole, if_any(state.why)});
  }
  return streams;
}

VerifyResult result_of(const std::string& path, const bundle::Report& report, bool salvage) {
  VerifyResult result;
  result.path = Bytes(path);
  result.verdict = report.verdict == bundle::Verdict::whole   ? Soundness::whole
                   : report.verdict == bundle::Verdict::wrong ? Soundness::wrong
                                                              : Soundness::cut;
  result.members = report.members;
  result.streams = report.streams;
  result.size_bytes = report.size_bytes;
  result.custody_records = report.custody_records;
  if (report.manifest_digest) result.manifest_sha256 = to_hex(*report.manifest_digest);
  if (!report.signed_by.empty()) result.signed_by = report.signed_by;
  result.signer = if_any(report.signer);
  result.encrypted = report.encrypted;
  result.last_phase = if_any(report.last_phase);
  result.problem_count = report.problem_count;
  for (const std::string& problem : report.problems) result.problems.emplace_back(problem);
  result.not_whole = streams_of(report.not_whole);
  if (salvage) result.salvage = streams_of(report.salvage);
  return result;
}

// Files of keys: read before the sandbox, parsed inside.
struct KeyFiles {
  std::string signers;
  std::string identity;
};

Result<KeyFiles> read_key_files(const VerifyArguments& arguments) {
  KeyFiles files;
  if (!arguments.signers.empty()) {
    auto text = bundle::read_key_file(arguments.signers, bundle::Secrecy::open);
    if (!text) return std::move(text).error().within("--signers");
    files.signers = *std::move(text);
  }
  if (!arguments.identity.empty()) {
    auto text = bundle::read_key_file(arguments.identity, bundle::Secrecy::secret);
    if (!text) return std::move(text).error().within("--identity");
    files.identity = *std::move(text);
  }
  return files;
}

struct Keys {
  std::optional<bundle::AllowedSigners> signers;
  std::vector<bundle::AgeIdentity> identities;
};

Result<Keys> parse_key_files(const VerifyArguments& arguments, KeyFiles& files, GapLog& gaps) {
  Keys keys;
  if (!arguments.signers.empty()) {
    auto signers = bundle::AllowedSigners::parse(files.signers);
    if (!signers) return std::move(signers).error().within("--signers " + arguments.signers);
    for (const std::string& line : signers->skipped)
      gaps.add({Impact::note, "signers", arguments.signers, Error{Errc::unsupported, "skipped " + line}});
    keys.signers = *std::move(signers);
  }
  if (!arguments.identity.empty()) {
    auto identities = bundle::parse_identities(files.identity);
    bundle::wipe(files.identity);
    if (!identities) return std::move(identities).error().within("--identity " + arguments.identity);
    keys.identities = *std::move(identities);
  }
  return keys;
}

// What to type when it is encrypted and cannot be opened.
Exit fail_encrypted(const VerifyArguments& arguments, Io& io, const Error& error) {
  (void)fail(io, Error(error).within(arguments.path));
  if (error.code == Errc::denied && arguments.path != "-" && arguments.identity.empty()) {
    const std::string word = shell_word(arguments.path);
    io.err("  ctriage verify --identity KEYFILE " + word + "\n  age -d -i KEYFILE " + word +
           " | ctriage verify -\n");
  }
  return Exit::failed;
}

struct Evidence {
  std::unique_ptr<ByteSource> bytes;     // none yet: by name
  std::optional<bundle::Stored> stored;  // none: standard input
  bool has_sidecar = false;
};

Result<Evidence> open_evidence(const std::string& path, const Task& task) {
  Evidence evidence;
  if (path != "-") {
    auto stored = bundle::Stored::open(path);
    if (!stored) return std::move(stored).error();
    evidence.has_sidecar = stored->beside().stat_beneath(bundle::sidecar_name(stored->stem())).has_value();
    evidence.stored = *std::move(stored);
  }
  if (!evidence.stored || evidence.stored->form() == bundle::Stored::Form::file) {
    auto file = source::open_file(path);
    if (!file) return std::move(file).error();
    evidence.bytes = std::make_unique<FdSource>(*std::move(file), path, task);
  }
  return evidence;
}

SandboxPlan plan_of(const Evidence& evidence, const std::optional<Root>& into) {
  SandboxPlan plan;
  if (into) plan.writable.push_back(into->fd());
  if (!evidence.stored) return plan;
  if (const auto readable = evidence.stored->readable()) plan.readable.push_back(*readable);
  if (evidence.has_sidecar) plan.readable.push_back(evidence.stored->beside().fd());
  return plan;
}

// The sidecar is wrong as the bundle is. Of an encrypted one `custody check` looks at it: it is chained to
// the file's bytes.
Status add_later_hands(const Evidence& evidence, bundle::Report& report, const Task& task) {
  if (!evidence.has_sidecar || report.encrypted || !report.manifest_digest) return Done{};
  const bundle::Stored& stored = *evidence.stored;
  auto sidecar = bundle::check_sidecar(stored.beside(), stored.stem(),
                                       {std::string(bundle::kOfManifest), *report.manifest_digest}, task);
  if (!sidecar) return std::move(sidecar).error();
  if (!*sidecar) return Done{};
  for (const std::string& problem : (*sidecar)->problems) {
    report.problems.push_back(bundle::sidecar_name(stored.stem()) + ": " + problem);
    ++report.problem_count;
    report.verdict = bundle::Verdict::wrong;
  }
  return Done{};
}

Exit run_verify(const VerifyArguments& arguments, const Common& common, Io& io) {
  std::optional<Digest> expected;
  if (!arguments.digest.empty()) {
    Digest digest{};
    if (!parse_digest(arguments.digest, digest)) {
      io.err("ctriage: --digest " + escape_terminal(arguments.digest) + ": not 64 hexadecimal digits\n");
      return Exit::usage;
    }
    expected = digest;
  }
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto evidence = open_evidence(arguments.path, task);
  if (!evidence) return fail(io, evidence.error());
  auto files = read_key_files(arguments);
  if (!files) return fail(io, files.error());
  std::optional<Root> into;
  if (!arguments.output.empty()) {
    auto opened = Root::open(arguments.output);
    if (!opened) return fail(io, std::move(opened).error().within("-o"));
    into = *std::move(opened);
  }
  if (auto inside = enter_sandbox(plan_of(*evidence, into), task.gaps); !inside)
    return fail(io, inside.error());
  auto keys = parse_key_files(arguments, *files, task.gaps);
  if (!keys) return fail(io, keys.error());
  if (!evidence->bytes) {  // read by name, as the sandbox allows
    auto bytes = evidence->stored->bytes(task);
    if (!bytes) return fail(io, bytes.error());
    evidence->bytes = std::move(bytes->source);
  }
  bundle::VerifyOptions options;
  options.digest = expected;
  options.signers = keys->signers ? &*keys->signers : nullptr;
  options.identities = keys->identities;
  std::optional<bundle::Salvager> salvager;
  if (into) {
    salvager.emplace(*std::move(into));
    options.originals = [&salvager](std::string_view stream, std::span<const std::byte> bytes) {
      return salvager->write(stream, bytes);
    };
  }
  auto report = bundle::verify(*evidence->bytes, options, task);
  if (!report) return fail_encrypted(arguments, io, report.error());
  if (auto looked = add_later_hands(*evidence, *report, task); !looked) return fail(io, looked.error());
  VerifyResult result = result_of(arguments.path, *report, arguments.salvage);
  result.salvaged_into = if_any(arguments.output);
  gaps.finish();
  result.gaps = report::records_of(gaps.kept(), task.now());
  const bool text = common.output_format() == report::Format::text;
  auto written =
      io.out(text ? report::verify_text(result, common.verbose, io.out_style) : report::verify_json(result));
  if (!written) return fail(io, written.error());
  switch (report->verdict) {
    case bundle::Verdict::whole:
      return Exit::complete;
    case bundle::Verdict::wrong:
      return Exit::failed;
    case bundle::Verdict::cut:
      return Exit::lost;
  }
  return Exit::failed;
}

}  // namespace

void add_verify(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* sub = app.add_subcommand("verify", "Check every byte of a bundle");
  sub->group("Evidence");
  sub->add_option(
         "bundle", arguments->path,
         "path of a bundle or its .part, of any of its volumes or its directory, - for standard input")
      ->required();
  sub->add_option("--digest", arguments->digest,
                  "what collect printed as sha256, of manifest.json: the bundle must be that one");
  sub->add_option(
      "--signers", arguments->signers,
      "who may have signed, as ssh-keygen -Y verify takes it (allowed signers): one of them must have");
  sub->add_option("--identity", arguments->identity,
                  "age identity file (AGE-SECRET-KEY-1...) of an encrypted bundle");
  auto* salvage =
      sub->add_flag("--salvage", arguments->salvage, "list what can be read of a bundle that is cut");
  sub->add_option("-o,--output", arguments->output,
                  "with --salvage: an empty directory that gets what can be read, unpacked")
      ->needs(salvage);
  sub->footer(
      "Exit status: 0 whole, 1 wrong, 3 cut but whole so far.\n"
      "Examples:\n  ctriage verify BUNDLE.ctriage.tar\n"
      "  ctriage verify --signers examiners --identity KEYFILE BUNDLE.ctriage.tar.age\n"
      "  ctriage verify --salvage BUNDLE.ctriage.tar.part -o DIR\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_verify(*arguments, common, io); };
  });
}

}  // namespace ctriage
