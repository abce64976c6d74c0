#pragma once
// What became of a stream, as manifest.json has it.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ctriage::bundle {

enum class Outcome : std::uint8_t { collected, partial, not_collected };

std::string_view to_text(Outcome outcome);
std::optional<Outcome> parse_outcome(std::string_view text);

struct StreamStatus {
  Outcome outcome = Outcome::collected;
  std::string why;  // of the writer; empty exactly when collected
};

}  // namespace ctriage::bundle
