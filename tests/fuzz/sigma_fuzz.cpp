#include <cstdint>
#include <string_view>

#include "lib/rules/rules.h"

// What loads must also evaluate.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  rules::RuleFile file = rules::read_rules({reinterpret_cast<const char*>(data), size}, "fuzz.yml");
  for (const rules::Mistake& one : file.mistakes) (void)one.told();
  rules::Engine engine(std::move(file.set));
  Process process;
  process.argv = {Bytes("sh"), Bytes("{pid}\n")};
  process.exe.path = Bytes("/tmp/'x");
  FileChange change;
  change.kind = ChangeKind::added;
  const auto drop = [](Finding&&) -> Status { return Done{}; };
  if (!engine.evaluate(process, Container{}, "x", drop)) __builtin_trap();
  if (!engine.evaluate(change, Container{}, "x", drop)) __builtin_trap();
  return 0;
}
