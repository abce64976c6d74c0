#include "lib/report/export.h"

#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <span>

#include "cmd/commands.h"
#include "cmd/transfer_options.h"
#include "lib/bundle/sidecar.h"
#include "lib/bundle/volumes.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage {
namespace {

constexpr std::int64_t kRetryForSeconds = 600;

struct ExportArguments {
  std::vector<std::string> words;  // the bundle and the URLs, or, with --queue, the URLs
  std::string queue;
  std::string journal;
  std::string split = "256M";
  bool dry_run = false;
  TransferArguments transfer;
};

// What is the same for every bundle of a run.
struct Order {
  const ExportArguments& arguments;
  const Common& common;
  transfer::SendOptions options;
  std::vector<transfer::Url> urls;
  std::uint64_t split_bytes = 0;
};

// What was typed, without the places that have all of it.
std::string again_text(const Order& order, const std::vector<std::string>& typed,
                       const ExportResult& result) {
  const std::size_t first = order.arguments.queue.empty() ? 1 : 0;
  std::vector<std::string> done;
  for (std::size_t i = 0; i < result.destinations.size(); ++i) {
    if (!result.destinations[i].why) done.push_back(order.arguments.words[i + first]);
  }
  if (done.size() == result.destinations.size()) return "";
  std::string command = "ctriage";
  for (const std::string& word : std::span(typed).subspan(typed.empty() ? 0 : 1)) {
    if (std::ranges::find(done, word) == done.end()) command += " " + shell_word(word);
  }
  return command;
}

// Into NAME.custody.jsonl: it has been given away.
Status note_hand(const std::string& path, const ExportDestination& to, bool insecure, Task& task) {
  auto stored = bundle::Stored::open(path);
  if (!stored) return std::move(stored).error();
  const auto name = stored->name(task);
  if (!name) return name.error();
  const auto node = sys::uname();
  bundle::NewHand hand;
  hand.by = "ctriage export" +
            (node ? " on " + std::string(static_cast<const char*>(node->nodename)) : std::string());
  hand.action = "sent to " + to.place.raw;
  hand.note = counted(to.volumes, "volume", "volumes") + ", proof: " + std::string(to_text(to.proof)) +
              (insecure ? ", neither host keys nor certificates were checked (--insecure)" : "");
  for (const ProgramUsed& used : to.programs)
    hand.note += ", by " + used.path.raw + " (SHA-256 " + used.sha256 + ")";
  auto added = bundle::add_hand(stored->beside(), stored->stem(), *name, hand, task);
  if (!added) return std::move(added).error();
  return Done{};
}

// One bundle to all places.
Exit export_one(const Order& order, const std::string& path, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto bundle = transfer::open_outgoing(path, order.split_bytes, task);
  if (!bundle) return fail(io, bundle.error());
  if (bundle->may_be_cut)
    io.err("ctriage: " + escape_terminal(path) +
           ": its last volume is as long as the others, so one may be missing after it: ctriage verify "
           "--identity "
           "KEYFILE tells\n");
  for (const transfer::Url& url : order.urls) {
    if (auto allowed = transfer::check_allowed(url, order.options.transfer, bundle->encrypted); !allowed) {
      (void)fail(io, allowed.error());
      return Exit::usage;
    }
    if (url.one_object && bundle->volumes.size() > 1) {
      io.err("ctriage: " + escape_terminal(transfer::place_of(url)) +
             ": a signed URL takes one object, and this is " + std::to_string(bundle->volumes.size()) +
             " volumes: --split " + human_size(bundle->size_bytes) +
             " or more, or a URL signed for a folder\n");
      return Exit::usage;
    }
  }
  auto place =
      order.arguments.journal.empty() ? bundle->beside.duplicate() : Root::open(order.arguments.journal);
  if (!place) return fail(io, std::move(place).error().within("the journal's place"));
  auto journal = transfer::Journal::open(*place, bundle::stem_of(bundle->name) + ".sent.jsonl", bundle->id);
  if (!journal && journal.error().code == Errc::changed && !order.arguments.queue.empty()) {
    io.err("ctriage: " + escape_terminal(path) + ": is being sent already, and left alone\n");
    return Exit::complete;
  }
  if (!journal) return fail(io, std::move(journal).error().within(place->name()));

  ExportResult result;
  result.bundle = Bytes(path);
  result.size_bytes = bundle->size_bytes;
  result.volumes = bundle->volumes.size();
  result.encrypted = bundle->encrypted;
  result.insecure = order.options.transfer.insecure;
  result.dry_run = order.options.dry_run;
  result.destinations = transfer::send(*bundle, order.urls, order.options, *journal, io.on_stop, task);
  result.complete =
      std::ranges::all_of(result.destinations, [](const ExportDestination& one) { return one.complete; });
  for (const ExportDestination& one : result.destinations) {
    if (!one.complete || one.volumes_before == one.volumes) continue;
    if (auto noted = note_hand(path, one, result.insecure, task); !noted)
      io.err("ctriage: " + escape_terminal(noted.error().what) +
             ": that it was sent is not in its custody record\n");
  }
  const report::Format format = order.common.output_format();
  const auto written =
      io.out(format == report::Format::text
                 ? report::export_text(result, again_text(order, io.command_line, result), io.out_style)
                 : report::export_json(result, format));
  if (!written) return fail(io, written.error());
  return io.stop ? Exit::lost : exit_of(result.destinations);
}

// Every sealed bundle of the directory, and how many are not sealed yet.
Result<std::vector<std::string>> sealed_in(const std::string& path, std::size_t& growing) {
  auto directory = Root::open(path);
  if (!directory) return std::move(directory).error();
  std::vector<std::string> found;
  std::string after;
  for (;;) {
    auto block = list_names(*directory, after);
    if (!block) return std::move(block).error();
    for (const std::string& name : block->names) {
      if (name.ends_with(".ctriage.tar") || name.ends_with(".ctriage.tar.age") ||
          name.ends_with(".ctriage.tar.000") || name.ends_with(".ctriage.tar.age.000"))
        found.push_back(name_in(path, name));
      if (name.ends_with(".ctriage.tar.part") || name.ends_with(".ctriage.tar.age.part")) ++growing;
    }
    if (!block->more || block->names.empty()) return found;
    after = block->names.back();
  }
}

Exit export_queue(const Order& order, Io& io) {
  std::size_t growing = 0;
  auto bundles = sealed_in(order.arguments.queue, growing);
  if (!bundles) return fail(io, std::move(bundles).error().within("--queue"));
  if (growing > 0)
    io.err("ctriage: " + escape_terminal(order.arguments.queue) + ": " +
           counted(growing, "bundle is", "bundles are") + " not sealed and left alone\n");
  if (bundles->empty())
    io.err("ctriage: " + escape_terminal(order.arguments.queue) + ": no sealed bundle is in it\n");
  Exit exit = Exit::complete;
  bool any_done = false;
  for (const std::string& path : *bundles) {
    const Exit one = export_one(order, path, io);
    any_done = any_done || one == Exit::complete;
    exit = worse(exit, one);
    if (io.stop) return Exit::lost;
  }
  return exit == Exit::failed && any_done ? Exit::lost : exit;
}

Exit run_export(const ExportArguments& arguments, const Common& common, Io& io) {
  const auto usage = [&io](const std::string& what) {
    io.err("ctriage: " + escape_terminal(what) + "\n");
    return Exit::usage;
  };
  const bool queue = !arguments.queue.empty();
  const std::size_t first = queue ? 0 : 1;
  if (arguments.words.size() <= first)
    return usage(queue ? "--queue DIR: and where to? Name one URL or more"
                       : "export BUNDLE URL...: name a bundle and where it is to go");
  Order order{arguments, common, {}, {}, 0};
  auto options = send_options_of(arguments.transfer, kRetryForSeconds);
  if (!options) return usage(options.error().what);
  order.options = *std::move(options);
  order.options.dry_run = arguments.dry_run;
  auto urls = urls_of({arguments.words.begin() + static_cast<std::ptrdiff_t>(first), arguments.words.end()});
  if (!urls) return usage(urls.error().what);
  order.urls = *std::move(urls);
  const auto split = parse_size(arguments.split);
  if (!split || *split < bundle::kLeastVolume)
    return usage("--split " + arguments.split + ": not a size like 256M, of 4K at least");
  order.split_bytes = *split;
  warn_insecure(order.options.transfer, io);
  return queue ? export_queue(order, io) : export_one(order, arguments.words.front(), io);
}

}  // namespace

void add_export(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* sub = app.add_subcommand("export", "Send a finished bundle to one place or several");
  sub->group("Evidence");
  sub->add_option(
         "bundle", arguments->words,
         "a bundle or the first of its volumes, then URLs: sftp:// rsync+ssh:// rsync:// ftps:// ftpes:// "
         "ftp:// https:// s3:// smb:// file:, or "
         "@FILE with a URL that is a secret")
      ->option_text("BUNDLE URL...");
  sub->add_option("--queue", arguments->queue,
                  "instead of a bundle: every sealed one in that directory; safe to run again and again");
  sub->add_option("--split", arguments->split,
                  "size of a volume, the least that is sent again after a cut: 256M");
  sub->add_option("--journal", arguments->journal,
                  "where NAME.sent.jsonl is kept, instead of beside the bundle");
  sub->add_flag("--dry-run", arguments->dry_run, "log in, and send nothing");
  add_transfer_options(*sub, arguments->transfer);
  sub->footer(
      "Exit status: 0 all places have all of it, 3 some have not, 1 none has.\n"
      "Examples:\n  ctriage export B.ctriage.tar sftp://ir@vault/in file:/mnt/usb\n"
      "  ctriage export --queue /evidence ftps://ir@vault/in --verify reread\n"
      "  ctriage export B.ctriage.tar.age @/root/presigned-url\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_export(*arguments, common, io); };
  });
}

}  // namespace ctriage
