#include "lib/redact/copy.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "lib/bundle/manifest_json.h"
#include "lib/bundle/names.h"
#include "lib/core/text.h"
#include "lib/model/gap.h"
#include "lib/model/json.h"
#include "lib/redact/redactor.h"

namespace ctriage::redact {
namespace {

constexpr std::size_t kMaxLine = 1 << 20;        // of a text; longer ones are hidden whole
constexpr std::size_t kMaxRecordLine = 8 << 20;  // FORMAT.md of lib/bundle
constexpr std::size_t kMaxDocument = 8 << 20;
constexpr std::string_view kHeader = "bundle.json";
constexpr std::string_view kAttached = "pod/attach/";  // anybody's bytes, whatever their names end in
constexpr std::string_view kParentCustody = "parent/custody.jsonl";
constexpr std::string_view kWhyLeftOut = "left out of a redacted copy: bytes may hold secrets in any form";

enum class Kind : std::uint8_t { records, document, text, words, bytes };

Kind kind_of(std::string_view path) {
  if (path.starts_with(kAttached)) return Kind::bytes;
  if (path.ends_with(".jsonl")) return Kind::records;
  if (path.ends_with(".json")) return Kind::document;
  if (path.ends_with(".cmdline")) return Kind::words;
  const bool log = path.find("/logs/") != std::string_view::npos || path == "node/kmsg.zst";
  const bool journal = path.find(".journal") != std::string_view::npos;  // a binary form
  const bool compressed = path.find(".gz") != std::string_view::npos;
  const bool text = path.ends_with(".txt") || path.starts_with("node/config/") || (log && !journal);
  if (text && !compressed) return Kind::text;
  return Kind::bytes;
}

// What the manifest plans, in its order.
class Plan final : public bundle::ManifestSink {
 public:
  void head(Timestamp started_at) override { started_at_ = started_at; }
  void stream(const bundle::ManifestStream& stream) override { streams.push_back(stream); }
  void chunk(const bundle::ManifestChunk& /*chunk*/) override {}
  void stream_end() override {}

  std::vector<bundle::ManifestStream> streams;
  Timestamp started_at_;
};

Result<Plan> read_plan(bundle::Reader& parent, Task& task) {
  auto source = parent.open(bundle::kManifest, task);
  if (!source) return std::move(source).error();
  Plan plan;
  if (auto parsed = bundle::parse_manifest(**source, plan); !parsed)
    return std::move(parsed).error().within(bundle::kManifest);
  return plan;
}

// Where the lines of one stream go; nullptr while they are only looked at.
class Lines {
 public:
  Lines(bundle::Reader& parent, Redactor& redactor, Task& task)
      : parent_(parent), redactor_(redactor), task_(task) {}

  Status copy(const std::string& path, Kind kind, bundle::Stream* out) {
    redactor_.begin();
    auto source = parent_.open(path, task_);
    if (!source) return std::move(source).error();
    switch (kind) {
      case Kind::records:
        return records(**source, out);
      case Kind::document:
        return document(**source, path, out);
      case Kind::words:
        return words(**source, out);
      case Kind::text:
        return text(**source, out);
      case Kind::bytes:
        break;
    }
    return Done{};
  }

 private:
  static Status put(bundle::Stream* out, const std::string& text) {
    return out == nullptr ? Status(Done{}) : out->write(std::as_bytes(std::span(text.data(), text.size())));
  }

  Status records(ByteSource& in, bundle::Stream* out) {
    LineReader lines(in, kMaxRecordLine);
    for (std::string_view line;;) {
      const auto more = lines.next(line);
      if (!more) return more.error();
      if (!*more) return Done{};
      auto shown = redactor_.json(line, Redactor::Whose::ours);
      if (!shown) return std::move(shown).error();
      if (out != nullptr) {
        if (auto written = out->write_line(*shown); !written) return written;
      }
    }
  }

  Status document(ByteSource& in, const std::string& path, bundle::Stream* out) {
    auto whole = read_all(in, kMaxDocument);
    if (!whole && whole.error().code == Errc::limit) {
      auto again = parent_.open(path, task_);
      return again ? text(**again, out) : Status(std::move(again).error());
    }
    if (!whole) return std::move(whole).error();
    const bool ours = path == kHeader || path.starts_with("pod/");
    auto shown = redactor_.json(*whole, ours ? Redactor::Whose::ours : Redactor::Whose::others);
    if (shown) return put(out, *shown + "\n");
    MemorySource again(*whole);  // damaged, or with comments: a text
    return text(again, out);
  }

  Status words(ByteSource& in, bundle::Stream* out) {
    auto whole = read_all(in, kMaxDocument);
    if (!whole) return std::move(whole).error();
    std::vector<std::string> all;
    for (const std::string_view word : split(*whole, '\0')) all.emplace_back(word);
    std::string shown;
    for (const std::string& word : redactor_.words(all))
      shown += (shown.empty() ? "" : std::string(1, '\0')) + word;
    return put(out, shown);
  }

  Status text(ByteSource& in, bundle::Stream* out) {
    LineReader lines(in, kMaxLine);
    for (std::string_view line;;) {
      const auto more = lines.next(line);
      if (!more && more.error().code != Errc::limit) return more.error();
      if (more && !*more) return Done{};
      auto put_line = put(out, (more ? redactor_.text(line) : "[redacted: a line of over 1 MiB]") + "\n");
      if (!put_line) return put_line;
    }
  }

  bundle::Reader& parent_;
  Redactor& redactor_;
  Task& task_;
};

// One copy, while it is written.
class Copy {
 public:
  Copy(bundle::Reader& parent, const Digest& digest, bundle::Writer& out, Task& task)
      : parent_(parent), digest_(to_hex(digest)), out_(out), task_(task), lines_(parent, redactor_, task) {}

  Result<Copied> run() {
    auto plan = read_plan(parent_, task_);
    if (!plan) return std::move(plan).error();
    for (const bundle::ManifestStream& stream : plan->streams) {
      if (!copies(stream)) continue;
      if (auto seen = lines_.copy(stream.path, kind_of(stream.path), nullptr); !seen)
        return named(seen, stream.path);
    }
    crowded_ = !redactor_.look_for_known();
    // What says that it is a bundle stands first in it.
    const auto header = std::ranges::find(plan->streams, kHeader, &bundle::ManifestStream::path);
    if (header == plan->streams.end()) return Error{Errc::malformed, std::string(kHeader) + ": is missing"};
    if (auto one = copy_one(*header); !one) return named(one, header->path);
    if (auto begun = begin(); !begun) return std::move(begun).error();
    for (const bundle::ManifestStream& stream : plan->streams) {
      if (stream.path == kHeader) continue;
      auto one = copy_one(stream);
      if (!one) return named(one, stream.path);
    }
    if (auto ended = end(); !ended) return std::move(ended).error();
    auto sealed = out_.seal();
    if (!sealed) return std::move(sealed).error();
    copied_.sealed = *std::move(sealed);
    copied_.values = redactor_.values();
    copied_.hidden = redactor_.hidden();
    return copied_;
  }

 private:
  static Error named(Status& status, const std::string& path) {
    return std::move(status).error().within(path);
  }

  bool copies(const bundle::ManifestStream& stream) const {
    return stream.status != bundle::to_text(bundle::Outcome::not_collected) && parent_.has(stream.path) &&
           kind_of(stream.path) != Kind::bytes;
  }

  Status begin() {
    if (auto noted = out_.record("redact", {{"parent_manifest_sha256", digest_}}); !noted) return noted;
    auto gaps = out_.open(std::string(bundle::kGaps), bundle::Encoding::jsonl, "ctriage");
    if (!gaps) return std::move(gaps).error();
    gaps_ = *std::move(gaps);
    GapRecord note;
    note.impact = Impact::note;
    note.artifact = "redaction";
    note.origin = Bytes("this bundle");
    note.code = Errc::denied;
    note.reason = Bytes(
        "a redacted copy: secrets are hidden, bytes of memory and files left out; the bundle it is made of "
        "has manifest.json SHA-256 " +
        digest_);
    note.at = task_.now();
    if (auto written = gaps_->write_line(to_json(note)); !written || !crowded_) return written;
    note.impact = Impact::degraded;
    note.code = Errc::limit;
    note.reason = Bytes(
        "more secrets than can be looked for everywhere: some are hidden only where their name or form "
        "tells");
    return gaps_->write_line(to_json(note));
  }

  Status copy_one(const bundle::ManifestStream& stream) {
    if (stream.path == bundle::kGaps) return lines_.copy(stream.path, Kind::records, gaps_.get());
    const std::string path = stream.path == bundle::kCustody ? std::string(kParentCustody) : stream.path;
    const std::string source = "redacted " + stream.path;
    if (!copies(stream)) {
      const bool was_there = parent_.has(stream.path);
      if (was_there) left_out_.push_back(stream.path);
      out_.not_collected(path, source, was_there ? std::string(kWhyLeftOut) : redactor_.text(stream.why));
      return Done{};
    }
    const Kind kind = kind_of(stream.path);
    const bool zstd = path.ends_with(bundle::kZstdSuffix);
    auto opened = out_.open(path,
                            kind == Kind::records ? bundle::Encoding::jsonl
                            : zstd                ? bundle::Encoding::zstd
                                                  : bundle::Encoding::plain,
                            source);
    if (!opened) return std::move(opened).error();
    if (path == bundle::kSummary) {
      const std::string line =
          "REDACTED COPY of the bundle whose manifest.json has SHA-256 " + digest_ + "\n";
      if (auto put = (*opened)->write(std::as_bytes(std::span(line.data(), line.size()))); !put) return put;
    }
    if (auto done = lines_.copy(stream.path, kind, opened->get()); !done) return done;
    const auto outcome = bundle::parse_outcome(stream.status).value_or(bundle::Outcome::partial);
    return (*opened)->finish(outcome,
                             outcome == bundle::Outcome::collected ? "" : redactor_.text(stream.why));
  }

  Status end() {
    copied_.left_out = left_out_.size();
    std::string text;
    JsonWriter writer(text);
    writer.begin_object();
    writer.member_value("schema", std::string("ctriage.redaction/1"));
    writer.member_value("parent_manifest_sha256", digest_);
    writer.member_value("values", redactor_.values());
    writer.member_value("places", redactor_.hidden());
    writer.member_value("left_out", left_out_);
    writer.end_object();
    if (auto added = out_.add("redaction.json", text + "\n", "ctriage"); !added) return added;
    return gaps_->finish(bundle::Outcome::collected, "");
  }

  bundle::Reader& parent_;
  std::string digest_;
  bundle::Writer& out_;
  Task& task_;
  Redactor redactor_;
  Lines lines_;
  std::unique_ptr<bundle::Stream> gaps_;
  std::vector<std::string> left_out_;
  bool crowded_ = false;
  Copied copied_;
};

}  // namespace

Result<Timestamp> started_at(bundle::Reader& parent, Task& task) {
  auto plan = read_plan(parent, task);
  if (!plan) return std::move(plan).error();
  return plan->started_at_;
}

Result<Copied> copy_redacted(bundle::Reader& parent, const Digest& digest, bundle::Writer& out, Task& task) {
  return Copy(parent, digest, out, task).run();
}

}  // namespace ctriage::redact
