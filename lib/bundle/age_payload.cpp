// The chunks of an age file: STREAM over ChaCha20-Poly1305. Each has its number and whether it is the last in
// its nonce, so that none can be changed, moved or left out.
#include <algorithm>
#include <optional>

#include "lib/bundle/age_header.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kSealedChunk = kAgeChunk + Aead::kTagBytes;
constexpr std::size_t kChunksAWrite = 16;

class Decryptor final : public AgeSource {
 public:
  explicit Decryptor(ByteSource& in) : in_(in) {}

  Status begin(std::span<const AgeIdentity> identities) {
    auto header = read_age_header(in_);
    if (!header) return std::move(header).error();
    info_ = header->info();
    auto key = unwrap(*header, identities);
    if (!key) return std::move(key).error();
    std::array<std::byte, kAgeNonce> nonce{};
    if (auto got = in_.take(nonce); !got) return got;
    auto aead = payload_of(*key, nonce);
    wipe(*key);
    if (!aead) return std::move(aead).error();
    aead_.emplace(*std::move(aead));
    return Done{};
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    if (failed_) return *failed_;
    if (into.empty()) return std::size_t{0};
    if (at_ == size_ && !last_) {
      if (auto opened = next_chunk(); !opened) return failed_.emplace(std::move(opened).error());
    }
    const std::size_t count = std::min(into.size(), size_ - at_);
    std::copy_n(plain_.begin() + static_cast<std::ptrdiff_t>(at_), count, into.begin());
    at_ += count;
    return count;
  }

  [[nodiscard]] const AgeInfo& info() const override { return info_; }

 private:
  [[nodiscard]] std::string where() const { return "age chunk " + std::to_string(counter_); }

  Status next_chunk() {
    auto got = in_.take_some(sealed_);
    if (!got) return std::move(got).error();
    const std::size_t size = *got;
    if (size < Aead::kTagBytes) return Error{Errc::truncated, where() + ": the file ends before it"};
    const std::span<const std::byte> sealed = std::span(sealed_).first(size);
    const std::span<std::byte> plain = std::span(plain_).first(size - Aead::kTagBytes);
    if (size == kSealedChunk && aead_->open(age_nonce(counter_, false), sealed, plain)) {
      accept(plain.size());
      return Done{};
    }
    if (!aead_->open(age_nonce(counter_, true), sealed, plain)) {
      if (size < kSealedChunk)
        return Error{Errc::truncated,
                     where() + ": the file ends inside it, or it was changed and is the last"};
      return Error{Errc::mismatch, where() + ": it was changed"};
    }
    if (plain.empty() && counter_ > 0) return Error{Errc::malformed, where() + ": the last one is empty"};
    std::array<std::byte, 1> more{};
    auto behind = in_.take_some(more);
    if (!behind) return std::move(behind).error();
    if (*behind > 0) return Error{Errc::mismatch, "age: something stands behind its last chunk"};
    last_ = true;
    accept(plain.size());
    return Done{};
  }

  void accept(std::size_t size) {
    at_ = 0;
    size_ = size;
    ++counter_;
  }

  AgeLines in_;
  AgeInfo info_;
  std::optional<Aead> aead_;
  std::vector<std::byte> sealed_ = std::vector<std::byte>(kSealedChunk);
  std::vector<std::byte> plain_ = std::vector<std::byte>(kAgeChunk);
  std::size_t at_ = 0;
  std::size_t size_ = 0;
  std::uint64_t counter_ = 0;
  bool last_ = false;
  std::optional<Error> failed_;
};

}  // namespace

AgeEncryptor::AgeEncryptor(std::string header, Aead aead)
    : header_(std::move(header)), aead_(std::move(aead)) {
  pending_.reserve(kAgeChunk);
  sealed_.reserve(kChunksAWrite * kSealedChunk);
}

Result<AgeEncryptor> AgeEncryptor::create(std::span<const AgeRecipient> recipients) {
  FileKey key{};
  std::array<std::byte, kAgeNonce> nonce{};
  if (auto made = random_bytes(key); !made) return std::move(made).error();
  if (auto made = random_bytes(nonce); !made) return std::move(made).error();
  auto header = make_age_header(key, recipients);
  auto aead = payload_of(key, nonce);
  wipe(key);
  if (!header) return std::move(header).error();
  if (!aead) return std::move(aead).error();
  header->append(reinterpret_cast<const char*>(nonce.data()), nonce.size());
  return AgeEncryptor(*std::move(header), *std::move(aead));
}

Status AgeEncryptor::flush(ByteSink& out) {
  if (sealed_.empty()) return Done{};
  auto written = out.write(sealed_);
  sealed_.clear();
  return written;
}

Status AgeEncryptor::seal(std::span<const std::byte> plain, bool last, ByteSink& out) {
  const std::size_t at = sealed_.size();
  sealed_.resize(at + plain.size() + Aead::kTagBytes);
  auto sealed = aead_.seal(age_nonce(counter_++, last), plain, std::span(sealed_).subspan(at));
  if (!sealed) return sealed;
  return sealed_.size() >= kChunksAWrite * kSealedChunk ? flush(out) : Status(Done{});
}

Status AgeEncryptor::write(std::span<const std::byte> plain, ByteSink& out) {
  // A full chunk waits: only what comes after it says that it is not the last.
  while (!plain.empty()) {
    if (pending_.size() == kAgeChunk) {
      if (auto sealed = seal(pending_, false, out); !sealed) return sealed;
      pending_.clear();
    }
    if (pending_.empty() && plain.size() > kAgeChunk) {
      if (auto sealed = seal(plain.first(kAgeChunk), false, out); !sealed) return sealed;
      plain = plain.subspan(kAgeChunk);
      continue;
    }
    const auto head = plain.first(std::min(plain.size(), kAgeChunk - pending_.size()));
    pending_.insert(pending_.end(), head.begin(), head.end());
    plain = plain.subspan(head.size());
  }
  return flush(out);
}

Status AgeEncryptor::finish(ByteSink& out) {
  if (auto sealed = seal(pending_, true, out); !sealed) return sealed;
  wipe(pending_);
  pending_.clear();
  return flush(out);
}

std::uint64_t AgeEncryptor::stored_bytes(std::uint64_t plain_bytes) const {
  const std::uint64_t chunks = plain_bytes == 0 ? 1 : (plain_bytes - 1) / kAgeChunk + 1;
  const std::uint64_t more = header_.size() + chunks * Aead::kTagBytes;
  return plain_bytes > UINT64_MAX - more ? UINT64_MAX : plain_bytes + more;
}

std::uint64_t AgeEncryptor::plain_bytes(std::uint64_t stored_bytes) const {
  if (stored_bytes < header_.size() + Aead::kTagBytes) return 0;
  const std::uint64_t rest = stored_bytes - header_.size();
  const std::uint64_t cut = rest % kSealedChunk;
  return rest / kSealedChunk * kAgeChunk + (cut > Aead::kTagBytes ? cut - Aead::kTagBytes : 0);
}

Result<std::unique_ptr<AgeSink>> AgeSink::create(ByteSink& out, std::span<const AgeRecipient> recipients) {
  auto encryptor = AgeEncryptor::create(recipients);
  if (!encryptor) return std::move(encryptor).error();
  if (auto written = out.write(bytes_in(encryptor->header())); !written) return std::move(written).error();
  return std::unique_ptr<AgeSink>(new AgeSink(out, *std::move(encryptor)));
}

Result<AgeInfo> describe_age(ByteSource& in) {
  AgeLines lines(in);
  auto header = read_age_header(lines);
  if (!header) return std::move(header).error();
  AgeInfo info = header->info();
  info.header_bytes = lines.eaten();
  return info;
}

Status check_age_size(const AgeInfo& info, std::uint64_t file_bytes) {
  constexpr std::uint64_t kNonce = 16;
  constexpr std::uint64_t kChunk = kAgeChunk + Aead::kTagBytes;
  const Error early{Errc::truncated, "an encrypted file that ends early"};
  if (file_bytes < info.header_bytes + kNonce + Aead::kTagBytes) return early;
  const std::uint64_t rest = (file_bytes - info.header_bytes - kNonce) % kChunk;
  if (rest > 0 && rest <= Aead::kTagBytes && file_bytes - info.header_bytes - kNonce > kChunk) return early;
  return Done{};
}

Result<std::unique_ptr<AgeSource>> AgeSource::open(ByteSource& in, std::span<const AgeIdentity> identities) {
  auto source = std::make_unique<Decryptor>(in);
  if (auto begun = source->begin(identities); !begun) return std::move(begun).error();
  return std::unique_ptr<AgeSource>(std::move(source));
}

}  // namespace ctriage::bundle
