#include "cmd/pid_option.h"

#include <CLI/CLI.hpp>

namespace ctriage {

CLI::Option* add_pid_option(CLI::App& sub, source::PidChoice& choice, const std::string& what) {
  const auto take = [&choice](const std::string& typed) {
    auto parsed = source::parse_pid_choice(typed);
    if (!parsed) throw CLI::ValidationError("--pid", parsed.error().what);
    choice = *std::move(parsed);
  };
  return sub.add_option_function<std::string>("--pid", take, what + "; N@CONTAINER: by its pid inside")
      ->option_text("N[@CONTAINER]");
}

Status OfContainer::enter(MemoryArea&& area) {
  inside_ = container_.empty() || area.container == container_;
  return inside_ ? to_.enter(std::move(area)) : Status(Done{});
}

std::span<std::byte> OfContainer::room() {
  constexpr std::size_t kBlockBytes = 64 << 10;
  if (inside_) return to_.room();
  aside_.resize(kBlockBytes);
  return aside_;
}

Status OfContainer::filled(std::uint64_t address, std::size_t count) {
  return inside_ ? to_.filled(address, count) : Status(Done{});
}

}  // namespace ctriage
