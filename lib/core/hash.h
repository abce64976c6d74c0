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
  // The same bytes into each: hardly dearer than into one, where the processor has SHA extensions and they
  // are two or three that have come to the same place in a block, as a file and the tar around it have.
  static void update_all(std::span<Sha256* const> hashes, std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t size_bytes() const;  // fed so far
  // The digest of what was fed so far; feeding may go on.
  [[nodiscard]] Digest digest() const;

 private:
  template <std::size_t N>
  static void update_same(std::span<Sha256* const> hashes, std::span<const std::byte> bytes);
  struct Context;
  std::unique_ptr<Context> context_;
};

// Who hashes bytes later, on another thread perhaps.
struct HashDebtor {
  virtual ~HashDebtor() = default;
  virtual void settle() = 0;  // all that was promised has been fed
};

// The SHA-256 of bytes that are on their way to where they are hashed anyway, as part of something larger.
// One caller; what was promised is fed by the debtor, who has a share of this, and lives until the last call
// here.
class LateSha256 {
 public:
  void update(std::span<const std::byte> bytes);
  void promise(std::uint64_t size_bytes,
               HashDebtor& by);  // the next bytes come from there, one debtor for all
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }  // fed and promised
  [[nodiscard]] Digest digest();                                          // waits for the promised bytes
  [[nodiscard]] Sha256& hash() { return hash_; }                          // for the debtor

 private:
  Sha256 hash_;
  std::uint64_t size_bytes_ = 0;
  HashDebtor* debtor_ = nullptr;
};

Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
// 64 lower-case hexadecimal digits, or false.
bool parse_digest(std::string_view hex, Digest& into);

}  // namespace ctriage
