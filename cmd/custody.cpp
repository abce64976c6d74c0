// custody: later hands of a bundle, in the sidecar beside it.
#include <CLI/CLI.hpp>

#include "cmd/evidence.h"
#include "lib/bundle/sidecar.h"
#include "lib/core/text.h"

namespace ctriage {
namespace {

struct CustodyArguments {
  std::string path;
  bundle::NewHand hand;
};

std::string line_of(const bundle::Hand& hand) {
  std::string line = std::to_string(hand.seq) + "  " + escape_terminal(hand.at) + "  " +
                     escape_terminal(hand.by) + "  " + escape_terminal(hand.action) + "\n";
  if (!hand.note.empty()) line += "   note      " + escape_terminal(hand.note) + "\n";
  if (hand.attached)
    line +=
        "   attached  " + escape_terminal(hand.attached->name) + "  " + to_hex(hand.attached->digest) + "\n";
  return line;
}

Exit run_add(const CustodyArguments& arguments, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.path);
  if (!stored) return fail(io, stored.error());
  auto name = stored->name(task);
  if (!name) return fail(io, name.error());
  auto added = bundle::add_hand(stored->beside(), stored->stem(), *name, arguments.hand, task);
  if (!added) return fail(io, added.error());
  auto told = io.out(escape_terminal(bundle::sidecar_name(stored->stem())) + "\n" + line_of(*added));
  return told ? Exit::complete : fail(io, told.error());
}

Exit run_check(const CustodyArguments& arguments, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.path);
  if (!stored) return fail(io, stored.error());
  auto name = stored->name(task);
  if (!name) return fail(io, name.error());
  auto sidecar = bundle::check_sidecar(stored->beside(), stored->stem(), *name, task);
  if (!sidecar) return fail(io, sidecar.error());
  const std::string file = bundle::sidecar_name(stored->stem());
  std::string text = to_hex(name->digest) + "  " + name->of + "\n";
  if (!*sidecar) {
    text += "no later hands: " + escape_terminal(file) + " is not there\n";
  } else {
    for (const bundle::Hand& hand : (*sidecar)->hands) text += line_of(hand);
    for (const std::string& problem : (*sidecar)->problems)
      text += "WRONG  " + escape_terminal(file + ": " + problem) + "\n";
  }
  if (auto told = io.out(text); !told) return fail(io, told.error());
  return *sidecar && !(*sidecar)->problems.empty() ? Exit::failed : Exit::complete;
}

}  // namespace

void add_custody(CLI::App& app, Action& chosen) {
  auto arguments = std::make_shared<CustodyArguments>();
  CLI::App* sub = app.add_subcommand("custody", "Who had a bundle after it was taken");
  sub->group("Evidence");
  sub->require_subcommand(1);
  CLI::App* add = sub->add_subcommand("add", "Append a record to the sidecar BUNDLE.custody.jsonl");
  add->add_option("bundle", arguments->path, "a sealed bundle, any of its volumes, or its unpacked directory")
      ->required();
  add->add_option("--by", arguments->hand.by, "who")->required();
  add->add_option("--action", arguments->hand.action, "what was done: \"copied to the lab's store\"")
      ->required();
  add->add_option("--note", arguments->hand.note, "more about it");
  add->add_option("--attach", arguments->hand.attach,
                  "a file that belongs to it; a copy is kept beside the bundle");
  add->footer(
      "Example:\n  ctriage custody add BUNDLE.ctriage.tar --by 'A. Examiner' --action 'received from "
      "site'\n");
  add->callback([arguments, &chosen] { chosen = [arguments](Io& io) { return run_add(*arguments, io); }; });
  CLI::App* check =
      sub->add_subcommand("check", "List the later hands and check their chain and attached files");
  check->add_option("bundle", arguments->path, "as of add")->required();
  check->footer(
      "Exit status: 0 the chain fits the bundle, 1 it does not.\nExample:\n  ctriage custody check "
      "BUNDLE.ctriage.tar\n");
  check->callback(
      [arguments, &chosen] { chosen = [arguments](Io& io) { return run_check(*arguments, io); }; });
}

}  // namespace ctriage
