#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/bundle/age.h"

// The bytes as an encrypted file, for an identity that everybody knows; as recipients; as identities.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::array<bundle::AgeIdentity, 1> identities;
  std::fill(identities[0].secret.begin(), identities[0].secret.end(), std::byte{7});
  MemorySource in(bytes);
  auto source = bundle::AgeSource::open(in, identities);
  std::array<std::byte, 5'000> piece{};
  std::size_t given = 0;
  while (source) {
    auto got = (*source)->read(piece);
    if (!got || *got == 0) break;
    given += *got;
  }
  if (given > size) std::abort();
  MemorySource again(bytes);
  const auto described = bundle::describe_age(again);
  if (source && !described) std::abort();
  const auto recipients = bundle::parse_recipients(text);
  for (const auto& recipient : recipients ? *recipients : std::vector<bundle::AgeRecipient>{}) {
    const auto parsed = bundle::parse_recipient(recipient.text());
    if (!parsed || parsed->point != recipient.point) std::abort();
  }
  static_cast<void>(bundle::parse_identities(text).has_value());
  return 0;
}
