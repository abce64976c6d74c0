#include "lib/bundle/verify.h"

#include <algorithm>
#include <cstring>

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
    list_salvage();
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
    if (*size < kTarBlock) return cut_here();
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

  Result<Next> wrong(const CustodyChain::Here& here, std::string_view what) {
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
      checked = check_chunk(header, content, here);
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

  Status check_chunk(const archive::TarHeader& header, Content& content, CustodyChain::Here& here) {
    const MemberName name = split_member(header.name);
    auto found = stream_of(header.name, name);
    if (!found) return std::move(found).error();
    const std::uint32_t id = *found;
    const StreamRecord& stream = seen_.ledger.streams[id];
    const bool in_order =
        name.chunk == (stream.count == 0 && name.chunk == kWholeStream ? kWholeStream : stream.count);
    if (!in_order) {
      const bool twice = name.chunk == kWholeStream || name.chunk < stream.count;
      problems_.add(header.name, twice ? "is there twice" : "a chunk before it is missing");
    }
    if (seen_.ended[id]) problems_.add(header.name, "follows a chunk that was the last");
    const bool single = name.chunk == kWholeStream;
    if (!single && !seen_.open.contains(id) && stream.count == 0) {
      if (seen_.open.size() >= kMaxOpenStreams)
        return Error{Errc::limit, "more than 65,536 streams at a time"};
      seen_.open.try_emplace(id);
    }
    const auto open = seen_.open.find(id);
    Sha256* hash = open == seen_.open.end() ? nullptr : &open->second;

    std::uint64_t original = 0;
    Digest decoded{};
    auto read = Status(Done{});
    if (stream.encoding == Encoding::zstd) {
      read = check_frame(header.name, content, hash, original, decoded);
    } else if (name.stream == kCustody) {
      here.sums_digest = seen_.sums.digest();
      Tee tee(content, hash);
      read = custody_.check_chunk(tee, header.size_bytes, here, in_, problems_);
      original = tee.passed();
    } else {
      read = hash_plain(content, hash, original);
    }
    add_salvage(id, original);
    if (content.cut()) return Done{};
    if (!read) return read;

    const Digest stored = content.digest();
    if (auto room = check_size(header, stream, original); !room) return room;
    if (stream.encoding != Encoding::jsonl && original < kChunkBytes) seen_.ended[id] = true;
    const auto size = static_cast<std::uint32_t>(header.size_bytes);
    if (auto added = seen_.ledger.add_chunk(id, name.chunk, size, stored); !added) return added;
    seen_.sums.update(sums_line(stored, header.name));
    StreamRecord& record = seen_.ledger.streams[id];
    record.size_bytes += original;
    if (hash == nullptr) {
      record.digest = stream.encoding == Encoding::zstd ? decoded : stored;
    } else {
      record.digest = hash->digest();
      if (seen_.ended[id]) seen_.open.erase(id);
    }
    return Done{};
  }

  // The ledger keeps sizes in 32 bits; no chunk of ours comes near them.
  Status check_size(const archive::TarHeader& header, const StreamRecord& stream, std::uint64_t original) {
    const bool large = stream.encoding == Encoding::zstd ? header.size_bytes > frame_bound(kChunkBytes)
                                                         : original > kChunkBytes;
    if (large) problems_.add(header.name, "is larger than a chunk");
    if (header.size_bytes > UINT32_MAX) return Error{Errc::limit, header.name + ": larger than 4 GiB"};
    return Done{};
  }

  Result<std::uint32_t> stream_of(const std::string& member, const MemberName& name) {
    if (name.chunk == kWholeStream && looks_numbered(member))
      problems_.add(member, "should have been numbered");
    const auto found = seen_.by_path.find(name.stream);
    if (found != seen_.by_path.end()) return found->second;
    if (seen_.ledger.streams.size() >= kMaxStreams) return Error{Errc::limit, "more than 1,000,000 streams"};
    StreamRecord record;
    record.path = name.stream;
    record.digest = sha256({});
    if (name.stream.ends_with(kZstdSuffix)) record.encoding = Encoding::zstd;
    if (name.stream.ends_with(kJsonlSuffix)) record.encoding = Encoding::jsonl;
    const std::uint32_t id = seen_.ledger.add_stream(std::move(record));
    seen_.by_path.emplace(seen_.ledger.streams[id].path, id);
    seen_.ended.push_back(false);
    readable_.push_back(0);
    return id;
  }

  static Status hash_plain(Content& content, Sha256* hash, std::uint64_t& original) {
    while (true) {
      auto taken = content.take();
      if (!taken) return std::move(taken).error();
      if (taken->empty()) return Done{};
      original += taken->size();
      if (hash != nullptr) hash->update(*taken);
    }
  }

  Status check_frame(const std::string& member, Content& content, Sha256* hash, std::uint64_t& original,
                     Digest& digest) {
    if (!decoder_) {
      auto made = FrameDecoder::create();
      if (!made) return std::move(made).error();
      decoder_.emplace(*std::move(made));
      piece_.resize(128 << 10);
    }
    decoder_->begin();
    Sha256 own;
    while (true) {
      auto taken = content.take();
      if (!taken) return std::move(taken).error();
      if (taken->empty()) break;
      auto rest = *taken;
      for (bool more = true; more;) {
        auto step = decoder_->decode(rest, piece_);
        if (!step) {
          problems_.add(member, step.error().what);
          return content.skip();
        }
        const std::span made{piece_.data(), step->made};
        (hash != nullptr ? *hash : own).update(made);
        original += made.size();
        rest = rest.subspan(step->eaten);
        more = !rest.empty() || made.size() == piece_.size();
      }
    }
    if (auto whole = decoder_->finish(); !whole) problems_.add(member, whole.error().what);
    digest = own.digest();
    return Done{};
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
      if (seen_.find(kCustody) == nullptr) problems_.add(kCustody, "is missing");
      checked = check_sums(content, seen_, problems_);
    } else if (header.name == kManifest) {
      place_ = Place::after_manifest;
      checked = check_manifest(content, seen_, *mtime_seconds_, problems_);
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

  void add_salvage(std::uint32_t id, std::uint64_t original) { readable_[id] += original; }

  void list_salvage() {
    for (std::size_t i = 0; i < seen_.ledger.streams.size(); ++i) {
      const StreamRecord& stream = seen_.ledger.streams[i];
      StreamState state{stream.path, readable_[i], false, {}};
      const bool numbered = stream.first != kNone && seen_.ledger.chunks[stream.first].index != kWholeStream;
      if (!cut_) {
        state.whole = problems_.none();
        if (!state.whole) state.why = "the bundle is wrong";
      } else if (readable_[i] > stream.size_bytes || stream.first == kNone) {
        state.why = "cut inside";
      } else if (numbered && !seen_.ended[i]) {
        state.why = "the end may be missing";
      } else {
        state.whole = true;
      }
      report_.salvage.push_back(std::move(state));
    }
  }

  // Hands on what it reads, hashed once more where the stream has several chunks.
  class Tee final : public ByteSource {
   public:
    Tee(ByteSource& in, Sha256* hash) : in_(in), hash_(hash) {}
    Result<std::size_t> read(std::span<std::byte> into) override {
      auto got = in_.read(into);
      if (!got) return got;
      passed_ += *got;
      if (hash_ != nullptr) hash_->update(into.first(*got));
      return got;
    }
    [[nodiscard]] std::uint64_t passed() const { return passed_; }

   private:
    ByteSource& in_;
    Sha256* hash_;
    std::uint64_t passed_ = 0;
  };

  Input in_;
  const std::optional<Digest>& expected_;
  Task& task_;
  Report report_;
  Problems problems_{report_};
  Seen seen_;
  CustodyChain custody_;
  std::optional<FrameDecoder> decoder_;
  std::vector<std::byte> piece_;
  std::vector<std::uint64_t> readable_;  // original bytes of each stream, those of a cut chunk too
  std::optional<std::int64_t> mtime_seconds_;
  Place place_ = Place::members;
  bool cut_ = false;
};

}  // namespace

Result<Report> verify(ByteSource& file, const std::optional<Digest>& expected, Task& task) {
  return Verifier(file, expected, task).run();
}

}  // namespace ctriage::bundle
