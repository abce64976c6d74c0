#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/redact/redactor.h"

// The bytes as a text, as JSON of ours and of others; and what was hidden under a name never comes out.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ctriage::redact::Redactor;
  const std::string text(reinterpret_cast<const char*>(data), size);
  Redactor redactor;
  (void)redactor.text(text);
  for (const auto whose : {Redactor::Whose::ours, Redactor::Whose::others}) {
    redactor.begin();
    const auto shown = redactor.json(text, whose);
    if (shown && !redactor.json(*shown, whose)) std::abort();
  }
  constexpr std::string_view kSecret = "zQ9!unguessable";
  redactor.begin();
  if (redactor.text("DB_PASSWORD=" + std::string(kSecret)).find(kSecret) != std::string::npos) std::abort();
  (void)redactor.look_for_known();
  redactor.begin();
  if (redactor.text(text + std::string(kSecret)).find(kSecret) != std::string::npos) std::abort();
  return 0;
}
