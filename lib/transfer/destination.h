#pragma once
// Where evidence goes: one interface over every protocol. A destination puts whole items, of a volume's size
// at most, and says what it can prove of what lies there. Order, retries and the journal are the sender's.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"
#include "lib/model/transfer.h"

namespace ctriage::transfer {

struct Item {
  std::string name;  // one part of a path: [A-Za-z0-9._%~-]
  std::uint64_t size_bytes = 0;
  std::optional<Digest> sha256;  // where it is known: see digest_of()
  // Of what was read last, where that was all of it; none: open() does not measure.
  std::shared_ptr<std::optional<Digest>> measured;
  // From the first byte, anew for each attempt: exactly size_bytes.
  std::function<Result<std::unique_ptr<ByteSource>>()> open;
  // Bytes [offset, offset + size) of it; none: only all of it can be had.
  std::function<Result<std::unique_ptr<ByteSource>>(std::uint64_t offset, std::uint64_t size)> open_part = {};
  // Where a file of this machine has just these bytes, for programs that want one; none: it has not.
  std::function<Result<UniqueFd>()> file = {};
};

// Reads the item where its digest is not known yet.
Result<Digest> digest_of(const Item& item);

struct Refusal {
  Error error;            // names the place and the reason, never a secret
  bool can_pass = false;  // a cut connection or a busy server; not a bad login, no such bucket, a full quota
  std::int64_t wait_ms = 0;  // what the server asked for: Retry-After
};

// Where it was a matter of our own side, or of the protocol: trying again does not help.
Refusal refusal(Errc code, std::string what);

template <class T>
using Answer = std::variant<T, Refusal>;

class Destination {
 public:
  virtual ~Destination() = default;

  // All of the item under its name, or nothing under its name: where the protocol can rename it goes up as
  // NAME.part first. What lies under the name already is not replaced: Errc::mismatch, unless it is the item.
  virtual Answer<Done> put(const Item& item, const Task& task) = 0;
  // The level that was reached, at most `wanted`, of what lies under the item's name. Errc::not_found when
  // nothing does, mismatch when it is something else.
  virtual Answer<Proof> prove(const Item& item, Proof wanted, const Task& task) = 0;
  // The URL without user part, query and secrets, for people and the journal.
  [[nodiscard]] virtual const std::string& place() const = 0;
  // Of the node, that do the work.
  [[nodiscard]] virtual std::vector<ProgramUsed> programs() const { return {}; }
};

}  // namespace ctriage::transfer
