#pragma once
// Sends a finished bundle to several places, each by a process of its own: one that fails does not stop
// another.
#include <cstdint>
#include <functional>
#include <vector>

#include "lib/core/sys.h"
#include "lib/model/transfer.h"
#include "lib/transfer/connect.h"
#include "lib/transfer/journal.h"
#include "lib/transfer/outgoing.h"

namespace ctriage::transfer {

struct SendOptions {
  Options transfer;
  Proof proof = Proof::size;
  Retry retry;
  bool dry_run = false;  // logs in, and sends nothing
};

// Whether a bundle may go there at all: plain FTP takes what is encrypted, unless it is allowed.
Status check_allowed(const Url& url, const Options& options, bool encrypted);

// The manifest's digest first, the volumes in order, NAME.COMPLETE last; what the journal knows is not sent
// again. `stop` ends all soon; what is there stays known. The meter of `task` counts what all have sent.
// Forks: before any thread.
std::vector<ExportDestination> send(Outgoing& bundle, const std::vector<Url>& destinations,
                                    const SendOptions& options, Journal& journal, sys::Handler on_stop,
                                    Task& task);

}  // namespace ctriage::transfer
