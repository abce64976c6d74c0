#include "lib/bundle/verify.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/bundle/chunk_check.h"
#include "lib/bundle/peek_source.h"
#include "lib/bundle/verifier.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

// Hashes manifest.json a second way while it is read: signatures are over SHA-512.
class WideSource final : public ByteSource {
 public:
  explicit WideSource(ByteSource& in) : in_(in) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    auto got = in_.read(into);
    if (got) hash_.update(into.first(*got));
    return got;
  }
  Status drain() {
    std::array<std::byte, 4'096> rest{};
    while (true) {
      auto got = read(rest);
      if (!got) return std::move(got).error();
      if (*got == 0) return Done{};
    }
  }
  [[nodiscard]] Digest512 digest() const { return hash_.digest(); }

 private:
  ByteSource& in_;
  Sha512 hash_;
};

// The plain bytes of an encrypted bundle. How they end is kept, and is the end for who reads.
class Opened final : public ByteSource {
 public:
  explicit Opened(ByteSource& in) : in_(in) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (ended_) return std::size_t{0};
    auto got = in_.read(into);
    const bool about_content =
        !got && (got.error().code == Errc::truncated || got.error().code == Errc::mismatch ||
                 got.error().code == Errc::malformed);
    if (!about_content) return got;
    ended_.emplace(std::move(got).error());
    return std::size_t{0};
  }
  [[nodiscard]] const std::optional<Error>& ended() const { return ended_; }

 private:
  ByteSource& in_;
  std::optional<Error> ended_;
};

class Verifier {
 public:
  Verifier(ByteSource& file, const VerifyOptions& options, Task& task)
      : in_(file), options_(options), task_(task) {}

  Result<Report> run() {
    while (true) {
      if (auto may = task_.check(); !may) return std::move(may).error();
      auto next = check_next();
      if (!next) return std::move(next).error();
      if (*next != Next::member) break;
    }
    report_.size_bytes = in_.offset();
    report_.streams = seen_.ledger.streams.size();
    report_.custody_records = custody_.records();
    report_.last_phase = custody_.last_phase();
    report_.salvage = list_salvage(seen_, cut_, problems_.none());
    tell_of_signing();
    if (!problems_.none()) {
      report_.verdict = Verdict::wrong;
    } else {
      report_.verdict = cut_ ? Verdict::cut : Verdict::whole;
    }
    return std::move(report_);
  }

 private:
  enum class Next : std::uint8_t { member, end };
  enum class Place : std::uint8_t { members, after_sums, after_manifest, after_signature, after_digest };

  // A signature that was taken away, or made anew by another, leaves a bundle that is whole: what was planned
  // stands in it.
  void tell_of_signing() {
    const std::string& planned = custody_.signing_key();
    if (planned.empty() || cut_ || report_.signed_by == planned) return;
    task_.gaps.add(
        {Impact::degraded, "signature", std::string(kManifestSignature),
         Error{Errc::mismatch, "it was to be signed by " + planned + ", and is " +
                                   (report_.signed_by.empty() ? "NOT SIGNED: the key could not sign then, or "
                                                                "the signature was taken away"
                                                              : "signed by " + report_.signed_by)}});
  }

  // A block of 512 bytes, or less at the end of the file.
  Result<std::size_t> read_block(archive::TarBlock& block) {
    std::size_t size = 0;
    while (size < kTarBlock) {
      auto taken = in_.take(kTarBlock - size);
      if (!taken) return std::move(taken).error();
      if (taken->empty()) break;
      std::memcpy(block.data() + size, taken->data(), taken->size());
      size += taken->size();
    }
    return size;
  }

  Result<Next> check_next() {
    const CustodyChain::Here here{in_.offset(), report_.members, std::nullopt, {}};
    const auto prefix = snapshot();
    archive::TarBlock block{};
    auto size = read_block(block);
    if (!size) return std::move(size).error();
    if (*size < kTarBlock) return report_.members > 0 ? cut_here() : no_bundle("no whole first member");
    auto parsed = archive::parse_tar_header(block);
    if (!parsed) return wrong(here, parsed.error().what);
    if (!*parsed) return check_end();
    const archive::TarHeader& header = **parsed;
    auto canonical = archive::make_tar_header(header.name, header.size_bytes, header.mtime_seconds);
    if (!canonical || *canonical != block) return wrong(here, "not a header of ours");
    if (!is_member_name(header.name)) return wrong(here, "not a name of ours");
    if (!mtime_seconds_) mtime_seconds_ = header.mtime_seconds;
    if (header.mtime_seconds != *mtime_seconds_)
      problems_.add(header.name, "has another time than the members before it");
    if (++report_.members > kMaxMembers) return Error{Errc::limit, "more than 4,000,000 members"};
    return check_member(header, here, prefix);
  }

  // The digest of the file before this member costs a copy of the hash: only custody.jsonl needs it, whose
  // name is not known yet. A copy is cheap next to a member, and hashing ends with the first mark.
  std::optional<Digest> snapshot() const { return in_.digest(); }

  Result<Next> no_bundle(std::string_view what) {
    problems_.add("not a bundle", what);
    return Next::end;
  }

  Result<Next> wrong(const CustodyChain::Here& here, std::string_view what) {
    if (report_.members == 0) {
      problems_.add("not a bundle, or its first header was changed", what);
      return Next::end;
    }
    problems_.add(
        "member " + std::to_string(report_.members) + " at byte " + std::to_string(here.length_bytes), what);
    return Next::end;  // without a header there is no way to the next one
  }

  Result<Next> cut_here() {
    cut_ = true;
    return Next::end;
  }

  Result<Next> check_member(const archive::TarHeader& header, CustodyChain::Here here,
                            const std::optional<Digest>& prefix) {
    Content content(in_, header.size_bytes);
    auto checked = Status(Done{});
    if (is_closing_member(header.name)) {
      checked = check_closing(header, content);
    } else if (place_ != Place::members) {
      problems_.add(header.name, "stands after the end of the bundle began");
      checked = content.skip();
    } else {
      here.prefix_digest = prefix;
      checked = chunks_.check(header, content, here);
    }
    if (content.cut()) return cut_here();
    if (!checked) return std::move(checked).error();
    return check_padding(header);
  }

  Result<Next> check_padding(const archive::TarHeader& header) {
    std::uint64_t left = archive::tar_padding(header.size_bytes);
    while (left > 0) {
      auto taken = in_.take(left);
      if (!taken) return std::move(taken).error();
      if (taken->empty()) return cut_here();
      if (std::any_of(taken->begin(), taken->end(), [](std::byte b) { return b != std::byte{0}; })) {
        problems_.add(header.name, "the bytes behind it are not zero");
      }
      left -= taken->size();
    }
    return Next::member;
  }

  Status check_closing(const archive::TarHeader& header, Content& content) {
    if (!stands_right(header.name)) {
      problems_.add(header.name, "does not stand where the end of a bundle has it");
      return content.skip();
    }
    auto checked = Status(Done{});
    if (header.name == kSums) {
      place_ = Place::after_sums;
      checked = check_sums(content, seen_, problems_);
    } else if (header.name == kManifest) {
      place_ = Place::after_manifest;
      WideSource wide(content);
      checked = check_manifest(wide, seen_, *mtime_seconds_, problems_, report_.not_whole);
      if (!checked && !content.cut() && is_about_content(checked.error())) {
        problems_.add(kManifest, checked.error().what);
        checked = Done{};
      }
      if (checked) checked = wide.drain();
      manifest_wide_ = wide.digest();
    } else if (header.name == kManifestSignature) {
      place_ = Place::after_signature;
      return check_signature_member(content);
    } else {
      place_ = Place::after_digest;
      if (place_signature_missing())
        problems_.add(kManifest, "is not signed, and must be by one of --signers");
    }
    if (checked) checked = content.skip();
    if (!checked) return checked;
    check_closing_digest(header.name, content.digest());
    return Done{};
  }

  [[nodiscard]] bool stands_right(std::string_view name) const {
    if (name == kSums) return place_ == Place::members;
    if (name == kManifest) return place_ == Place::after_sums;
    if (name == kManifestSignature) return place_ == Place::after_manifest;
    return place_ == Place::after_manifest || place_ == Place::after_signature;
  }

  [[nodiscard]] bool place_signature_missing() const {
    return options_.signers != nullptr && !has_signature_;
  }

  // The signature of manifest.json, which stands before it and so has been hashed.
  Status check_signature_member(Content& content) {
    has_signature_ = true;
    const auto text = read_all(content, kMaxSignatureBytes);
    if (!text && text.error().code != Errc::limit) return text.error();
    if (auto skipped = content.skip(); !skipped) return skipped;
    const auto signature = text ? parse_signature(*text) : Result<SshSignature>(text.error());
    auto good = signature ? check_signature(*signature, {*report_.manifest_digest, manifest_wide_})
                          : Status(signature.error());
    // Only the form that our writer makes: no other text means the same.
    if (good && text && !is_exact_armor(*text))
      good = Error{Errc::malformed, "not in the form that is written"};
    if (!good) {
      problems_.add(kManifestSignature, good.error().what);
      return Done{};
    }
    report_.signed_by = ssh_fingerprint(signature->public_blob);
    if (options_.signers == nullptr) return Done{};
    auto who = options_.signers->find(signature->public_blob, kSealNamespace, task_.now());
    if (who) {
      report_.signer = *std::move(who);
    } else {
      problems_.add(kManifestSignature, "signed by " + report_.signed_by + ": " + who.error().what);
    }
    return Done{};
  }

  static bool is_about_content(const Error& error) {
    return error.code == Errc::malformed || error.code == Errc::limit;
  }

  void check_closing_digest(const std::string& name, const Digest& digest) {
    if (name == kSums) {
      if (digest != seen_.sums.digest()) problems_.add(kSums, "is not the list of what is in the file");
    } else if (name == kManifest) {
      report_.manifest_digest = digest;
      if (options_.digest && digest != *options_.digest)
        problems_.add(kManifest, "its SHA-256 is " + to_hex(digest) + ", not the one given");
    } else {
      const std::string line = sums_line(*report_.manifest_digest, kManifest);
      if (digest != sha256(std::as_bytes(std::span(line))))
        problems_.add(kManifestDigest, "is not the digest of manifest.json");
    }
  }

  // One block of zeros was read; a second must follow, then nothing.
  Result<Next> check_end() {
    if (report_.members == 0) return no_bundle("no whole first member");
    if (place_ != Place::after_digest) {
      problems_.add("the archive", "ends without manifest.json and its digest");
      return Next::end;
    }
    archive::TarBlock block{};
    auto size = read_block(block);
    if (!size) return std::move(size).error();
    if (std::any_of(block.begin(), block.end(), [](std::byte b) { return b != std::byte{0}; })) {
      problems_.add("the end of the archive", "is not zero");
      return Next::end;
    }
    if (*size < kTarBlock) return cut_here();
    auto more = in_.take(1);
    if (!more) return std::move(more).error();
    if (!more->empty()) problems_.add("the file", "goes on after the end of the archive");
    return Next::end;
  }

  Input in_;
  const VerifyOptions& options_;
  Task& task_;
  Report report_;
  Problems problems_{report_};
  Seen seen_;
  CustodyChain custody_;
  ChunkCheck chunks_{in_, seen_, custody_, problems_, options_};
  std::optional<std::int64_t> mtime_seconds_;
  Place place_ = Place::members;
  Digest512 manifest_wide_{};
  bool has_signature_ = false;
  bool cut_ = false;
};

Result<Report> verify_encrypted(ByteSource& file, const VerifyOptions& options, Task& task) {
  auto source = AgeSource::open(file, options.identities);
  if (!source) return std::move(source).error();
  Opened plain(**source);
  auto report = Verifier(plain, options, task).run();
  if (!report) return report;
  report->encrypted = true;
  if (!plain.ended()) return report;
  const bool changed = plain.ended()->code != Errc::truncated;
  if (changed || report->verdict == Verdict::wrong) {
    ++report->problem_count;
    report->problems.insert(report->problems.begin(), plain.ended()->what);
  }
  if (changed) {
    report->verdict = Verdict::wrong;
  } else if (report->verdict == Verdict::whole) {
    report->verdict = Verdict::cut;
  }
  return report;
}

}  // namespace

Result<Report> verify(ByteSource& file, const VerifyOptions& options, Task& task) {
  PeekSource peeked(file);
  auto first = peeked.peek(kAgeIntroBytes);
  if (!first) return std::move(first).error();
  switch (age_form(*first)) {
    case AgeForm::none:
      return Verifier(peeked, options, task).run();
    case AgeForm::armored:
      return Error{Errc::unsupported, "encrypted in age's text form: age -d opens it, then verify"};
    case AgeForm::binary:
      break;
  }
  if (!options.identities.empty()) return verify_encrypted(peeked, options, task);
  auto info = describe_age(peeked);
  if (!info) return std::move(info).error();
  if (info->passphrase)
    return Error{Errc::denied, "encrypted with a passphrase: age -d opens it, then verify"};
  return Error{Errc::denied, "encrypted to " +
                                 counted(info->recipients + info->others, "recipient", "recipients") +
                                 ": --identity KEYFILE opens it"};
}

Result<Report> verify(ByteSource& file, const std::optional<Digest>& expected, Task& task) {
  return verify(file, VerifyOptions{expected}, task);
}

}  // namespace ctriage::bundle
