// custody: later hands of a bundle, in the sidecar beside it.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/evidence.h"
#include "lib/bundle/acquisition.h"
#include "lib/bundle/sidecar.h"
#include "lib/core/sandbox.h"
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

std::string row(std::string_view label, const std::string& text) {
  constexpr std::size_t kLabel = 12;
  std::string line(label);
  line.resize(std::max(kLabel, line.size() + 1), ' ');
  return line + escape_terminal(text) + "\n";
}

// Everything on one page. `later`: of the sidecar.
std::string page_of(const bundle::Acquisition& record, const std::string& path, const std::string& later) {
  std::string page = row("bundle", path);
  if (record.manifest) {
    page += row("sha256", to_hex(*record.manifest) + "   of manifest.json, which names every byte");
  } else {
    page += row("sha256", "NOT SEALED: nothing names every byte");
  }
  if (record.state_sha256)
    page += row("state", *record.state_sha256 + "   of the first bytes, up to the state");
  for (const auto& [name, value] : record.header) {
    if (name != "schema") page += row(name.starts_with("source.") ? name.substr(7) : name, value);
  }
  page += "\nwhat was done\n";
  for (const bundle::Acquisition::Fields& action : record.actions) {
    std::string line;
    for (const auto& [name, value] : action) {
      if (value.empty()) continue;
      const bool bare = name == "at" || name == "action";
      line += (line.empty() ? "" : "  ") + (bare ? value : name + "=" + value);
    }
    page += "  " + escape_terminal(line) + "\n";
  }
  if (record.actions_left_out > 0)
    page += "  and " + with_commas(record.actions_left_out) + " more, in custody.jsonl\n";
  page +=
      "\n" + row("deviations", with_commas(record.lost) + " lost, " + with_commas(record.degraded) +
                                   " degraded, " + counted(record.notes, "note", "notes") + " (gaps.jsonl)");
  for (const std::string& one : record.worst) page += "  lost  " + escape_terminal(one) + "\n";
  return page + "\nlater hands\n" + later;
}

Exit run_show(const CustodyArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.path);
  if (!stored) return fail(io, stored.error());
  if (stored->encrypted())
    return fail(io, {Errc::unsupported,
                     arguments.path +
                         ": is encrypted: age -d -i KEYFILE first; custody check shows its later hands"});
  auto name = stored->name(task);
  if (!name) return fail(io, name.error());
  auto sidecar = bundle::check_sidecar(stored->beside(), stored->stem(), *name, task);
  if (!sidecar) return fail(io, sidecar.error());
  std::string later = *sidecar ? "" : "  none\n";
  if (*sidecar) {
    for (const bundle::Hand& hand : (*sidecar)->hands) later += "  " + line_of(hand);
    for (const std::string& problem : (*sidecar)->problems)
      later += "  WRONG  " + escape_terminal(problem) + "\n";
  }
  auto reader = stored->reader(task);
  if (!reader) return fail(io, reader.error());
  SandboxPlan plan;
  if (const auto readable = stored->readable()) plan.readable.push_back(*readable);
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  const auto record = bundle::read_acquisition(**reader, task);
  if (!record) return fail(io, record.error());
  gaps.finish();
  tell_gaps(io, common, gaps);
  if (auto told = io.out(page_of(*record, arguments.path, later)); !told) return fail(io, told.error());
  if (*sidecar && !(*sidecar)->problems.empty()) return Exit::failed;
  return gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
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

void add_custody(CLI::App& app, const Common& common, Action& chosen) {
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
  CLI::App* show = sub->add_subcommand(
      "show", "The acquisition record on one page: who, when, what, with what, what was done");
  show->add_option("bundle", arguments->path, "as of add")->required();
  show->footer(
      "What a bundle says of itself; ctriage verify says whether that is as it was written.\nExample:\n  "
      "ctriage custody show BUNDLE.ctriage.tar\n");
  show->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_show(*arguments, common, io); };
  });
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
