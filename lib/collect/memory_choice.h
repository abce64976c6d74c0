#pragma once
// Whose memory a collect takes, and in which order: lib/memory/SEMANTICS.md, "What collect takes".
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/memory/policy.h"
#include "lib/model/process.h"
#include "lib/source/live/freezers.h"

namespace ctriage::collect {

enum class MemoryMode : std::uint8_t {
  automatic,  // what is suspicious whole, the rest as far as the limits go
  all,
  none,
};
constexpr auto enum_names(MemoryMode) { return std::array<std::string_view, 3>{"auto", "all", "none"}; }

struct MemoryOptions {
  MemoryMode mode = MemoryMode::automatic;
  // Of processes that nothing speaks against: each of them, and all together.
  std::uint64_t each_bytes = std::uint64_t{512} << 20;
  std::uint64_t max_bytes = std::uint64_t{4} << 30;
  memory::FilePages file_pages = memory::FilePages::changed;
  source::FreezeChoice freeze;
  SwapIn swap_in = SwapIn::automatic;
};

// What is known of a process when its memory is chosen.
struct MemoryMember {
  std::size_t container = 0;
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::uint64_t start_ticks = 0;
  Origin origin = Origin::unknown;
  bool deleted = false;
  Membership membership = Membership::child;
  bool anonymous_code = false;   // memory that is no named file's and may be executed
  bool foreign_library = false;  // has mapped code of a file that is not in the image
  std::string program;
};
MemoryMember member_of(const Process& process, std::size_t container);
// What it runs is not the image's.
bool runs_foreign_program(const MemoryMember& member);
bool is_anonymous_code(const Mapping& mapping);

// Of each member why it is suspicious; empty: nothing says so. Children of one that is are, too.
std::vector<std::string> suspicions(std::span<const MemoryMember> members);

// Why a process that nothing speaks against is left out, and by which option; nothing: it fits. `bytes`: at
// least that much would be read; `taken_bytes`: of other such processes so far.
std::optional<std::string> over_limit(const MemoryOptions& options, std::uint64_t bytes,
                                      std::uint64_t taken_bytes);
// The most that may be read of one more.
std::uint64_t room_for_one(const MemoryOptions& options, std::uint64_t taken_bytes);

// VmRSS in its parts and VmSwap, from the text of /proc/PID/status.
struct ResidentParts {
  std::uint64_t anonymous_bytes = 0;  // private, all of which would be read
  std::uint64_t shared_bytes = 0;     // of shared memory and tmpfs: once for all who map it
  std::uint64_t swapped_bytes = 0;
};
ResidentParts parse_resident(std::string_view status);
// The smaller comes first: what ends the run costs the fewest processes. Who has pages in swap comes last,
// for reading them presses on all others.
std::pair<bool, std::uint64_t> turn_of(const ResidentParts& parts);

}  // namespace ctriage::collect
