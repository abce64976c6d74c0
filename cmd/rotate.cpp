// rotate: which credentials are in reach.
#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/text.h"
#include "lib/report/listing.h"
#include "lib/report/text.h"
#include "lib/source/open.h"
#include "lib/views/credentials.h"

namespace ctriage {
namespace {

struct RotateArguments {
  source::TargetQuery query;
  std::string finding;
};

std::string line_of(const Credential& credential) {
  std::string line =
      report::pad_right(std::string(to_text(credential.kind)), 12) + report::safe(credential.name.view());
  if (!credential.detail.empty()) line += "  " + report::safe(credential.detail.view());
  if (credential.expires_at) line += "  until " + to_rfc3339(*credential.expires_at);
  line += "  read by ";
  constexpr std::size_t kShown = 8;
  for (std::size_t i = 0; i < credential.pids.size() && i < kShown; ++i)
    line += (i == 0 ? "pid " : ", ") + std::to_string(credential.pids[i]);
  if (credential.pids.size() > kShown) line += ", ... " + std::to_string(credential.pids.size()) + " in all";
  if (credential.pids.empty()) line += credential.readers_known ? "no process of now" : "(not known)";
  return line + "\n";
}

std::string search_line(const views::FoundCredentials& found) {
  const CredentialSearch& search = found.search;
  std::string line = "-- " + counted(found.credentials.size(), "credential", "credentials") + "; looked at ";
  line += counted(search.variables, "variable", "variables") + " of " +
          counted(search.processes, "process", "processes") + " and the specification, " +
          counted(search.changed_files, "changed file", "changed files") + ", " +
          counted(search.tree_files, "file", "files") + " of tmpfs and volumes, " +
          counted(search.homes, "home directory", "home directories") + ", " +
          counted(search.mounted, "mounted secret", "mounted secrets") + "; " +
          counted(search.files_read, "file", "files") + " read for what is in them\n";
  return line;
}

// The process of a finding, or all of its container.
Status narrow(Snapshot& snapshot, const std::string& word, views::CredentialOptions& options, Task& task) {
  bool met = false;
  const Emit<Finding> finding = [&](Finding&& seen) -> Status {
    if (seen.id != word && seen.key != word) return Done{};
    met = true;
    options.container = seen.container;
    options.pid = seen.pid;
    return Done{};
  };
  if (auto listed = snapshot.list_findings(finding, task); !listed) return listed;
  if (!met) return Error{Errc::not_found, word + ": no such finding"};
  return Done{};
}

Exit run_rotate(const RotateArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  auto opened = source::open_source(arguments.query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  views::CredentialOptions options{report::is_secret_name};
  if (!arguments.finding.empty()) {
    if (auto met = narrow(**opened, arguments.finding, options, task); !met) return fail(io, met.error());
  }
  const auto found = views::find_credentials(**opened, options, task);
  const bool text = common.output_format() == report::Format::text;
  gaps.finish();
  if (text || !found) tell_gaps(io, common, gaps);
  if (!found) return fail(io, found.error());
  const report::ListAll<Credential> list = [&](const Emit<Credential>& emit) -> Status {
    for (const Credential& credential : found->credentials) {
      if (auto done = emit(Credential(credential)); !done) return done;
    }
    return Done{};
  };
  const auto behind = [&](report::Document& document) { return document.one("looked_at", found->search); };
  auto told = text ? list([&](Credential&& credential) { return io.out(line_of(credential)); })
                   : report::list_as_json<Credential>("ctriage.rotate/1", "credentials", list,
                                                      common.output_format(), io.out, task, behind);
  if (told && text) told = io.out(search_line(*found));
  if (!told) return fail(io, told.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

}  // namespace

void add_rotate(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<RotateArguments>();
  CLI::App* sub =
      app.add_subcommand("rotate", "Which credentials are in reach: names and expiry, never values");
  sub->group("Analysis");
  sub->add_option("source", arguments->query.token,
                  "pod, ns/pod/container, pid:N, or path of a bundle or checkpoint")
      ->required();
  sub->add_option("finding", arguments->finding, "only what the process of this finding has: F1, or its key");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_rule_options(*sub, common);
  sub->footer("Examples:\n  ctriage rotate shop/web-7d9f\n  ctriage rotate BUNDLE.ctriage.tar F1\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_rotate(*arguments, common, io); };
  });
}

}  // namespace ctriage
