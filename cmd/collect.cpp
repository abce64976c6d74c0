#include "lib/collect/collect.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/collect_many.h"
#include "cmd/collect_one.h"
#include "lib/collect/place.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/export.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

// The command as it was typed, with a place to write to before the "--" that would end its options.
std::string command_with_place(const std::vector<std::string>& typed, const std::string& place) {
  std::string command = "ctriage";
  const std::string output = " -o " + shell_word(place);
  const auto end = std::find(typed.begin(), typed.end(), "--");
  for (auto word = typed.begin() + (typed.empty() ? 0 : 1); word != typed.end(); ++word) {
    if (word == end) command += output;
    command += ' ' + shell_word(*word);
  }
  return end == typed.end() ? command + output : command;
}

// Usage is the first thing that can be wrong: the places are shown even if the target does not resolve.
Exit tell_places(const CollectArguments& arguments, Io& io) {
  io.err("ctriage: collect needs a place to write: -o DIR. Nothing was taken. Places on this node:\n");
  GapLog gaps;
  Task task = make_task(gaps, io);
  // Of several the first must do: who is meant besides is not looked up.
  source::TargetQuery query = arguments.query;
  if (!arguments.targets.empty()) query.token = arguments.targets.front();
  const bool named = !query.token.empty() || !query.labels.empty();
  auto opened = named ? source::open_live(query, task)
                      : Result<std::unique_ptr<source::LiveSnapshot>>(Error{Errc::not_found, ""});
  collect::KeepOut keep_out;
  if (opened) keep_out = collect::keep_out_of(**opened, task);
  const auto proc = Root::open("/proc");
  const auto places = proc ? collect::suggest_places(*proc, keep_out) : std::vector<collect::Place>{};
  for (const collect::Place& place : places) {
    io.err(
        "  " + escape_terminal(command_with_place(io.command_line, place.path)) + "    # " +
        escape_terminal(place.filesystem) + ", " + human_size(place.free_bytes) + " free" +
        (place.kubelet_disk ? ", kubelet's disk: " + human_size(place.allowed_bytes) + " may be used" : "") +
        "\n");
  }
  if (places.empty()) io.err("  none was found: name a directory that has room\n");
  if (!opened && named) (void)fail(io, opened.error());
  return Exit::usage;
}

// Several are several even if they turn out to be one; -l alone may mean one, and then it is that one.
bool are_several(const CollectArguments& arguments) {
  return arguments.all_pods || arguments.targets.size() > 1;
}

// Before anything is asked: what cannot be done with several, or at all.
std::optional<std::string> misuse(const CollectArguments& arguments, const Wanted& wanted) {
  if (arguments.all_pods && !arguments.targets.empty())
    return "--all-pods: takes every pod that runs; a target beside it says nothing more";
  if (are_several(arguments) && wanted.wait_s) return "--wait: waits for one target, name one";
  const bool away = !arguments.to.urls.empty();
  if (auto wrong = misuse_of(arguments.to); away && wrong) return wrong;
  if (away && !arguments.output.empty())
    return "--to and -o: with --to nothing is written here; ctriage export sends a bundle that lies in -o "
           "DIR";
  if (arguments.ack && arguments.output != "-") return "--ack: goes with -o -";
  if (away && are_several(arguments))
    return "--to: sends the bundle of one target while it is taken; of several: -o DIR, then ctriage export "
           "--queue DIR URL";
  if (are_several(arguments) && arguments.output == "-")
    return "-o -: a pipe takes one bundle, and there is one for each pod; use -o DIR, or name one target";
  if (arguments.output == "-" && !arguments.plan && sys::is_terminal(STDOUT_FILENO))
    return "-o -: standard output is a terminal, and a bundle is not for reading; use a pipe or a file";
  return std::nullopt;
}

Exit usage(Io& io, const std::string& what) {
  io.err("ctriage: " + escape_terminal(what) + "\n");
  return Exit::usage;
}

Exit tell_plan(const OneTarget& one, Io& io) {
  GapLog gaps;
  auto result = plan_one(one, gaps, io);
  if (!result) return fail(io, result.error());
  const bool text = one.common.output_format() == report::Format::text;
  if (!text) result->gaps = report::records_of(gaps.kept(), sys::realtime());
  auto written = io.out(text ? report::plan_text(*result, io.out_style) : report::plan_json(*result));
  if (text) tell_gaps(io, one.common, gaps);
  if (!written) return fail(io, written.error());
  return gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
}

Exit tell_one(const OneTarget& one, Io& io) {
  auto taken = collect_one(one, io);
  if (!taken) {
    const Exit exit = fail(io, taken.error());
    // Where a bundle may not go is known when it is known whether it is encrypted.
    return !one.arguments.to.urls.empty() && taken.error().code == Errc::malformed ? Exit::usage : exit;
  }
  const CollectResult& result = taken->result;
  if (result.not_sealed) {
    io.err("ctriage: " + escape_terminal(result.path.raw) +
           ": not sealed: " + escape_terminal(result.not_sealed->raw) + "\n");
  }
  if (one.common.output_format() == report::Format::text) return taken->exit;
  const std::string document =
      taken->sent ? report::collect_sent_json(result, *taken->sent) : report::collect_json(result);
  if (one.arguments.output == "-") {  // standard output is the bundle
    io.err(document);
  } else if (auto written = io.out(document); !written) {
    return fail(io, written.error());
  }
  return taken->exit;
}

Exit run_collect(const CollectArguments& typed, const Common& common, Io& io) {
  CollectArguments arguments = typed;
  // All the memory of a node is no answer to "what is here": it must be asked for.
  if (arguments.all_pods && !arguments.memory_typed) arguments.memory = "none";
  auto wanted = wanted_of(arguments);
  if (!wanted) {
    (void)fail(io, wanted.error());
    return Exit::usage;
  }
  if (const auto wrong = misuse(arguments, *wanted)) return usage(io, *wrong);
  if (arguments.output.empty() && arguments.to.urls.empty() && !arguments.plan)
    return tell_places(arguments, io);
  if (auto rules = load_rules(common); !rules) return fail(io, rules.error());
  std::optional<source::Targets> targets;
  GapLog gaps;
  Task task = make_task(gaps, io);
  const bool by_labels = arguments.targets.empty() && !arguments.query.labels.empty() && !wanted->wait_s;
  if (arguments.all_pods || by_labels) {
    auto found = source::find_targets({arguments.query, arguments.all_pods}, io.on_stop, task);
    if (!found) return fail(io, found.error());
    if (arguments.all_pods || found->targets.size() > 1) targets = *std::move(found);
  } else if (arguments.targets.size() > 1) {
    targets.emplace();
    for (const std::string& token : arguments.targets) {
      source::TargetQuery query = arguments.query;
      query.token = token;
      targets->targets.push_back({std::move(query), token});
    }
  }
  if (targets && !arguments.to.urls.empty() && !arguments.plan)
    return usage(io, "--to: the labels mean " + std::to_string(targets->targets.size()) +
                         " targets, and one is sent at a time; -o DIR, then ctriage export --queue DIR URL");
  if (targets && arguments.output == "-" && !arguments.plan) {
    return usage(io, "-o -: a pipe takes one bundle, and the labels mean " +
                         std::to_string(targets->targets.size()) +
                         " targets; use -o DIR, or labels that mean one");
  }
  if (targets && !arguments.plan) {  // each opens its own; what cannot be opened is known before any is held
    if (auto sealing = open_sealing(arguments.seal); !sealing) return fail(io, sealing.error());
  }
  if (targets) return collect_many({arguments, *wanted, common}, *targets, gaps, io);
  OneTarget one{arguments, *wanted, common, arguments.query, 1, nullptr};
  if (!arguments.targets.empty()) one.query.token = arguments.targets.front();
  return arguments.plan ? tell_plan(one, io) : tell_one(one, io);
}

}  // namespace

void add_collect(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<CollectArguments>();
  CLI::App* sub = app.add_subcommand("collect", "The triage: everything that will be gone, into one bundle");
  sub->group("On the node");
  sub->add_option(
      "target", arguments->targets,
      "pod, ns/pod, ns/pod/container, container ID, or pid:N; of several each has a bundle of its own");
  add_target_options(*sub, arguments->query);
  add_label_option(*sub, arguments->query.labels);
  sub->add_flag("--all-pods", arguments->all_pods,
                "every pod, and every container without one, that runs; its memory only with --memory");
  sub->add_option("-o,--output", arguments->output,
                  "existing directory that the bundle is written to, or - for standard output");
  sub->add_flag("--ack", arguments->ack,
                "with -o -: end only when ctriage receive --ack at the other end has all of it");
  add_to_options(*sub, arguments->to);
  sub->add_flag("--plan", arguments->plan, "say what would be taken and about how much, and take nothing");
  sub->add_option("--only", arguments->only,
                  "take these groups or collectors only: state, files, upper, ... (--plan)")
      ->delimiter(',');
  sub->add_option("--skip", arguments->skip, "leave these out")->delimiter(',');
  auto* memory =
      sub->add_option("--memory", arguments->memory,
                      "of processes: auto (suspicious ones whole, the others within limits), all or none")
          ->check(CLI::IsMember({"auto", "all", "none"}));
  sub->add_option("--memory-each", arguments->memory_each,
                  "with auto: the most of one process that is not suspicious, 512M");
  sub->add_option("--memory-max", arguments->memory_max, "with auto: the most of all such processes, 4G");
  sub->add_option(
         "--file-pages", arguments->file_pages,
         "of mapped files in memory: changed (private copies), all (every page that is there) or none")
      ->check(CLI::IsMember({"changed", "all", "none"}));
  sub->add_option("--volume-max", arguments->volume_max,
                  "of files in writable volumes: bytes of those up to that size, and of programs; 8M");
  add_freeze_options(*sub, arguments->freeze);
  add_swap_option(*sub, arguments->swap_in);
  sub->add_option("--deadline", arguments->deadline, "end and seal after that time: 90s, 10m");
  sub->add_option("--wait", arguments->wait,
                  "wait that long for the target to start, and hold it at once: 10m");
  sub->add_option("--compress", arguments->compress, "zstd or none")->check(CLI::IsMember({"zstd", "none"}));
  sub->add_option("--max-bytes", arguments->max_bytes, "of the bundle: 512M, 8G");
  sub->add_option("--case", arguments->about.id, "the case's number; the bundle's name begins with it");
  sub->add_option("--item", arguments->about.item, "the evidence item's number");
  sub->add_option("--examiner", arguments->about.examiner, "who takes the evidence");
  sub->add_option("--authority", arguments->about.authority, "on whose authority");
  sub->add_option("--note", arguments->about.note, "free text for the bundle");
  sub->add_option("--attach", arguments->attach, "a file that goes into the bundle, too; may be given again");
  add_seal_options(*sub, arguments->seal);
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage collect shop/web-7d9f -o /evidence --case IR-41\n"
      "  ctriage collect pid:48213 -o /mnt/usb --json\n"
      "  ctriage collect shop/web-7d9f --skip logs --deadline 90s -o - | ssh host 'cat > web.ctriage.tar'\n"
      "  ctriage collect shop/web-7d9f -o /evidence --sign agent --encrypt-to age1...\n"
      "  ctriage collect shop/web-7d9f --encrypt-to age1... --to sftp://ir@vault/in\n"
      "  ctriage collect batch/export --wait 10m -o /evidence\n"
      "  ctriage collect -l app=web -o /evidence\n"
      "  ctriage collect --all-pods --deadline 10m -o /evidence\n");
  sub->callback([arguments, memory, &common, &chosen] {
    if (arguments->query.labels.empty() && arguments->targets.empty() && !arguments->all_pods)
      throw CLI::RequiredError("target");
    arguments->memory_typed = memory->count() > 0;
    chosen = [arguments, &common](Io& io) { return run_collect(*arguments, common, io); };
  });
}

}  // namespace ctriage
