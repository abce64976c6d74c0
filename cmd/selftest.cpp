#include "lib/source/selftest.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/report/selftest.h"

namespace ctriage {
namespace {

Exit run_selftest(const std::string& root, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  SelftestResult result;
  result.checks = source::selftest(root, task);
  const bool text = common.output_format() == report::Format::text;
  if (!text) result.gaps = report::records_of(gaps.kept(), task.now());
  auto written = io.out(text ? report::selftest_text(result) : report::selftest_json(result));
  if (text) tell_gaps(io, common, gaps);
  if (!written) return fail(io, written.error());
  return Exit::complete;
}

}  // namespace

void add_selftest(CLI::App& app, const Common& common, Action& chosen) {
  auto root = std::make_shared<std::string>();
  CLI::App* sub = app.add_subcommand("selftest", "What this node and these privileges allow");
  sub->group("On the node");
  add_root_option(*sub, *root);
  sub->footer(
      "Each thing is tried once, on ctriage itself. Exit status 0: it was "
      "tried, whatever was found.\n"
      "Examples:\n  ctriage selftest\n  ctriage selftest --json | jq '.checks[] | select(.ability != "
      "\"works\")'\n");
  sub->callback([root, &common, &chosen] {
    chosen = [root, &common](Io& io) { return run_selftest(*root, common, io); };
  });
}

}  // namespace ctriage
