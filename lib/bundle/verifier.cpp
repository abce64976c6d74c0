#include "lib/bundle/verifier.h"

#include <algorithm>
#include <cstring>

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxSumsLine = 64 + 2 + kMaxMemberName;
constexpr std::size_t kMaxNotWhole = 100;

class ManifestCheck final : public ManifestSink {
 public:
  ManifestCheck(const Seen& seen, std::int64_t mtime_seconds, Problems& problems,
                std::vector<StreamState>& not_whole)
      : seen_(seen),
        mtime_seconds_(mtime_seconds),
        problems_(problems),
        not_whole_(not_whole),
        visited_(seen.ledger.streams.size()) {}

  void head(Timestamp started_at) override {
    if (started_at.seconds != mtime_seconds_)
      problems_.add(kManifest, "started_at is not the time of the members");
  }

  void stream(const ManifestStream& stream) override {
    name_ = stream.path.substr(0, kMaxMemberName);
    at_ = kNone;
    listed_ = 0;
    status_ = stream.status;
    if (stream.path == kCustody) has_custody_ = true;
    const bool told = name_.ends_with(kJsonlSuffix) || name_ == kSummary;
    if (status_ == "partial" && told && not_whole_.size() < kMaxNotWhole)
      not_whole_.push_back({name_, stream.size_bytes, false, stream.why});
    if (!parse_outcome(status_)) {
      problems_.add(name_, "the manifest gives it the status " + status_.substr(0, 40));
    }
    if ((status_ == "collected") != stream.why.empty())
      problems_.add(name_, "status and why do not agree in the manifest");
    // Planned and not taken: the path may well be that of another one that was.
    record_ = status_ == "not_collected" ? nullptr : seen_.find(stream.path);
    if (record_ == nullptr) {
      if (stream.size_bytes != 0) problems_.add(name_, "is in the manifest and not in the file");
      return;
    }
    const std::uint32_t id = seen_.by_path.at(record_->path);
    if (visited_[id]) problems_.add(name_, "is in the manifest twice");
    visited_[id] = true;
    at_ = record_->first;
    if (stream.size_bytes != record_->size_bytes)
      problems_.add(name_, "has another size than the manifest says");
    if (stream.digest != record_->digest) problems_.add(name_, "content differs from the manifest");
  }

  void chunk(const ManifestChunk& chunk) override {
    ++listed_;
    if (at_ == kNone) {
      problems_.add(chunk.name, "is in the manifest and not in the file");
      return;
    }
    const ChunkRecord& seen = seen_.ledger.chunks[at_];
    at_ = seen.next;
    const std::string name = seen_.ledger.member(seen);
    if (chunk.name != name)
      problems_.add(name, "the manifest has " + chunk.name.substr(0, kMaxMemberName) + " here");
    if (chunk.size_bytes != seen.size) problems_.add(name, "has another size than the manifest says");
    if (chunk.digest != seen.digest) problems_.add(name, "content differs from the manifest");
  }

  void stream_end() override {
    for (; at_ != kNone; at_ = seen_.ledger.chunks[at_].next) {
      problems_.add(seen_.ledger.member(seen_.ledger.chunks[at_]), "is not in the manifest");
    }
    if (status_ == "collected" && listed_ == 0)
      problems_.add(name_, "is collected in the manifest and not in the file");
  }

  void finish() {
    if (!has_custody_) problems_.add(kCustody, "is missing");
    for (std::size_t i = 0; i < visited_.size(); ++i) {
      if (!visited_[i]) problems_.add(seen_.ledger.streams[i].path, "is not in the manifest");
    }
  }

 private:
  const Seen& seen_;
  const std::int64_t mtime_seconds_;
  Problems& problems_;
  std::vector<StreamState>& not_whole_;
  std::vector<bool> visited_;
  const StreamRecord* record_ = nullptr;
  std::string name_;
  std::string status_;
  bool has_custody_ = false;
  std::uint32_t at_ = kNone;
  std::uint64_t listed_ = 0;
};

}  // namespace

Result<std::span<const std::byte>> Input::take(std::uint64_t most) {
  if (at_ == size_ && most > 0) {
    auto got = source_.read(buffer_);
    if (!got) return std::move(got).error();
    at_ = 0;
    size_ = *got;
  }
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(most, size_ - at_));
  const std::span<const std::byte> taken{buffer_.data() + at_, count};
  at_ += count;
  offset_ += count;
  if (hash_) hash_->update(taken);
  return taken;
}

std::optional<Digest> Input::digest() const {
  if (!hash_) return std::nullopt;
  return hash_->digest();
}

Result<std::span<const std::byte>> Content::take() {
  if (left_ == 0) return std::span<const std::byte>{};
  auto taken = in_.take(left_);
  if (!taken) return taken;
  if (taken->empty()) {
    cut_ = true;
    return Error{Errc::truncated, "the file ends inside a member"};
  }
  hash_.update(*taken);
  left_ -= taken->size();
  return taken;
}

Result<std::size_t> Content::read(std::span<std::byte> into) {
  if (left_ == 0 || into.empty()) return std::size_t{0};
  auto taken = in_.take(std::min<std::uint64_t>(left_, into.size()));
  if (!taken) return std::move(taken).error();
  if (taken->empty()) {
    cut_ = true;
    return Error{Errc::truncated, "the file ends inside a member"};
  }
  hash_.update(*taken);
  left_ -= taken->size();
  std::memcpy(into.data(), taken->data(), taken->size());
  return taken->size();
}

Status Content::skip() {
  while (left_ > 0) {
    if (auto taken = take(); !taken) return std::move(taken).error();
  }
  return Done{};
}

void Problems::add(std::string_view member, std::string_view what) {
  ++report_.problem_count;
  if (report_.problems.size() >= kMaxProblems) return;
  report_.problems.push_back(std::string(member.substr(0, kMaxMemberName)).append(": ").append(what));
}

const StreamRecord* Seen::find(std::string_view path) const {
  const auto found = by_path.find(path);
  return found == by_path.end() ? nullptr : &ledger.streams[found->second];
}

bool Seen::has_member(std::string_view name) const {
  const MemberName parts = split_member(name);
  const StreamRecord* stream = find(parts.stream);
  if (stream == nullptr || stream->first == kNone) return false;
  if (parts.chunk == kWholeStream) return ledger.chunks[stream->first].index == kWholeStream;
  return ledger.chunks[stream->first].index != kWholeStream && parts.chunk < stream->count;
}

Status check_sums(ByteSource& in, const Seen& seen, Problems& problems) {
  LineReader lines(in, kMaxSumsLine);
  std::size_t next = 0;
  const auto& chunks = seen.ledger.chunks;
  std::string_view line;
  while (true) {
    auto more = lines.next(line);
    if (!more && more.error().code == Errc::limit) {
      problems.add(kSums, "a line is too long");
      continue;
    }
    if (!more) return std::move(more).error();
    if (!*more) break;
    const std::string expected =
        next < chunks.size() ? sums_line(chunks[next].digest, seen.ledger.member(chunks[next])) : "";
    if (std::string(line) + "\n" == expected) {
      ++next;
      continue;
    }
    const std::string_view name = line.size() > 66 ? line.substr(66) : std::string_view{};
    if (next < chunks.size() && name == seen.ledger.member(chunks[next])) {
      problems.add(name, "content differs from SHA256SUMS");
      ++next;
    } else if (!is_member_name(name)) {
      problems.add(kSums, "a line that is none of sha256sum");
      ++next;  // it stands for one
    } else if (!seen.has_member(name)) {
      problems.add(name, "is in SHA256SUMS and not in the file");
    } else {
      problems.add(name, "is in SHA256SUMS at another place than in the file");
      ++next;
    }
  }
  for (; next < chunks.size(); ++next) problems.add(seen.ledger.member(chunks[next]), "is not in SHA256SUMS");
  return Done{};
}

Status check_manifest(ByteSource& in, const Seen& seen, std::int64_t mtime_seconds, Problems& problems,
                      std::vector<StreamState>& not_whole) {
  ManifestCheck check(seen, mtime_seconds, problems, not_whole);
  if (auto parsed = parse_manifest(in, check); !parsed) return parsed;
  check.finish();
  return Done{};
}

Status CustodyChain::check_chunk(ByteSource& in, std::uint64_t size_bytes, const Here& here, Input& input,
                                 Problems& problems) {
  LineReader lines(in, kJsonChunkBytes);
  std::string_view line;
  for (bool first = true;; first = false) {
    auto more = lines.next(line);
    if (!more && more.error().code == Errc::limit) {
      problems.add(kCustody, "a record is over 1 MiB");
      continue;
    }
    if (!more) return std::move(more).error();
    if (!*more) return Done{};
    if (lines.offset() + line.size() >= size_bytes) problems.add(kCustody, "the last record has no line end");
    const std::string at = "record " + std::to_string(records_);
    auto record = parse_custody(line);
    if (!record) {
      problems.add(kCustody, at + ": " + record.error().what);
    } else {
      if (record->seq != records_)
        problems.add(kCustody, at + " has the number " + std::to_string(record->seq));
      if (record->previous != last_) problems.add(kCustody, at + " does not follow the one before it");
      if ((record->action == "begin") != (records_ == 0))
        problems.add(kCustody, at + (records_ == 0 ? " does not say begin" : " says begin again"));
      if (records_ == 0) signing_key_ = record->signing_key;
      if (record->action == "phase") check_mark(*record, first, here, problems);
    }
    if (marked_) input.stop_hashing();
    Sha256 hash;
    hash.update(line);
    hash.update("\n");
    last_ = hash.digest();
    ++records_;
  }
}

void CustodyChain::check_mark(const CustodyRecord& record, bool first, const Here& here, Problems& problems) {
  const std::string at = "the mark of phase " + record.phase.substr(0, 80);
  bool good = first && record.length_bytes == here.length_bytes && record.member_count == here.members;
  if (!good) problems.add(kCustody, at + " is not where it says");
  if (record.prefix_digest.has_value() == marked_) {
    problems.add(kCustody, at + " has the digest of another kind of phase");
    good = false;
  } else if (record.prefix_digest ? record.prefix_digest != here.prefix_digest
                                  : record.sums_digest != here.sums_digest) {
    problems.add(kCustody, at + ": what was written before it differs");
    good = false;
  }
  marked_ = true;
  if (good) last_phase_ = record.phase;
}

}  // namespace ctriage::bundle
