#include "cmd/collect_to.h"

#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>

#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage {
namespace {

constexpr std::int64_t kRetryForSeconds = 120;
constexpr std::int64_t kPatienceNs =
    20'000'000'000;  // with a destination that takes nothing, before each collector

}  // namespace

void add_to_options(CLI::App& sub, ToArguments& arguments) {
  const std::size_t others = sub.get_options().size();
  auto* to = sub.add_option("--to", arguments.urls,
                            "send the bundle there while it is taken, and write nothing here: sftp:// "
                            "rsync+ssh:// rsync:// ftps:// "
                            "ftpes:// ftp:// https:// s3:// smb:// file:, or @FILE with a URL that is a "
                            "secret; may be given again");
  sub.add_option("--spill", arguments.spill,
                 "with --to: a directory for what a destination is too slow for, or has not got");
  add_transfer_options(sub, arguments.transfer);
  const auto options = sub.get_options();
  for (std::size_t i = others; i < options.size(); ++i) {
    if (options[i] != to) options[i]->needs(to);
  }
}

std::optional<std::string> misuse_of(const ToArguments& arguments) {
  auto urls = urls_of(arguments.urls);
  if (!urls) return "--to: " + urls.error().what;
  if (auto options = send_options_of(arguments.transfer, kRetryForSeconds); !options)
    return options.error().what;
  for (const transfer::Url& url : *urls) {
    if (url.one_object)
      return "--to " + transfer::place_of(url) +
             ": a signed URL takes one object, and a bundle that is sent while it is taken is many; -o DIR, "
             "then ctriage export";
  }
  return std::nullopt;
}

Result<Outlet> Outlet::start(const ToArguments& arguments, bool encrypted, Io& io) {
  auto urls = urls_of(arguments.urls);
  if (!urls) return std::move(urls).error().within("--to");
  auto options = send_options_of(arguments.transfer, kRetryForSeconds);
  if (!options) return std::move(options).error();
  std::vector<std::string> places;
  for (const transfer::Url& url : *urls) {
    if (auto allowed = transfer::check_allowed(url, options->transfer, encrypted); !allowed)
      return Error{Errc::malformed, allowed.error().what};
    places.push_back(transfer::place_of(url));
  }
  warn_insecure(options->transfer, io);
  transfer::RelayOptions relaying{*std::move(urls), options->transfer, std::nullopt, options->proof,
                                  options->retry};
  if (!arguments.spill.empty()) {
    auto spill = Root::open(arguments.spill);
    if (!spill) return std::move(spill).error().within("--spill");
    relaying.spill = *std::move(spill);
  }
  auto relay = transfer::Relay::start(std::move(relaying), io.on_stop);
  if (!relay) return std::move(relay).error();
  const int pipe = relay->pipe();
  return Outlet(*std::move(relay), pipe, std::move(places), arguments.spill);
}

std::string Outlet::text() const {
  return places_.front() + (places_.size() > 1 ? " and " + with_commas(places_.size() - 1) + " more" : "") +
         (spill_.empty() ? ", nothing is written here" : ", what is too much at once to " + spill_);
}

Status Outlet::begin(const std::string& name, const Root& proc, const collect::KeepOut& keep_out, Io& io) {
  std::uint64_t spill_bytes = 0;
  if (!spill_.empty()) {
    const auto spill = Root::open(spill_);
    auto place =
        spill ? collect::check_place(*spill, spill_, proc, keep_out) : Result<collect::Place>(spill.error());
    if (!place) return std::move(place).error().within("--spill");
    spill_bytes = place->allowed_bytes;
  }
  const auto greeted = relay_.begin(name, spill_bytes);
  if (!greeted) return Error(greeted.error()).within("--to");
  for (const ExportDestination& one : *greeted) {
    if (one.why) io.err("ctriage: --to " + escape_terminal(one.why->raw) + "\n");
  }
  return Done{};
}

Status Outlet::wait_for_room() const {
  std::array<pollfd, 1> watched{{{pipe_, POLLOUT, 0}}};
  const auto ready = sys::poll(watched, kPatienceNs);
  if (ready && *ready == 0)
    return Error{Errc::limit,
                 "left out: the destination took nothing for 20 s, and what there is room for is full"};
  return Done{};  // a signal, or a pipe that is broken: whoever writes hears of it
}

Result<std::vector<ExportDestination>> Outlet::finish(const std::optional<Digest>& manifest, Io& io) {
  const auto relayed = relay_.finish(manifest);
  if (!relayed) return relayed.error();
  if (relayed->spilled > 0)
    io.err("ctriage: " + escape_terminal(spill_) + ": " +
           counted(relayed->spilled, "volume of the bundle stays", "volumes of the bundle stay") +
           " there that some destination has not got" +
           (relayed->spilled == relayed->volumes
                ? "; it is all of it: ctriage export " + shell_word(spill_ + "/" + relayed->first) + " URL"
                : "; they belong beside those that are there") +
           "\n");
  if (!relayed->spill_why.raw.empty())
    io.err("ctriage: --spill " +
           escape_terminal(spill_ + ": not all could be kept: " + relayed->spill_why.raw) + "\n");
  return relayed->destinations;
}

}  // namespace ctriage
