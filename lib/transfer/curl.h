#pragma once
// libcurl for one destination: one handle, so that its connection is kept from item to item.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/hash.h"
#include "lib/transfer/destination.h"
#include "lib/transfer/options.h"
#include "lib/transfer/secrets.h"
#include "lib/transfer/url.h"

using CURL = void;  // as curl.h has it

namespace ctriage::transfer {

// What a server said, with what libcurl makes of it.
struct Reply {
  int code = 0;                  // CURLcode
  long response = 0;             // HTTP status, or FTP's last
  std::int64_t size_bytes = -1;  // of what was asked for, where it says so
  std::int64_t wait_ms = 0;      // Retry-After
  std::string headers;           // HTTP headers or FTP answers; the first 64 KiB
  std::string text;              // of the error, by libcurl
  std::string body;              // its first 4 KiB
};

constexpr std::uint64_t kMaxAnswerBytes = 1 << 20;  // of a body that is no file

class CurlSession {
 public:
  // `url`: of the folder. `setup`: what a protocol sets for every request.
  static Result<std::unique_ptr<CurlSession>> open(const Url& url, const Options& options, Login login,
                                                   std::function<void(CURL*)> setup);
  virtual ~CurlSession() = default;

  struct Request {
    std::string url;                   // whole, encoded
    std::vector<std::string> before;   // CURLOPT_QUOTE: "*" before one that may fail
    std::vector<std::string> after;    // CURLOPT_POSTQUOTE
    std::vector<std::string> headers;  // of HTTP
    std::string method;                // of HTTP, where it is another than usual
    const Item* upload = nullptr;      // none: nothing is sent
    bool no_body = false;              // HEAD; of FTP: SIZE
    Sha256* hash = nullptr;            // of what comes, at most `most_bytes`; none: it is thrown away
    std::uint64_t most_bytes = 0;      // without `hash`: kMaxAnswerBytes
    bool size_only = false;            // ends as soon as the size is known
  };
  virtual Reply perform(const Request& request, const Task& task) = 0;
  [[nodiscard]] virtual const std::string& place() const = 0;
};

// Whether trying again can help, research/memory_evidence.md 4.2. `what` was tried.
Refusal refusal_of(const CurlSession& session, const Reply& reply, const std::string& what);
bool is_done(const Reply& reply);  // CURLE_OK, and of HTTP a status of 200 to 299

}  // namespace ctriage::transfer
