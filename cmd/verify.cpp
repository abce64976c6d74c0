#include "lib/bundle/verify.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct VerifyArguments {
  std::string path;
  std::string digest;
  bool salvage = false;
};

std::string_view word_of(bundle::Verdict verdict) {
  switch (verdict) {
    case bundle::Verdict::whole:
      return "whole";
    case bundle::Verdict::wrong:
      return "WRONG";
    case bundle::Verdict::cut:
      return "CUT";
  }
  return "?";
}

std::string verify_json(const std::string& path, const bundle::Report& report, bool salvage) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.key("schema");
  writer.text("ctriage.verify/1");
  writer.key("path");
  writer.text(path);
  writer.key("verdict");
  writer.text(report.verdict == bundle::Verdict::whole   ? "whole"
              : report.verdict == bundle::Verdict::wrong ? "wrong"
                                                         : "cut");
  writer.member_value("members", report.members);
  writer.member_value("streams", report.streams);
  writer.member_value("size_bytes", report.size_bytes);
  writer.member_value("custody_records", report.custody_records);
  if (!report.custody_why.empty()) writer.member_value("custody_why", report.custody_why);
  if (report.manifest_digest) writer.member_value("manifest_sha256", to_hex(*report.manifest_digest));
  if (!report.last_phase.empty()) writer.member_value("last_phase", report.last_phase);
  writer.member_value("problem_count", report.problem_count);
  writer.member_value("problems", report.problems);
  if (salvage) {
    writer.key("salvage");
    writer.begin_array();
    for (const bundle::StreamState& stream : report.salvage) {
      writer.begin_object();
      writer.member_value("stream", stream.name);
      writer.member_value("size_bytes", stream.size_bytes);
      writer.member_value("whole", stream.whole);
      if (!stream.why.empty()) writer.member_value("why", stream.why);
      writer.end_object();
    }
    writer.end_array();
  }
  writer.end_object();
  return out + "\n";
}

std::string verify_text(const std::string& path, const bundle::Report& report, bool salvage) {
  std::string out = "bundle    " + escape_terminal(path) + "   " + human_size(report.size_bytes) + ", " +
                    std::to_string(report.members) + " members, " + std::to_string(report.streams) +
                    " streams\n";
  out += "verdict   " + std::string(word_of(report.verdict));
  if (report.verdict == bundle::Verdict::whole) out += ": every byte is as it was sealed";
  if (report.verdict == bundle::Verdict::cut) {
    out += ": it ends early, what is there is whole so far; vouched for up to phase ";
    out += report.last_phase.empty() ? "(none)" : escape_terminal(report.last_phase);
  }
  out += "\n";
  for (const std::string& problem : report.problems) out += "problem   " + escape_terminal(problem) + "\n";
  if (report.problem_count > report.problems.size()) {
    out += "problem   and " + std::to_string(report.problem_count - report.problems.size()) + " more\n";
  }
  out += "custody   ";
  if (report.custody_records > 0) {
    out += std::to_string(report.custody_records) + " records, chain " +
           (report.verdict == bundle::Verdict::wrong ? "see problems" : "unbroken");
  } else {
    out += "no records";
  }
  if (!report.custody_why.empty()) out += "; the rest is MISSING: " + escape_terminal(report.custody_why);
  out += "\n";
  if (report.manifest_digest) {
    out += "sha256    " + to_hex(*report.manifest_digest) +
           "   of manifest.json; compare it with the one noted down: --digest\n";
  }
  if (!salvage) {
    if (report.verdict == bundle::Verdict::cut)
      out += "next      ctriage verify --salvage " + shell_word(path) + "\n";
    return out;
  }
  for (const bundle::StreamState& stream : report.salvage) {
    out += (stream.whole ? "whole     " : "PARTLY    ") + escape_terminal(stream.name) + "   " +
           human_size(stream.size_bytes);
    if (!stream.why.empty()) out += "   " + escape_terminal(stream.why);
    out += "\n";
  }
  return out;
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
  auto file = source::open_file(arguments.path);
  if (!file) return fail(io, file.error());
  if (auto inside = enter_sandbox({}, task.gaps); !inside) return fail(io, inside.error());
  FdSource bytes(*std::move(file), arguments.path, task);
  auto report = bundle::verify(bytes, expected, task);
  if (!report) return fail(io, report.error());
  const bool text = common.output_format() == report::Format::text;
  auto written = io.out(text ? verify_text(arguments.path, *report, arguments.salvage)
                             : verify_json(arguments.path, *report, arguments.salvage));
  if (!written) return fail(io, written.error());
  tell_gaps(io, common, gaps);
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
  sub->add_option("bundle", arguments->path, "path of a bundle or its .part, - for standard input")
      ->required();
  sub->add_option("--digest", arguments->digest,
                  "what collect printed as sha256, of manifest.json: the bundle must be that one");
  sub->add_flag("--salvage", arguments->salvage, "list what can be read of a bundle that is cut");
  sub->footer(
      "Exit status: 0 whole, 1 wrong, 3 cut but whole so far.\n"
      "Examples:\n  ctriage verify BUNDLE.ctriage.tar\n  ctriage verify --salvage BUNDLE.ctriage.tar.part\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_verify(*arguments, common, io); };
  });
}

}  // namespace ctriage
