#include <cstdint>
#include <string_view>

#include "lib/rules/rules.h"

// What loads must also evaluate, on artifacts with and without optional parts.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  auto parsed = rules::parse_rules({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!parsed) return 0;
  rules::Engine engine(*std::move(parsed));
  Process process;
  process.argv = {Bytes("sh"), Bytes("{pid}\n")};
  process.exe.path = Bytes("/tmp/'x");
  FileChange change;
  change.after = FileState{};
  const auto drop = [](Finding&&) -> Status { return Done{}; };
  if (!engine.evaluate(process, Container{}, "x", drop)) __builtin_trap();
  if (!engine.evaluate(change, Container{}, "x", drop)) __builtin_trap();
  return 0;
}
