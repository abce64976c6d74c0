#include "cmd/transfer_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "lib/core/text.h"

namespace ctriage {

void add_transfer_options(CLI::App& sub, TransferArguments& arguments) {
  transfer::Options& options = arguments.options;
  sub.add_option(
         "--verify", arguments.verify,
         "what is asked of each volume once it is there: size, hash (where the far end computes one), "
         "or reread (fetched again and hashed here)")
      ->check(CLI::IsMember({"size", "hash", "reread"}));
  sub.add_option("--retry-for", arguments.retry_for, "how long what can pass is tried again: 10m");
  sub.add_option("--limit-rate", arguments.limit_rate, "bytes a second to each server: 10M");
  sub.add_option("--stall", arguments.stall, "a server that takes nothing for so long is tried anew: 60s");
  sub.add_option("--netrc", options.netrc, "a file with logins, mode 0600, instead of the usual places");
  sub.add_option("--identity", options.identity, "a private key of ssh, instead of the agent's");
  sub.add_option("--known-hosts", options.known_hosts, "host keys of ssh, instead of ~/.ssh/known_hosts");
  sub.add_option("--host-key", options.host_key,
                 "SHA256:...: the only host key that an sftp server may have");
  sub.add_option("--ca", options.ca_file, "certificates that a server's may be signed by");
  sub.add_option("--s3-endpoint", options.s3_endpoint, "https://HOST:PORT of an S3 that is not Amazon's");
  sub.add_option("--s3-region", options.s3_region, "of the bucket, instead of AWS_REGION or us-east-1");
  sub.add_flag("--insecure", options.insecure, "check neither host keys nor certificates; it is recorded");
  sub.add_flag("--allow-plaintext", options.allow_plaintext,
               "a bundle that is not encrypted over ftp:// and rsync://, and SMB without encryption");
}

Result<transfer::SendOptions> send_options_of(const TransferArguments& arguments, std::int64_t retry_for_s) {
  transfer::SendOptions options;
  options.transfer = arguments.options;
  options.proof = parse_enum<Proof>(arguments.verify).value_or(Proof::size);
  if (!arguments.retry_for.empty()) {
    const auto seconds = parse_duration(arguments.retry_for);
    if (!seconds)
      return Error{Errc::malformed,
                   "--retry-for " + arguments.retry_for + ": not a time like 90s, 10m or 2h"};
    retry_for_s = *seconds;
  }
  options.retry.for_ns = retry_for_s * 1'000'000'000;
  if (!arguments.stall.empty()) {
    const auto seconds = parse_duration(arguments.stall);
    if (!seconds || *seconds <= 0)
      return Error{Errc::malformed, "--stall " + arguments.stall + ": not a time like 30s or 2m"};
    options.transfer.stall_s = *seconds;
  }
  if (!arguments.limit_rate.empty()) {
    const auto rate = parse_size(arguments.limit_rate);
    if (!rate || *rate == 0)
      return Error{Errc::malformed, "--limit-rate " + arguments.limit_rate + ": not a size like 10M"};
    options.transfer.limit_rate = *rate;
  }
  return options;
}

Result<std::vector<transfer::Url>> urls_of(const std::vector<std::string>& typed) {
  std::vector<transfer::Url> urls;
  for (const std::string& text : typed) {
    auto url = transfer::read_url(text);
    if (!url) return std::move(url).error();
    urls.push_back(*std::move(url));
  }
  return urls;
}

void warn_insecure(const transfer::Options& options, Io& io) {
  if (options.insecure)
    io.err(
        "ctriage: --insecure: whoever answers gets the evidence: host keys and certificates are NOT "
        "checked\n");
}

Exit exit_of(const std::vector<ExportDestination>& sent) {
  const auto failed = [](const ExportDestination& one) { return one.why.has_value(); };
  if (std::ranges::none_of(sent, failed)) return Exit::complete;
  return std::ranges::all_of(sent, failed) ? Exit::failed : Exit::lost;
}

}  // namespace ctriage
