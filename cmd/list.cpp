#include "lib/report/list.h"

#include <CLI/CLI.hpp>
#include <set>

#include "cmd/commands.h"
#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/report/archives.h"
#include "lib/source/archives.h"
#include "lib/source/disk.h"
#include "lib/source/inventory.h"

namespace ctriage {
namespace {

struct ListArguments {
  report::ListOptions shown;
  source::ListQuery query;
  std::string root;
  std::vector<std::string> directories;
};

// The node that runs, or the disk of one that does not.
Result<std::vector<source::Listed>> list_what(const ListArguments& arguments, report::ListHead& head,
                                              Task& task) {
  auto node = source::open_node(task, arguments.root);
  if (node) {
    if (auto name = sys::uname()) {
      head.node = Bytes(static_cast<const char*>(name->nodename));
      head.machine = static_cast<const char*>(name->machine);
    }
    return source::list_node(**node, arguments.query, task);
  }
  const bool is_disk = !arguments.root.empty() && node.error().code == Errc::unsupported;
  if (!is_disk) return std::move(node).error();
  auto disk = source::open_disk(arguments.root, task);
  if (!disk) return std::move(disk).error();
  head.node = disk->name;
  forbid_clones(task.gaps);  // no layer is read
  head.machine = "a disk, nothing runs";
  return source::list_disk(disk->root, arguments.query, task);
}

Exit run_list_archives(const ListArguments& arguments, const Common& common, Io& io) {
  if (!arguments.root.empty() || !arguments.query.labels.empty() || arguments.query.size ||
      arguments.shown.all || arguments.shown.sandboxes) {
    io.err(
        "ctriage: --all, --sandboxes, --size, -l and --root are for the list of a node, not of a "
        "directory\n");
    return Exit::usage;
  }
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto list = source::list_archives(arguments.directories, task);
  if (!list) {
    tell_gaps(io, common, gaps);
    return fail(io, list.error());
  }
  gaps.finish();
  list->gaps = report::records_of(gaps.kept(), task.now());
  const report::Format format = common.output_format();
  const auto written = format == report::Format::text
                           ? io.out(report::archives_text(*list, common.verbose, io.out_style))
                           : report::archives_json(*list, format, io.out);
  if (!written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

Exit run_list(const ListArguments& arguments, const Common& common, Io& io) {
  if (!arguments.directories.empty()) return run_list_archives(arguments, common, io);
  GapLog gaps;
  Task task = make_task(gaps, io);
  report::ListHead head;
  auto listed = list_what(arguments, head, task);
  if (!listed) {
    tell_gaps(io, common, gaps);
    return fail(io, listed.error());
  }

  head.now = task.now();
  std::set<std::string> engines;
  std::vector<report::ListRow> rows;
  for (source::Listed& item : *listed) {
    if (!item.container.engine.empty()) engines.insert(item.container.engine);
    report::ListRow row;
    row.container = std::move(item.container);
    if (item.running) row.processes = item.processes;
    row.runs.assign(item.runs.begin(), item.runs.end());
    row.executed_in = item.executed_in;
    row.ourselves = item.ourselves;
    row.upper_bytes = item.upper_bytes;
    rows.push_back(std::move(row));
  }
  for (const std::string& engine : engines) head.engine.raw += (head.engine.empty() ? "" : ", ") + engine;
  gaps.finish();
  const report::Format format = common.output_format();
  report::ListOptions shown = arguments.shown;
  shown.size = arguments.query.size;
  shown.every_gap = common.verbose;
  const std::string text = format == report::Format::text
                               ? report::list_text(head, rows, gaps.kept(), shown, io.out_style)
                               : report::list_json(head, rows, gaps.kept(), format);
  if (auto written = io.out(text); !written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

}  // namespace

void add_list(CLI::App& app, const Common& common, Action& chosen) {
  auto options = std::make_shared<ListArguments>();
  CLI::App* sub = app.add_subcommand(
      "list", "Pods and containers of this node, and where their programs come from; or archives in DIR");
  sub->group("On the node");
  sub->add_option("directory", options->directories,
                  "instead: the checkpoints and bundles in these directories and below, like "
                  "/var/lib/kubelet/checkpoints")
      ->option_text("[DIR...]");
  sub->add_flag("--all", options->shown.all, "plain rows too when there are many");
  sub->add_flag("--sandboxes", options->shown.sandboxes, "pod sandboxes too");
  sub->add_flag("--size", options->query.size, "bytes of each UpperDir");
  add_label_option(*sub, options->query.labels);
  sub->add_option("--root", options->root, "a mounted disk, or where the node's own / is mounted");
  sub->footer(
      "Examples:\n  ctriage list\n  ctriage list -l app=web --size\n  ctriage list --json\n"
      "  ctriage list /var/lib/kubelet/checkpoints\n");
  sub->callback([options, &common, &chosen] {
    chosen = [options, &common](Io& io) { return run_list(*options, common, io); };
  });
}

}  // namespace ctriage
