#pragma once
// pack --redact.
#include <string>

#include "cmd/commands.h"
#include "cmd/seal_options.h"
#include "lib/bundle/stored.h"
#include "lib/bundle/verify.h"

namespace ctriage {

// Inside the sandbox. Writes NAME-redacted.ctriage.tar into `into`, which is called `folder`.
Exit pack_redacted(const bundle::Stored& stored, const Root& into, const std::string& folder,
                   const Sealing& sealing, const Common& common, Task& task, Io& io);

// Of a bundle that is not whole neither a copy nor a redacted one is made: what verify says.
Exit refuse_to_pack(Io& io, const std::string& name, const bundle::Report& report);

}  // namespace ctriage
