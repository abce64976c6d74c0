#include "lib/bundle/verify.h"

#include <algorithm>
#include <cstring>

#include "lib/bundle/chunk_check.h"
#include "lib/bundle/verifier.h"
#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

class Verifier {
 public:
  Verifier(ByteSource& file, const std::optional<Digest>& expected, Task& task)
      : in_(file), expected_(expected), task_(task) {}

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
    if (!problems_.none()) {
      report_.verdict = Verdict::wrong;
    } else {
      report_.verdict = cut_ ? Verdict::cut : Verdict::whole;
    }
    return std::move(report_);
  }

 private:
  enum class Next : std::uint8_t { member, end };
  enum class Place : std::uint8_t { members, after_sums, after_manifest, after_digest };

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
    const Place needed = header.name == kSums       ? Place::members
                         : header.name == kManifest ? Place::after_sums
                                                    : Place::after_manifest;
    if (place_ != needed) {
      problems_.add(header.name, "does not stand where the end of a bundle has it");
      return content.skip();
    }
    auto checked = Status(Done{});
    if (header.name == kSums) {
      place_ = Place::after_sums;
      checked = check_sums(content, seen_, problems_);
    } else if (header.name == kManifest) {
      place_ = Place::after_manifest;
      checked = check_manifest(content, seen_, *mtime_seconds_, problems_, report_.not_whole);
      if (!checked && !content.cut() && is_about_content(checked.error())) {
        problems_.add(kManifest, checked.error().what);
        checked = Done{};
      }
    } else {
      place_ = Place::after_digest;
    }
    if (checked) checked = content.skip();
    if (!checked) return checked;
    check_closing_digest(header.name, content.digest());
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
      if (expected_ && digest != *expected_)
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
  const std::optional<Digest>& expected_;
  Task& task_;
  Report report_;
  Problems problems_{report_};
  Seen seen_;
  CustodyChain custody_;
  ChunkCheck chunks_{in_, seen_, custody_, problems_};
  std::optional<std::int64_t> mtime_seconds_;
  Place place_ = Place::members;
  bool cut_ = false;
};

}  // namespace

Result<Report> verify(ByteSource& file, const std::optional<Digest>& expected, Task& task) {
  return Verifier(file, expected, task).run();
}

}  // namespace ctriage::bundle
