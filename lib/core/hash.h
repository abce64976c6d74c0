#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ctriage {

using Digest = std::array<std::byte, 32>;  // SHA-256, FIPS 180-4

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  // The same bytes into both: hardly dearer than into one, where the processor has SHA extensions and both
  // have come to the same place in a block, as a file and the tar around it do.
  static void update_both(Sha256& first, Sha256& second, std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t size_bytes() const;  // fed so far
  // The digest of what was fed so far; feeding may go on.
  [[nodiscard]] Digest digest() const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
// 64 lower-case hexadecimal digits, or false.
bool parse_digest(std::string_view hex, Digest& into);

}  // namespace ctriage
