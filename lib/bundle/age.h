#pragma once
// The file format age-encryption.org/v1, binary form: X25519 recipients, as many as one likes. What we write
// `age -d` opens, and the other way round. https://github.com/C2SP/C2SP/blob/main/age.md
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/crypt.h"
#include "lib/core/stream.h"

namespace ctriage::bundle {

constexpr std::size_t kAgeChunk = 64 << 10;  // plain bytes of a chunk; its tag follows it
constexpr std::size_t kMaxAgeKeysBytes = 1 << 20;

struct AgeRecipient {
  Key32 point{};
  [[nodiscard]] std::string text() const;  // "age1..."
};
// "age1...". Errc::malformed; unsupported names another kind (SSH keys, plugins).
Result<AgeRecipient> parse_recipient(std::string_view text);
// One a line, # begins a comment. Errc::malformed names the line; also when there is none.
Result<std::vector<AgeRecipient>> parse_recipients(std::string_view file);

struct AgeIdentity {  // the secret half, zeroed when it goes
  Key32 secret{};
  AgeIdentity() = default;
  AgeIdentity(const AgeIdentity&) = default;
  AgeIdentity& operator=(const AgeIdentity&) = default;
  ~AgeIdentity() { wipe(secret); }
};
// "AGE-SECRET-KEY-1..." one a line, # begins a comment. Messages never show what the line says.
Result<std::vector<AgeIdentity>> parse_identities(std::string_view file);

// Encrypts what comes in order. Chunks are written whole, so that up to 64 KiB wait for the next call.
class AgeEncryptor {
 public:
  static Result<AgeEncryptor> create(std::span<const AgeRecipient> recipients);
  // What the file begins with; the caller writes it.
  [[nodiscard]] const std::string& header() const { return header_; }
  // After an error of `out` nothing more may be written: a chunk has been sealed that is not there.
  Status write(std::span<const std::byte> plain, ByteSink& out);
  Status finish(ByteSink& out);  // the last chunk, which says that it is the last
  // Size of the finished file of that many plain bytes.
  [[nodiscard]] std::uint64_t stored_bytes(std::uint64_t plain_bytes) const;
  // The most plain bytes that a file of that size holds.
  [[nodiscard]] std::uint64_t plain_bytes(std::uint64_t stored_bytes) const;

 private:
  AgeEncryptor(std::string header, Aead aead);
  Status seal(std::span<const std::byte> plain, bool last, ByteSink& out);
  Status flush(ByteSink& out);
  std::string header_;
  Aead aead_;
  std::uint64_t counter_ = 0;
  std::vector<std::byte> pending_;
  std::vector<std::byte> sealed_;
};

class AgeSink final : public ByteSink {
 public:
  // Writes the header.
  static Result<std::unique_ptr<AgeSink>> create(ByteSink& out, std::span<const AgeRecipient> recipients);
  Status write(std::span<const std::byte> bytes) override { return encryptor_.write(bytes, out_); }
  Status finish() { return encryptor_.finish(out_); }

 private:
  AgeSink(ByteSink& out, AgeEncryptor encryptor) : out_(out), encryptor_(std::move(encryptor)) {}
  ByteSink& out_;
  AgeEncryptor encryptor_;
};

// What a header says to whoever has no key. Nothing in it is proven.
struct AgeInfo {
  std::uint64_t recipients = 0;  // X25519 ones
  std::uint64_t others = 0;      // of kinds that we do not know
  bool passphrase = false;       // "scrypt": `age -d` asks for it
  std::uint64_t header_bytes = 0;
};
enum class AgeForm : std::uint8_t { none, binary, armored };
constexpr std::size_t kAgeIntroBytes = 40;  // of a file, that suffice for:
AgeForm age_form(std::span<const std::byte> first_bytes);
Result<AgeInfo> describe_age(ByteSource& in);
// Whether a file of that size can end as age ends one: Errc::truncated when it cannot. One that can may have
// lost whole chunks all the same: only a key tells.
Status check_age_size(const AgeInfo& info, std::uint64_t file_bytes);

class AgeSource : public ByteSource {
 public:
  // Reads the header. Errc::denied when no identity fits, mismatch when the header was changed, truncated,
  // malformed, limit, unsupported (armored). `in` and what it reads from stay with the caller.
  static Result<std::unique_ptr<AgeSource>> open(ByteSource& in, std::span<const AgeIdentity> identities);
  // Plain bytes of chunks that are as they were written. Errc::truncated where the file ends early, after all
  // whole chunks: a last one that was changed looks the same. Errc::mismatch where a chunk was changed.
  Result<std::size_t> read(std::span<std::byte> into) override = 0;
  [[nodiscard]] virtual const AgeInfo& info() const = 0;
};

}  // namespace ctriage::bundle
