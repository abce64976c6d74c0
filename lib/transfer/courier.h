#pragma once
// One destination of a relay, in a process of its own: it has one item at a time, and whatever a server does
// to it does not stop another. Not for other modules.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/child.h"
#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/transfer/connect.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

constexpr std::size_t kMaxCourierMessage = 4 << 20;  // a COMPLETE marker names every volume

// What is to be put: where its bytes are.
struct Parcel {
  enum class Where : std::uint8_t {
    slot,   // of the memory that the relay shares, from its start
    spill,  // a file of that name in the spill directory
    text,   // in the message
  };
  Where where = Where::text;
  std::size_t slot = 0;
  std::string name;
  std::uint64_t size_bytes = 0;
  Digest sha256{};
  std::string text;
};

std::string to_message(const Parcel& parcel);
Result<Parcel> parse_parcel(std::string_view message);

// What the courier answers for each parcel. Before that, once it has its destination, an ExportDestination as
// JSON.
struct Receipt {
  Proof proof = Proof::none;
  std::string why;  // refused for good; the courier ends
};
std::string to_message(const Receipt& receipt);
Result<Receipt> parse_receipt(std::string_view message);

struct CourierRoute {
  const Url& destination;
  const Options& transfer;
  std::span<const std::span<std::byte>> slots;
  const Root* spill = nullptr;
  Proof proof = Proof::size;
  Retry retry;
};

// The courier's whole life; gives its process's status.
int carry(Channel& relay, const CourierRoute& route);

}  // namespace ctriage::transfer
