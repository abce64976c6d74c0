#pragma once
// Opens the destination that a URL names, and sends with patience.
#include <cstdint>
#include <memory>

#include "lib/transfer/destination.h"
#include "lib/transfer/options.h"
#include "lib/transfer/url.h"

namespace ctriage::transfer {

// Logs in where the protocol does. Errc::denied for a bad login, an unknown host key or certificate.
Answer<std::unique_ptr<Destination>> connect(const Url& url, const Options& options, const Task& task);

// What can pass is tried again: after a random time of up to 1 s, 2 s, 4 s, ... 60 s, or what the server
// asked for, until `for_ns` have gone by.
struct Retry {
  std::int64_t for_ns = 600'000'000'000;
};
Answer<std::unique_ptr<Destination>> connect_again(const Url& url, const Options& options, const Retry& retry,
                                                   const Task& task);
// Put and proved. What was measured on the way is the item's digest then.
Answer<Proof> send_item(Destination& destination, Item& item, Proof wanted, const Retry& retry,
                        const Task& task);

}  // namespace ctriage::transfer
