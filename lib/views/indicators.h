#pragma once
// What a finding leaves to be hunted elsewhere. Domains and URLs are not guessed from memory.
#include <string_view>
#include <vector>

#include "lib/model/finding.h"
#include "lib/model/indicator.h"
#include "lib/model/snapshot.h"

namespace ctriage::views {

constexpr std::size_t kMaxIndicators = 100'000;

struct IndicatorOptions {
  Severity least = Severity::medium;  // of the findings that are looked at
  bool all = false;  // findings or not: every program and change that is not the image's, and every peer
};

// Loopback, private, link-local, shared, multicast and unspecified addresses, RFC 6890; an IPv4 address
// inside of an IPv6 one counts as that. What is no address is none of them.
bool is_local_address(std::string_view address);

// Each once, by type and value. Over kMaxIndicators the rest is left out, with a lost gap.
Result<std::vector<Indicator>> find_indicators(Snapshot& snapshot, const IndicatorOptions& options,
                                               Task& task);

}  // namespace ctriage::views
