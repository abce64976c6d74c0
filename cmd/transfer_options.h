#pragma once
// What `export` and `collect --to` ask alike about sending.
#include <cstdint>
#include <string>
#include <vector>

#include "cmd/commands.h"
#include "lib/transfer/sender.h"

namespace ctriage {

struct TransferArguments {
  transfer::Options options;
  std::string verify = "size";
  std::string retry_for;
  std::string limit_rate;
  std::string stall;
};

void add_transfer_options(CLI::App& sub, TransferArguments& arguments);
// Anything wrong is a matter of usage. `retry_for` is what holds where nothing was typed.
Result<transfer::SendOptions> send_options_of(const TransferArguments& arguments, std::int64_t retry_for_s);
Result<std::vector<transfer::Url>> urls_of(const std::vector<std::string>& typed);
// Says loudly what --insecure means.
void warn_insecure(const transfer::Options& options, Io& io);

// 0 when all have it, 1 when nobody has, else 3.
Exit exit_of(const std::vector<ExportDestination>& sent);

}  // namespace ctriage
