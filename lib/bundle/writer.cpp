#include "lib/bundle/writer.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

#include "lib/bundle/feed.h"
#include "lib/core/limits.h"
#include "lib/model/json.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMostWorkers = 16;
constexpr std::size_t kEndingPiece = 1 << 20;
constexpr std::size_t kSourceBytes = 4'096;  // stands in the manifest, whose readers have a limit
constexpr std::size_t kSweep = 64;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Priority priority_of(std::string_view path) {
  if (path == kCustody) return Priority::custody;
  const bool closing = path == kGaps || path == "findings.jsonl" || path == kSummary;
  return closing ? Priority::closing : Priority::data;
}

class StreamHandle final : public Stream {
 public:
  explicit StreamHandle(std::shared_ptr<Feed> feed) : feed_(std::move(feed)) {}
  ~StreamHandle() override {
    if (feed_->closed()) return;
    const auto late = feed_->finish(Outcome::partial, "not finished");
    static_cast<void>(late.has_value());  // the manifest has it, and end_phase when it went untold
  }
  StreamHandle(const StreamHandle&) = delete;
  StreamHandle& operator=(const StreamHandle&) = delete;

  Status write(std::span<const std::byte> bytes) override { return feed_->write(bytes); }
  Status write_hashed(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) override {
    return feed_->write(bytes, hash);
  }
  Status finish(Outcome outcome, std::string_view why) override { return feed_->finish(outcome, why); }
  [[nodiscard]] std::uint64_t size_bytes() const override { return feed_->size_bytes(); }

 private:
  std::shared_ptr<Feed> feed_;
};

class BundleWriter final : public Writer {
 public:
  BundleWriter(std::shared_ptr<Shared> shared, const WriterOptions& options)
      : shared_(std::move(shared)), options_(options), part_name_(shared_->pipeline.part().part_name()) {
    custody_ = start(std::string(kCustody), Encoding::jsonl, "ctriage");
  }

  // The first record of custody.jsonl.
  Status begin() {
    std::vector<Detail> details{{"tool", options_.tool}, {"started_at", to_rfc3339(options_.started_at)}};
    std::string recipients;
    for (const AgeRecipient& recipient : options_.recipients)
      recipients += (recipients.empty() ? "" : " ") + recipient.text();
    if (!recipients.empty()) details.emplace_back("encrypted_to", std::move(recipients));
    if (options_.signer) {
      details.emplace_back("signing_key", options_.signer->fingerprint());
      details.emplace_back("signing_public_key", ssh_public_line(options_.signer->public_blob()));
    }
    return record("begin", details);
  }

  Result<std::unique_ptr<Stream>> open(std::string path, Encoding encoding, std::string source) override {
    if (auto good = check(path, encoding); !good) return std::move(good).error();
    return std::unique_ptr<Stream>(std::make_unique<StreamHandle>(start(std::move(path), encoding, source)));
  }

  Status add(std::string path, std::string_view bytes, std::string source) override {
    const Encoding encoding = path.ends_with(kJsonlSuffix) ? Encoding::jsonl : Encoding::plain;
    auto stream = open(std::move(path), encoding, std::move(source));
    if (!stream) return std::move(stream).error();
    if (auto written = (*stream)->write(as_bytes(bytes)); !written) return written;
    return (*stream)->finish(Outcome::collected, "");
  }

  void not_collected(std::string path, std::string source, std::string why) override {
    StreamRecord record;
    record.path = path.substr(0, kSourceBytes);
    record.source = source.substr(0, kSourceBytes);
    record.outcome = Outcome::not_collected;
    record.why = reason_for(record.outcome, why);
    record.closed_at = shared_->now();
    record.digest = sha256({});
    if (record.path.ends_with(kZstdSuffix)) record.encoding = Encoding::zstd;
    if (record.path.ends_with(kJsonlSuffix)) record.encoding = Encoding::jsonl;
    shared_->pipeline.part().expect_ending(ending_bytes(record));
    shared_->pipeline.with_ledger([&](Ledger& ledger) { ledger.add_stream(std::move(record)); });
  }

  Status record(std::string_view action, const std::vector<Detail>& details) override {
    std::string line;
    JsonWriter json(line);
    json.begin_object();
    json.key("seq");
    json.value(records_);
    json.key("at");
    json.value(shared_->now());
    json.key("action");
    json.text(action);
    for (const auto& [key, detail] : details) {
      json.key(key);
      std::visit([&](const auto& value) { json.value(value); }, detail);
    }
    json.key("prev");
    json.text(to_hex(last_record_));
    json.end_object();
    line += '\n';
    if (line.size() > kJsonChunkBytes)
      return Error{Errc::limit, "custody record " + std::string(action) + " is over 1 MiB"};
    if (auto written = custody_->write(as_bytes(line)); !written) return written;
    last_record_ = sha256(as_bytes(line));
    ++records_;
    return Done{};
  }

  Result<Mark> end_phase(std::string_view phase) override {
    Pipeline& pipeline = shared_->pipeline;
    for (const auto& weak : feeds_) {
      if (const auto feed = weak.lock()) feed->flush();
    }
    pipeline.drain();
    if (auto late = pipeline.untold_error(); !late) return std::move(late).error();

    Mark mark{pipeline.part().length(), {}};
    const auto members = pipeline.with_ledger([](const Ledger& ledger) { return ledger.chunks.size(); });
    const auto prefix = pipeline.part().take_digest();
    mark.digest = prefix ? *prefix : pipeline.sums_digest();
    auto noted = record("phase", {{"phase", std::string(phase)},
                                  {"length_bytes", mark.length_bytes},
                                  {"member_count", std::uint64_t{members}},
                                  {prefix ? "sha256" : "sums_sha256", to_hex(mark.digest)}});
    if (!noted) return std::move(noted).error();
    custody_->flush();
    pipeline.drain();
    if (auto late = pipeline.untold_error(); !late) return std::move(late).error();
    if (auto synced = pipeline.part().sync(); !synced) return std::move(synced).error();
    return mark;
  }

  Result<Sealed> seal() override {
    if (shared_->sealed) throw std::logic_error("sealed twice");
    shared_->sealed = true;
    Pipeline& pipeline = shared_->pipeline;
    close_feeds();
    pipeline.drain();
    Sealed sealed;
    if (auto late = pipeline.untold_error(); !late) sealed.late_why = std::move(late).error().what;
    // A custody chain that finds no room is partial in the manifest; the rest is sealed all the same.
    Status whole = record("seal", {});
    const auto closed =
        custody_->finish(whole ? Outcome::collected : Outcome::partial, whole ? "" : whole.error().what);
    pipeline.drain();
    if (whole) whole = closed;
    if (whole) whole = pipeline.error_of(custody_->core());

    if (!whole) sealed.custody_why = whole.error().what;
    if (auto ended = write_ending(sealed); !ended) return std::move(ended).error();
    auto name = pipeline.part().seal();
    if (!name) return std::move(name).error();
    sealed.path = *std::move(name);
    sealed.size_bytes = pipeline.part().stored_bytes();
    return sealed;
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return shared_->pipeline.part().length(); }
  [[nodiscard]] const std::string& part_name() const override { return part_name_; }

 private:
  Status check(const std::string& path, Encoding encoding) {
    if (shared_->sealed) throw std::logic_error("open after seal: " + path);
    if (is_closing_member(path) || path == kCustody) throw std::logic_error("opened twice: " + path);
    if (paths_.contains(path)) return Error{Errc::malformed, path + ": is in the bundle already"};
    if (!is_member_name(path)) return Error{Errc::malformed, "not a name for a bundle: " + path};
    if (path.ends_with(kZstdSuffix) != (encoding == Encoding::zstd) ||
        path.ends_with(kJsonlSuffix) != (encoding == Encoding::jsonl)) {
      return Error{Errc::malformed, path + ": .zst and .jsonl stand for those encodings, and only for them"};
    }
    auto fits = archive::make_tar_header(join_member(path, kMaxMembers - 1), 0, 0);
    if (!fits) return std::move(fits).error();
    return Done{};
  }

  std::shared_ptr<Feed> start(std::string path, Encoding encoding, const std::string& source) {
    paths_.insert(path);
    if (feeds_.size() >= sweep_at_) {
      std::erase_if(feeds_, [](const std::weak_ptr<Feed>& feed) { return feed.expired(); });
      sweep_at_ = 2 * feeds_.size() + kSweep;
    }
    StreamRecord record;
    record.path = path;
    record.source = source.substr(0, kSourceBytes);
    record.why = "not finished";
    record.encoding = encoding;
    record.digest = sha256({});
    auto core = std::make_shared<StreamCore>();
    core->priority = priority_of(path);
    core->path = std::move(path);
    core->encoding = encoding;
    shared_->pipeline.part().expect_ending(ending_bytes(record));
    core->id =
        shared_->pipeline.with_ledger([&](Ledger& ledger) { return ledger.add_stream(std::move(record)); });
    auto feed = std::make_shared<Feed>(shared_, std::move(core));
    feeds_.push_back(feed);
    return feed;
  }

  // What nobody finished; gaps last but for custody, which closes by itself.
  void close_feeds() {
    for (const bool gaps : {false, true}) {
      for (const auto& weak : feeds_) {
        const auto feed = weak.lock();
        if (!feed || feed->closed() || feed == custody_ || (feed->core().path == kGaps) != gaps) continue;
        const auto late = feed->finish(Outcome::partial, "not finished");
        static_cast<void>(late.has_value());
      }
    }
  }

  // One member of the end: the same pieces twice, first for the size.
  using Document = std::function<Status(const Piece&)>;
  // `wide` gets what is written, too.
  Result<Digest> write_member(std::string_view name, const Document& document, Sha512* wide = nullptr) {
    PartFile& part = shared_->pipeline.part();
    std::uint64_t size = 0;
    const auto count = [&](std::string_view text) -> Status {
      size += text.size();
      return Done{};
    };
    if (auto counted = document(count); !counted) return std::move(counted).error();
    auto header = archive::make_tar_header(name, size, shared_->pipeline.mtime_seconds());
    if (!header) return std::move(header).error();

    Sha256 hash;
    std::vector<std::byte> out(header->begin(), header->end());
    const auto pass_on = [&](std::string_view text) -> Status {
      hash.update(text);
      const auto bytes = as_bytes(text);
      if (wide != nullptr) wide->update(bytes);
      out.insert(out.end(), bytes.begin(), bytes.end());
      if (out.size() < kEndingPiece) return Done{};
      auto written = part.append(out, Priority::ending);
      out.clear();
      return written;
    };
    if (auto written = document(pass_on); !written) return std::move(written).error();
    out.resize(out.size() + static_cast<std::size_t>(archive::tar_padding(size)));
    if (auto written = part.append(out, Priority::ending); !written) return std::move(written).error();
    return hash.digest();
  }

  // Whatever becomes of it, the bundle is sealed: what fails here is only said.
  Status write_signature(const Digest512& manifest, Sealed& sealed) {
    if (!options_.signer) return Done{};
    auto signature = options_.signer->sign(manifest);
    if (!signature) {
      sealed.unsigned_why = signature.error().what;
      return Done{};
    }
    auto written = write_member(kManifestSignature, [&](const Piece& piece) { return piece(*signature); });
    if (!written) return std::move(written).error();
    return Done{};
  }

  Status write_ending(Sealed& sealed) {
    const ManifestHead head{options_.tool, options_.started_at, shared_->now()};
    return shared_->pipeline.with_ledger([&](const Ledger& ledger) -> Status {
      auto sums = write_member(kSums, [&](const Piece& piece) { return write_sums(ledger, piece); });
      if (!sums) return std::move(sums).error();
      Sha512 wide;
      auto manifest = write_member(
          kManifest, [&](const Piece& piece) { return write_manifest(ledger, head, piece); }, &wide);
      if (!manifest) return std::move(manifest).error();
      sealed.manifest_digest = *manifest;
      if (auto written = write_signature(wide.digest(), sealed); !written) return written;
      auto digest = write_member(kManifestDigest,
                                 [&](const Piece& piece) { return piece(sums_line(*manifest, kManifest)); });
      if (!digest) return std::move(digest).error();
      const std::array<std::byte, 2 * archive::kTarBlock> end{};
      return shared_->pipeline.part().append(end, Priority::ending);
    });
  }

  std::shared_ptr<Shared> shared_;
  WriterOptions options_;
  std::string part_name_;
  std::unordered_set<std::string> paths_;
  std::vector<std::weak_ptr<Feed>>
      feeds_;  // in the order of opening; those of gone streams are swept now and then
  std::size_t sweep_at_ = kSweep;
  std::shared_ptr<Feed> custody_;
  std::uint64_t records_ = 0;
  Digest last_record_{};  // zeros before the first
};

Result<std::unique_ptr<Writer>> begin_writing(PartFile part, const WriterOptions& options, const Task& task) {
  std::vector<FrameEncoder> encoders;
  for (std::size_t i = 0; i < std::clamp<std::size_t>(options.workers, 1, kMostWorkers); ++i) {
    auto encoder = FrameEncoder::create(options.level);
    if (!encoder) return std::move(encoder).error();
    encoders.push_back(*std::move(encoder));
  }
  part.expect_ending(kEndingBase);
  if (options.signer) part.expect_ending(kMaxSignatureBytes + 2 * archive::kTarBlock);
  auto shared = std::make_shared<Shared>(std::move(part), std::move(encoders), options, task);
  auto writer = std::make_unique<BundleWriter>(std::move(shared), options);
  if (auto begun = writer->begin(); !begun) return std::move(begun).error();
  return std::unique_ptr<Writer>(std::move(writer));
}

}  // namespace

Status Stream::write_line(std::string_view json) {
  if (json.size() > kMaxJsonLineBytes) return Error{Errc::limit, "a line of more than 8 MiB"};
  if (auto written = write(as_bytes(json)); !written) return written;
  return write(as_bytes("\n"));
}

Result<std::unique_ptr<Writer>> Writer::create(const Root& directory, std::string_view name,
                                               const WriterOptions& options, const Task& task) {
  if (!is_member_name(name) || name.find('/') != std::string_view::npos) {
    return Error{Errc::malformed, "not a name for a bundle: " + std::string(name)};
  }
  auto part = PartFile::create(directory, name, options.max_bytes, options.recipients);
  if (!part) return std::move(part).error();
  return begin_writing(*std::move(part), options, task);
}

Result<std::unique_ptr<Writer>> Writer::stream(UniqueFd out, std::string_view name,
                                               const WriterOptions& options, const Task& task) {
  auto part = PartFile::stream(std::move(out), name, options.max_bytes, options.recipients);
  if (!part) return std::move(part).error();
  return begin_writing(*std::move(part), options, task);
}

}  // namespace ctriage::bundle
