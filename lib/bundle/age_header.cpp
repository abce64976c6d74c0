#include "lib/bundle/age_header.h"

#include <algorithm>
#include <cstring>

#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::string_view kArmor = "-----BEGIN AGE ENCRYPTED FILE-----";
constexpr std::string_view kX25519 = "X25519";
constexpr std::string_view kWrapInfo = "age-encryption.org/v1/X25519";
constexpr std::size_t kColumns = 64;
constexpr std::size_t kMaxBody = 64 << 10;

std::string base64(std::span<const std::byte> bytes) {
  std::string text = to_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  while (text.ends_with('=')) text.pop_back();
  return text;
}

// The only text that means these bytes, or nothing.
std::optional<std::string> from_raw_base64(std::string_view text) {
  if (text.find('=') != std::string_view::npos) return std::nullopt;
  std::string padded(text);
  while (padded.size() % 4 != 0) padded += '=';
  auto bytes = from_base64(padded);
  if (!bytes || base64(bytes_in(*bytes)) != text) return std::nullopt;
  return bytes;
}

bool to_key(std::string_view text, Key32& key) {
  const auto bytes = from_raw_base64(text);
  if (!bytes || bytes->size() != key.size()) return false;
  std::copy_n(bytes_in(*bytes).begin(), key.size(), key.begin());
  return true;
}

Error malformed(std::string_view what) { return Error{Errc::malformed, "age header: " + std::string(what)}; }

Result<Key32> wrapping_key(const Key32& secret, const Key32& other, const Key32& share,
                           const Key32& recipient) {
  auto shared = x25519(secret, other);
  if (!shared) return shared;
  std::array<std::byte, 64> salt{};
  std::copy(share.begin(), share.end(), salt.begin());
  std::copy(recipient.begin(), recipient.end(), salt.begin() + 32);
  auto key = hkdf(*shared, salt, kWrapInfo);
  wipe(*shared);
  return key;
}

Result<Key32> header_mac(const FileKey& key, std::string_view text) {
  auto secret = hkdf(key, {}, "header");
  if (!secret) return secret;
  auto mac = hmac(*secret, text);
  wipe(*secret);
  return mac;
}

// True and the key when this stanza was made for this identity.
Result<bool> unwrap_one(const AgeStanza& stanza, const Key32& share, const AgeIdentity& identity,
                        FileKey& key) {
  auto own = x25519_public(identity.secret);
  if (!own) return std::move(own).error();
  auto wrapping = wrapping_key(identity.secret, share, share, *own);
  if (!wrapping) return std::move(wrapping).error();
  auto aead = Aead::create(*wrapping);
  wipe(*wrapping);
  if (!aead) return std::move(aead).error();
  return aead->open({}, bytes_in(stanza.body), key);
}

Status read_stanza(std::string_view line, AgeLines& in, AgeHeader& header) {
  AgeStanza stanza;
  for (const std::string_view word : split(line, ' ')) {
    const bool good =
        !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return c > 32 && c < 127; });
    if (!good) return malformed("a stanza with words that are none");
    stanza.words.emplace_back(word);
  }
  if (stanza.words.empty()) return malformed("a stanza without a type");
  while (true) {
    auto body = in.next();
    if (!body) return std::move(body).error();
    header.text.append(*body).append("\n");
    const auto bytes = from_raw_base64(*body);
    if (body->size() > kColumns || !bytes) return malformed("a line that is not base64 of 64 columns");
    stanza.body += *bytes;
    if (stanza.body.size() > kMaxBody) return Error{Errc::limit, "age header: a stanza of over 64 KiB"};
    if (body->size() < kColumns) break;
  }
  if (header.stanzas.size() == kMaxAgeStanzas) return Error{Errc::limit, "age header: over 1024 stanzas"};
  header.stanzas.push_back(std::move(stanza));
  return Done{};
}

}  // namespace

AgeForm age_form(std::span<const std::byte> first_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(first_bytes.data()), first_bytes.size());
  if (text.starts_with(kArmor)) return AgeForm::armored;
  return text.starts_with("age-encryption.org/") ? AgeForm::binary : AgeForm::none;
}

AgeInfo AgeHeader::info() const {
  AgeInfo info;
  for (const AgeStanza& stanza : stanzas) {
    if (stanza.words[0] == kX25519) {
      ++info.recipients;
    } else if (stanza.words[0] == "scrypt") {
      info.passphrase = true;
    } else {
      ++info.others;
    }
  }
  return info;
}

Status AgeLines::fill() {
  if (at_ < size_ || ended_) return Done{};
  auto got = in_.read(buffer_);
  if (!got) return std::move(got).error();
  at_ = 0;
  size_ = *got;
  ended_ = *got == 0;
  return Done{};
}

Result<std::string> AgeLines::next() {
  std::string line;
  while (true) {
    if (auto filled = fill(); !filled) return std::move(filled).error();
    if (ended_) return Error{Errc::truncated, "age header: the file ends inside it"};
    const char* begin = reinterpret_cast<const char*>(buffer_.data()) + at_;
    const auto* end = static_cast<const char*>(std::memchr(begin, '\n', size_ - at_));
    const std::size_t count = end == nullptr ? size_ - at_ : static_cast<std::size_t>(end - begin);
    if (line.size() + count > kMaxAgeLine) return Error{Errc::limit, "age header: a line of over 4 KiB"};
    line.append(begin, count);
    at_ += count + (end == nullptr ? 0 : 1);
    eaten_ += count + 1;
    if (eaten_ > kMaxAgeHeader) return Error{Errc::limit, "age header: over 1 MiB"};
    if (end != nullptr) return line;
  }
}

Result<std::size_t> AgeLines::take_some(std::span<std::byte> into) {
  std::size_t done = 0;
  while (done < into.size() && !ended_) {
    // What is large goes where it is wanted at once.
    if (at_ == size_ && into.size() - done >= buffer_.size() / 2) {
      auto got = in_.read(into.subspan(done));
      if (!got) return got;
      done += *got;
      ended_ = *got == 0;
      continue;
    }
    if (auto filled = fill(); !filled) return std::move(filled).error();
    const std::size_t count = std::min(size_ - at_, into.size() - done);
    std::copy_n(buffer_.begin() + static_cast<std::ptrdiff_t>(at_), count,
                into.begin() + static_cast<std::ptrdiff_t>(done));
    at_ += count;
    done += count;
  }
  return done;
}

Status AgeLines::take(std::span<std::byte> into) {
  auto got = take_some(into);
  if (!got) return std::move(got).error();
  if (*got < into.size()) return Error{Errc::truncated, "age: the file ends before its first chunk"};
  return Done{};
}

Result<AgeHeader> read_age_header(AgeLines& in) {
  AgeHeader header;
  auto line = in.next();
  if (!line) return std::move(line).error();
  if (line->starts_with(kArmor))
    return Error{Errc::unsupported, "age: the armored (text) form; age -d reads it"};
  if (*line != kAgeIntro.substr(0, kAgeIntro.size() - 1))
    return Error{line->starts_with("age-encryption.org/") ? Errc::unsupported : Errc::malformed,
                 "not a file of age-encryption.org/v1"};
  header.text = kAgeIntro;
  while (true) {
    line = in.next();
    if (!line) return std::move(line).error();
    if (line->starts_with("--- ")) {
      header.text += "---";
      if (!to_key(std::string_view(*line).substr(4), header.mac)) return malformed("its MAC is none");
      if (header.stanzas.empty()) return malformed("is for nobody");
      return header;
    }
    if (!line->starts_with("-> ")) return malformed("a line that is no stanza");
    header.text.append(*line).append("\n");
    if (auto read = read_stanza(std::string_view(*line).substr(3), in, header); !read)
      return std::move(read).error();
  }
}

Result<std::string> make_age_header(const FileKey& key, std::span<const AgeRecipient> recipients) {
  if (recipients.empty()) return Error{Errc::malformed, "age: no recipient"};
  std::string text(kAgeIntro);
  for (const AgeRecipient& recipient : recipients) {
    Key32 secret{};
    if (auto made = random_bytes(secret); !made) return std::move(made).error();
    auto share = x25519_public(secret);
    if (!share) return std::move(share).error();
    auto wrapping = wrapping_key(secret, recipient.point, *share, recipient.point);
    wipe(secret);
    if (!wrapping) return std::move(wrapping).error().within(recipient.text());
    auto aead = Aead::create(*wrapping);
    wipe(*wrapping);
    if (!aead) return std::move(aead).error();
    std::array<std::byte, sizeof(FileKey) + Aead::kTagBytes> body{};
    if (auto sealed = aead->seal({}, key, body); !sealed) return std::move(sealed).error();
    text.append("-> X25519 ").append(base64(*share)).append("\n").append(base64(body)).append("\n");
  }
  text += "---";
  auto mac = header_mac(key, text);
  if (!mac) return std::move(mac).error();
  return text + " " + base64(*mac) + "\n";
}

Result<FileKey> unwrap(const AgeHeader& header, std::span<const AgeIdentity> identities) {
  const AgeInfo info = header.info();
  for (const AgeStanza& stanza : header.stanzas) {
    if (stanza.words[0] != kX25519) continue;
    Key32 share{};
    if (stanza.words.size() != 2 || !to_key(stanza.words[1], share) ||
        stanza.body.size() != sizeof(FileKey) + Aead::kTagBytes)
      return malformed("an X25519 stanza that is none");
    for (const AgeIdentity& identity : identities) {
      FileKey key{};
      auto fits = unwrap_one(stanza, share, identity, key);
      if (!fits) return std::move(fits).error();
      if (!*fits) continue;
      auto mac = header_mac(key, header.text);
      if (!mac) return std::move(mac).error();
      if (!same_secret(*mac, header.mac)) return Error{Errc::mismatch, "age header: it was changed"};
      return key;
    }
  }
  if (info.passphrase)
    return Error{Errc::denied, "age: it was encrypted with a passphrase, which age -d asks for"};
  return Error{Errc::denied,
               "age: no identity given is one of its " + std::to_string(info.recipients) +
                   " X25519 recipients" +
                   (info.others > 0 ? " (" + std::to_string(info.others) + " of other kinds)" : "")};
}

Result<Aead> payload_of(const FileKey& key, std::span<const std::byte> nonce) {
  auto secret = hkdf(key, nonce, "payload");
  if (!secret) return std::move(secret).error();
  auto aead = Aead::create(*secret);
  wipe(*secret);
  return aead;
}

Aead::Nonce age_nonce(std::uint64_t counter, bool last) {
  Aead::Nonce nonce{};
  for (std::size_t i = 0; i < 8; ++i) nonce[10 - i] = static_cast<std::byte>(counter >> (8 * i) & 0xff);
  nonce[11] = static_cast<std::byte>(last ? 1 : 0);
  return nonce;
}

}  // namespace ctriage::bundle
