#pragma once
// `collect --to`: the bundle leaves the node while it is taken, lib/transfer/relay.h.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/transfer_options.h"
#include "lib/collect/place.h"
#include "lib/transfer/relay.h"

namespace ctriage {

struct ToArguments {
  std::vector<std::string> urls;  // as typed; none: the bundle is written
  std::string spill;
  TransferArguments transfer;
};
void add_to_options(CLI::App& sub, ToArguments& arguments);
// What is wrong with what was typed.
std::optional<std::string> misuse_of(const ToArguments& arguments);

class Outlet {
 public:
  // Before anything is held: it forks. What is wrong with the URLs is Errc::malformed.
  static Result<Outlet> start(const ToArguments& arguments, bool encrypted, Io& io);

  // "sftp://vault/in and 1 more, nothing is written here".
  [[nodiscard]] std::string text() const;
  // The target is held now: is there anybody who takes the bundle? `name`: of the file. Those who refuse are
  // told.
  Status begin(const std::string& name, const Root& proc, const collect::KeepOut& keep_out, Io& io);
  UniqueFd take_pipe() { return relay_.take_pipe(); }
  // Waits some time for room in the pipe.
  Status wait_for_room() const;
  // `manifest`: none when it was not sealed.
  Result<std::vector<ExportDestination>> finish(const std::optional<Digest>& manifest, Io& io);

 private:
  Outlet(transfer::Relay relay, int pipe, std::vector<std::string> places, std::string spill)
      : relay_(std::move(relay)), pipe_(pipe), places_(std::move(places)), spill_(std::move(spill)) {}
  transfer::Relay relay_;
  int pipe_;
  std::vector<std::string> places_;
  std::string spill_;
};

}  // namespace ctriage
