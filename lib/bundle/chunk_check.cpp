#include "lib/bundle/chunk_check.h"

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

// Hands on what it reads, and tells `pass` of it.
class Tee final : public ByteSource {
 public:
  using Pass = std::function<Status(std::span<const std::byte>)>;
  Tee(ByteSource& in, Pass pass) : in_(in), pass_(std::move(pass)) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    auto got = in_.read(into);
    if (!got) return got;
    passed_ += *got;
    if (auto passed = pass_(into.first(*got)); !passed) return std::move(passed).error();
    return got;
  }
  [[nodiscard]] std::uint64_t passed() const { return passed_; }

 private:
  ByteSource& in_;
  Pass pass_;
  std::uint64_t passed_ = 0;
};

}  // namespace

Status ChunkCheck::check(const archive::TarHeader& header, Content& content, CustodyChain::Here here) {
  const MemberName name = split_member(header.name);
  auto found = stream_of(header.name, name);
  if (!found) return std::move(found).error();
  const std::uint32_t id = *found;
  check_place(header.name, name, id);
  StreamRecord& stream = seen_.ledger.streams[id];
  if (name.chunk != kWholeStream && stream.count == 0 && !seen_.open.contains(id)) {
    if (seen_.open.size() >= kMaxOpenStreams) return Error{Errc::limit, "more than 65,536 streams at a time"};
    seen_.open.try_emplace(id);
  }
  const auto open = seen_.open.find(id);
  Sha256* hash = open == seen_.open.end() ? nullptr : &open->second;

  const Passing passing{name.stream, hash};
  Original original;
  auto read = pass(passing, {});  // one that is empty is one, too
  if (!read) return read;
  if (stream.encoding == Encoding::zstd) {
    read = check_frame(header.name, content, passing, original);
  } else if (name.stream == kCustody) {
    here.sums_digest = seen_.sums.digest();
    Tee tee(content, [&](std::span<const std::byte> bytes) { return pass(passing, bytes); });
    read = custody_.check_chunk(tee, header.size_bytes, here, in_, problems_);
    original.size_bytes = tee.passed();
  } else {
    read = check_plain(content, passing, original);
  }
  seen_.readable_bytes[id] += original.size_bytes;
  if (content.cut()) return Done{};
  if (!read) return read;

  const Digest stored = content.digest();
  if (auto room = check_size(header, stream, original.size_bytes); !room) return room;
  if (stream.encoding != Encoding::jsonl && original.size_bytes < kChunkBytes) seen_.ended[id] = true;
  const auto size = static_cast<std::uint32_t>(header.size_bytes);
  if (auto added = seen_.ledger.add_chunk(id, name.chunk, size, stored); !added) return added;
  seen_.sums.update(sums_line(stored, header.name));
  stream.size_bytes += original.size_bytes;
  if (hash == nullptr) {
    stream.digest = stream.encoding == Encoding::zstd ? original.digest : stored;
  } else {
    stream.digest = hash->digest();
    if (seen_.ended[id]) seen_.open.erase(id);
  }
  return Done{};
}

Status ChunkCheck::pass(const Passing& passing, std::span<const std::byte> original) {
  if (passing.hash != nullptr) passing.hash->update(original);
  return options_.originals ? options_.originals(passing.stream, original) : Status(Done{});
}

Status ChunkCheck::check_plain(Content& content, const Passing& passing, Original& original) {
  while (true) {
    auto taken = content.take();
    if (!taken) return std::move(taken).error();
    if (taken->empty()) return Done{};
    original.size_bytes += taken->size();
    if (auto passed = pass(passing, *taken); !passed) return passed;
  }
}

void ChunkCheck::check_place(const std::string& member, const MemberName& name, std::uint32_t id) {
  const StreamRecord& stream = seen_.ledger.streams[id];
  const bool single = name.chunk == kWholeStream;
  const bool beside_single = stream.first != kNone && seen_.ledger.chunks[stream.first].index == kWholeStream;
  if (single ? stream.count > 0 : beside_single || name.chunk != stream.count) {
    const bool twice = single || beside_single || name.chunk < stream.count;
    problems_.add(member, twice ? "is there twice" : "a chunk before it is missing");
  }
  if (seen_.ended[id]) problems_.add(member, "follows a chunk that was the last");
}

// The ledger keeps sizes in 32 bits; no chunk of ours comes near them.
Status ChunkCheck::check_size(const archive::TarHeader& header, const StreamRecord& stream,
                              std::uint64_t original) {
  const bool large = stream.encoding == Encoding::zstd ? header.size_bytes > frame_bound(kChunkBytes)
                                                       : original > kChunkBytes;
  if (large) problems_.add(header.name, "is larger than a chunk");
  if (header.size_bytes > UINT32_MAX) return Error{Errc::limit, header.name + ": larger than 4 GiB"};
  return Done{};
}

Result<std::uint32_t> ChunkCheck::stream_of(const std::string& member, const MemberName& name) {
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
  seen_.readable_bytes.push_back(0);
  return id;
}

Status ChunkCheck::check_frame(const std::string& member, Content& content, const Passing& passing,
                               Original& original) {
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
      if (passing.hash == nullptr) own.update(made);
      if (auto passed = pass(passing, made); !passed) return passed;
      original.size_bytes += made.size();
      rest = rest.subspan(step->eaten);
      more = !rest.empty() || made.size() == piece_.size();
    }
  }
  if (auto whole = decoder_->finish(); !whole) problems_.add(member, whole.error().what);
  original.digest = own.digest();
  return Done{};
}

}  // namespace ctriage::bundle
