#pragma once
// The header of an age file and the payload's key, for age.h's two directions.
//
//   age-encryption.org/v1 LF
//   -> TYPE ARGUMENT... LF            a stanza: the file's key, wrapped for one recipient
//   BASE64 LF                         64 columns each, the last shorter, perhaps empty
//   --- MAC LF                        of all before, up to and with the dashes
//   16 bytes of nonce, then the chunks
//
// Base64 without padding, in its only form.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/age.h"

namespace ctriage::bundle {

constexpr std::string_view kAgeIntro = "age-encryption.org/v1\n";
constexpr std::size_t kMaxAgeHeader = 1 << 20;
constexpr std::size_t kMaxAgeLine = 4 << 10;
constexpr std::size_t kMaxAgeStanzas = 1'024;
constexpr std::size_t kAgeNonce = 16;

using FileKey = std::array<std::byte, 16>;

struct AgeStanza {
  std::vector<std::string> words;  // type, then arguments
  std::string body;                // decoded
};

struct AgeHeader {
  std::vector<AgeStanza> stanzas;
  std::string text;  // what the MAC is of
  Key32 mac{};
  [[nodiscard]] AgeInfo info() const;
};

// The header's lines from `next`, which gives one at a time without its end.
class AgeLines {
 public:
  explicit AgeLines(ByteSource& in) : in_(in) {}
  Result<std::string> next();              // Errc::truncated, limit
  Status take(std::span<std::byte> into);  // what follows the last line. Errc::truncated
  // As much as there is up to the size of `into`; less only at the end.
  Result<std::size_t> take_some(std::span<std::byte> into);
  [[nodiscard]] std::uint64_t eaten() const { return eaten_; }  // bytes of lines so far

 private:
  Status fill();
  ByteSource& in_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(std::size_t{64} << 10);
  std::size_t at_ = 0;
  std::size_t size_ = 0;
  std::uint64_t eaten_ = 0;
  bool ended_ = false;
};

Result<AgeHeader> read_age_header(AgeLines& in);
Result<std::string> make_age_header(const FileKey& key, std::span<const AgeRecipient> recipients);
// The file's key. Errc::denied, mismatch (a header that was changed).
Result<FileKey> unwrap(const AgeHeader& header, std::span<const AgeIdentity> identities);
Result<Aead> payload_of(const FileKey& key, std::span<const std::byte> nonce);
Aead::Nonce age_nonce(std::uint64_t counter, bool last);

}  // namespace ctriage::bundle
