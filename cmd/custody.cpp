// custody: later hands of a bundle, in the sidecar beside it.
#include <CLI/CLI.hpp>

#include "cmd/evidence.h"
#include "lib/bundle/acquisition.h"
#include "lib/bundle/sidecar.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"
#include "lib/report/hands.h"

namespace ctriage {
namespace {

struct CustodyArguments {
  std::string path;
  bundle::NewHand hand;
};

LaterHand hand_of(const bundle::Hand& hand) {
  LaterHand later;
  later.seq = hand.seq;
  later.at = Bytes(hand.at);
  later.by = Bytes(hand.by);
  later.action = Bytes(hand.action);
  later.note = Bytes(hand.note);
  if (hand.attached) {
    later.attached = Bytes(hand.attached->name);
    later.attached_sha256 = to_hex(hand.attached->digest);
  }
  return later;
}

std::vector<CustodyField> fields_of(const bundle::Acquisition::Fields& fields) {
  std::vector<CustodyField> all;
  for (const auto& [name, value] : fields) all.push_back({name, Bytes(value)});
  return all;
}

void add_sidecar(CustodyPage& page, const std::optional<bundle::Sidecar>& sidecar) {
  page.has_sidecar = sidecar.has_value();
  if (!sidecar) return;
  for (const bundle::Hand& hand : sidecar->hands) page.hands.push_back(hand_of(hand));
  for (const std::string& problem : sidecar->problems) page.problems.emplace_back(problem);
}

void add_record(CustodyPage& page, const bundle::Acquisition& record) {
  page.sha256.reset();
  if (record.manifest) page.sha256 = to_hex(*record.manifest);
  page.state_sha256 = record.state_sha256;
  page.header = fields_of(record.header);
  for (const bundle::Acquisition::Fields& action : record.actions)
    page.actions.push_back({fields_of(action)});
  page.actions_left_out = record.actions_left_out;
  page.lost = record.lost;
  page.degraded = record.degraded;
  page.notes = record.notes;
  for (const std::string& one : record.worst) page.worst.emplace_back(one);
}

// The bundle and what names it.
CustodyPage page_of(const CustodyArguments& arguments, const bundle::Stored& stored,
                    const bundle::Stored::Name& name) {
  CustodyPage page;
  page.bundle = Bytes(arguments.path);
  page.sha256 = to_hex(name.digest);
  page.sha256_of = name.of;
  page.sidecar = Bytes(bundle::sidecar_name(stored.stem()));
  return page;
}

Status tell(const CustodyPage& page, std::string (*as_text)(const CustodyPage&), const Common& common,
            Io& io) {
  return io.out(common.output_format() == report::Format::text ? as_text(page) : report::custody_json(page));
}

Exit run_add(const CustodyArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.path);
  if (!stored) return fail(io, stored.error());
  auto name = stored->name(task);
  if (!name) return fail(io, name.error());
  auto added = bundle::add_hand(stored->beside(), stored->stem(), *name, arguments.hand, task);
  if (!added) return fail(io, added.error());
  CustodyPage page = page_of(arguments, *stored, *name);
  page.has_sidecar = true;
  page.hands.push_back(hand_of(*added));
  auto told = tell(page, report::custody_added_text, common, io);
  return told ? Exit::complete : fail(io, told.error());
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
  auto reader = stored->reader(task);
  if (!reader) return fail(io, reader.error());
  SandboxPlan plan;
  if (const auto readable = stored->readable()) plan.readable.push_back(*readable);
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  const auto record = bundle::read_acquisition(**reader, task);
  if (!record) return fail(io, record.error());
  gaps.finish();
  tell_gaps(io, common, gaps);
  CustodyPage page = page_of(arguments, *stored, *name);
  add_record(page, *record);
  add_sidecar(page, *sidecar);
  if (auto told = tell(page, report::custody_page_text, common, io); !told) return fail(io, told.error());
  if (*sidecar && !(*sidecar)->problems.empty()) return Exit::failed;
  return gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
}

Exit run_check(const CustodyArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto stored = bundle::Stored::open(arguments.path);
  if (!stored) return fail(io, stored.error());
  auto name = stored->name(task);
  if (!name) return fail(io, name.error());
  auto sidecar = bundle::check_sidecar(stored->beside(), stored->stem(), *name, task);
  if (!sidecar) return fail(io, sidecar.error());
  CustodyPage page = page_of(arguments, *stored, *name);
  add_sidecar(page, *sidecar);
  if (auto told = tell(page, report::custody_hands_text, common, io); !told) return fail(io, told.error());
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
  add->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_add(*arguments, common, io); };
  });
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
  check->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_check(*arguments, common, io); };
  });
}

}  // namespace ctriage
