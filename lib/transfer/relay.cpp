#include "lib/transfer/relay.h"

#include <fcntl.h>

#include <algorithm>

#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/transfer/relay_work.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxReport = 1 << 20;

Error nonsense() { return {Errc::malformed, "the relay said nonsense"}; }

// As RelayWork::report() writes it.
Result<Relayed> parse_report(std::string_view text) {
  const auto lines = split(text, '\n');
  Relayed relayed;
  if (lines.size() < 3) return nonsense();
  const auto counts = split(lines[0], ' ');
  if (counts.size() != 2) return nonsense();
  relayed.volumes = parse_number<std::uint64_t>(counts[0]).value_or(0);
  relayed.spilled = parse_number<std::uint64_t>(counts[1]).value_or(0);
  relayed.spill_why = lines[1];
  relayed.first = lines[2];
  for (const std::string_view line : std::span(lines).subspan(3)) {
    const auto fields = split(line, '\t');
    if (fields.size() != 5) return nonsense();
    Delivered told;
    told.complete = fields[0] == "1";
    told.proof = static_cast<Proof>(std::min(parse_number<unsigned>(fields[1]).value_or(0), 3U));
    told.volumes = parse_number<std::uint64_t>(fields[2]).value_or(0);
    told.place = fields[3];
    told.why = fields[4];
    relayed.destinations.push_back(std::move(told));
  }
  return relayed;
}

Result<Relayed> hear_report(Channel& channel) {
  const std::atomic<bool> never{false};
  auto message = channel.receive(kMaxReport, never);
  if (!message) return std::move(message).error();
  if (!*message) return Error{Errc::io, "the process that sends the bundle ended before its end"};
  return parse_report(**message);
}

}  // namespace

Result<Relay> Relay::start(RelayOptions options, sys::Handler on_stop) {
  auto pipe = sys::pipe2(O_CLOEXEC);
  if (!pipe) return std::move(pipe).error();
  auto child = Child::start(
      [&](Channel& parent) {
        pipe->second.reset();  // so that its end is seen
        return RelayWork(options, on_stop, std::move(pipe->first)).run(parent);
      },
      on_stop);
  if (!child) return std::move(child).error();
  return Relay(*std::move(child), std::move(pipe->second));
}

Result<std::vector<Delivered>> Relay::begin(std::string_view name, std::uint64_t spill_bytes) {
  if (auto sent = child_.channel().send(std::to_string(spill_bytes) + " " + std::string(name)); !sent)
    return std::move(sent).error();
  auto heard = hear_report(child_.channel());
  if (!heard) return std::move(heard).error();
  const auto& told = heard->destinations;
  if (std::ranges::all_of(told, [](const Delivered& one) { return !one.why.empty(); })) {
    std::string whys;
    for (const Delivered& one : told) whys += (whys.empty() ? "" : "; ") + one.why;
    return Error{Errc::io, std::move(whys)};
  }
  return std::move(heard->destinations);
}

Result<Relayed> Relay::finish(const std::optional<Digest>& manifest) {
  pipe_.reset();
  if (auto sent = child_.channel().send(manifest ? to_hex(*manifest) : "-"); !sent)
    return std::move(sent).error();
  auto heard = hear_report(child_.channel());
  const auto status = child_.wait();
  if (heard && !status) return status.error();
  return heard;
}

}  // namespace ctriage::transfer
