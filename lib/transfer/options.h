#pragma once
// What a person may choose about sending, for all destinations alike.
#include <cstdint>
#include <string>

namespace ctriage::transfer {

struct Options {
  bool insecure = false;         // neither host keys nor certificates are checked: told, and recorded
  bool allow_plaintext = false;  // a bundle that is not encrypted over ftp://
  std::uint64_t limit_rate = 0;  // bytes a second; 0: none
  std::string netrc;             // a file with logins, instead of the usual places
  std::string known_hosts;       // instead of ~/.ssh/known_hosts
  std::string host_key;          // "SHA256:...": the only one that an ssh server may have
  std::string ca_file;           // certificates that a server's may be signed by, instead of the system's
  std::string identity;          // a private key of ssh, instead of the agent's
  std::int64_t stall_s = 60;     // a server that takes nothing for so long is given up
  std::string s3_endpoint;       // "https://minio:9000"; empty: AWS
  std::string s3_region;
};

}  // namespace ctriage::transfer
