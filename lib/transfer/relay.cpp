#include "lib/transfer/relay.h"

#include <fcntl.h>

#include <algorithm>

#include "lib/core/sys.h"
#include "lib/model/json.h"
#include "lib/transfer/relay_work.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxReport = 1 << 20;

Result<Relayed> hear_report(Channel& channel) {
  const std::atomic<bool> never{false};
  auto message = channel.receive(kMaxReport, never);
  if (!message) return std::move(message).error();
  if (!*message) return Error{Errc::io, "the process that sends the bundle ended before its end"};
  return parse_artifact<Relayed>(**message);
}

}  // namespace

Result<Relay> Relay::start(RelayOptions options, sys::Handler on_stop) {
  auto pipe = sys::pipe2(O_CLOEXEC);
  if (!pipe) return std::move(pipe).error();
  auto child = Child::start(
      [&](Channel& parent) {
        pipe->second.reset();  // so that its end is seen
        return RelayWork(options, on_stop, std::move(pipe->first), parent).run();
      },
      on_stop);
  if (!child) return std::move(child).error();
  return Relay(*std::move(child), std::move(pipe->second));
}

Result<std::vector<ExportDestination>> Relay::begin(std::string_view name, std::uint64_t spill_bytes) {
  if (auto sent = child_.channel().send(std::to_string(spill_bytes) + " " + std::string(name)); !sent)
    return std::move(sent).error();
  auto heard = hear_report(child_.channel());
  if (!heard) return std::move(heard).error();
  const auto& told = heard->destinations;
  if (std::ranges::all_of(told, [](const ExportDestination& one) { return one.why.has_value(); })) {
    std::string whys;
    for (const ExportDestination& one : told) whys += (whys.empty() ? "" : "; ") + one.why->raw;
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
