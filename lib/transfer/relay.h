#pragma once
// Sends a bundle away while it is written:
//
//   writer --pipe--> relay --volumes--> couriers, one for each destination
//
// The relay is a process of its own, forked before any thread, and so is each courier (courier.h). The relay
// cuts what comes into volumes of kStreamVolumeBytes. Two of them are in memory that it shares with the
// couriers: one fills while the one before it is on its way, so at most two are not acknowledged. When a
// destination is slower than the writer, volumes go to the spill directory; without one the pipe fills, and
// the writer waits. A destination that refuses for good, or for longer than the retries last, is given up and
// does not stop another. What it has not got goes to the spill directory from there on; where there is none,
// and no other destination, the pipe breaks.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/child.h"
#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/core/unique_fd.h"
#include "lib/model/transfer.h"
#include "lib/transfer/connect.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

constexpr std::uint64_t kStreamVolumeBytes = 8 << 20;

struct RelayOptions {
  std::vector<Url> destinations;  // at least one
  Options transfer;
  std::optional<Root> spill;
  Proof proof = Proof::size;  // of each volume, where the destination can
  Retry retry;
};

class Relay {
 public:
  // Forks; the destinations are asked for at once, and answer in begin().
  static Result<Relay> start(RelayOptions options, sys::Handler on_stop);

  // Before the first byte. `name`: of the bundle, NAME.ctriage.tar or NAME.ctriage.tar.age; `spill_bytes`:
  // what may be used of the spill directory. Who refuses for good is told. An error when all do: there is no
  // way out.
  Result<std::vector<ExportDestination>> begin(std::string_view name, std::uint64_t spill_bytes);
  // The end that the bundle is written to; once.
  UniqueFd take_pipe() { return std::move(pipe_); }
  [[nodiscard]] int pipe() const { return pipe_.get(); }
  // After the last byte was written. `manifest`: none when the bundle was not sealed: then nobody gets a
  // COMPLETE marker.
  Result<Relayed> finish(const std::optional<Digest>& manifest);

 private:
  Relay(Child child, UniqueFd pipe) : child_(std::move(child)), pipe_(std::move(pipe)) {}
  Child child_;
  UniqueFd pipe_;
};

}  // namespace ctriage::transfer
