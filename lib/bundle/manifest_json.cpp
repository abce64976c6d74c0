// manifest.json by SAX in constant memory: what it lists is told as it comes. Grammar: FORMAT.md, "The end".
#include "lib/bundle/manifest_json.h"

#include <array>
#include <iterator>
#include <nlohmann/json.hpp>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/model/json_limits.h"

namespace ctriage::bundle {
namespace {

using nlohmann::json;

constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::size_t kDepth = 8;

Error malformed(std::string what) { return Error{Errc::malformed, std::move(what)}; }

// The characters of a source for nlohmann's parser. It ends early when one token grows without bound.
struct Feed {
  explicit Feed(ByteSource& source) : in(source) { fill(); }

  void fill() {
    auto got = in.read(buffer);
    at = 0;
    size = got ? *got : 0;
    if (!got) error = std::move(got).error();
    since_event += size;
    if (since_event > kMaxManifestText && !error) {
      error = Error{Errc::limit, "one value is over 128 KiB"};
      size = 0;
    }
  }
  void next() {
    if (++at >= size) fill();
  }
  [[nodiscard]] bool ended() const { return size == 0; }

  ByteSource& in;
  std::array<std::byte, kReadBytes> buffer{};
  std::size_t at = 0;
  std::size_t size = 0;
  std::size_t since_event = 0;
  std::optional<Error> error;
};

class FeedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  FeedIterator() = default;
  explicit FeedIterator(Feed* feed) : feed_(feed) {}
  char operator*() const { return static_cast<char>(feed_->buffer[feed_->at]); }
  FeedIterator& operator++() {
    feed_->next();
    return *this;
  }
  void operator++(int) { feed_->next(); }
  bool operator==(const FeedIterator& other) const { return ended() == other.ended(); }
  bool operator!=(const FeedIterator& other) const { return !(*this == other); }

 private:
  [[nodiscard]] bool ended() const { return feed_ == nullptr || feed_->ended(); }
  Feed* feed_ = nullptr;
};

class ManifestSax final : public nlohmann::json_sax<json> {
 public:
  ManifestSax(Feed& feed, ManifestSink& sink) : feed_(feed), sink_(sink) {}
  std::optional<Error> error;

  bool null() override { return event(); }
  bool boolean(bool) override { return event(); }
  bool number_integer(number_integer_t) override { return event(); }
  bool number_float(number_float_t, const string_t&) override { return event(); }
  bool binary(binary_t&) override { return event(); }
  bool number_unsigned(number_unsigned_t value) override {
    if (skipped_ > 0) return event();
    if (where_ == Where::stream && key_ == "size_bytes") {
      stream_.size_bytes = value;
      has_size_ = true;
    }
    if (where_ == Where::chunk && key_ == "size_bytes") {
      chunk_.size_bytes = value;
      has_size_ = true;
    }
    return event();
  }
  bool string(string_t& value) override {
    if (skipped_ > 0) return event();
    if (where_ == Where::top) return top_text(value) && event();
    const bool stream = where_ == Where::stream;
    if ((stream || where_ == Where::chunk) && key_ == "sha256")
      return digest(value, stream ? stream_.digest : chunk_.digest) && event();
    std::string* into = nullptr;
    if (stream) {
      if (key_ == "path") into = &stream_.path;
      if (key_ == "status") into = &stream_.status;
      if (key_ == "why") into = &stream_.why;
    } else if (where_ == Where::chunk && key_ == "name") {
      into = &chunk_.name;
    }
    if (into != nullptr) *into = std::move(value);
    return event();
  }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return event();
  }
  bool start_object(std::size_t) override {
    if (!enter()) return false;
    if (skipped_ > 0 || where_ == Where::top || where_ == Where::stream || where_ == Where::chunk) {
      ++skipped_;  // a member that we do not know
    } else if (where_ == Where::nothing && !top_seen_) {
      where_ = Where::top;
      top_seen_ = true;
    } else if (where_ == Where::streams) {
      where_ = Where::stream;
      stream_ = {};
      told_ = has_size_ = has_digest_ = false;
    } else if (where_ == Where::chunks) {
      where_ = Where::chunk;
      chunk_ = {};
      has_size_ = has_digest_ = false;
    } else {
      return fail("not a manifest");
    }
    key_.clear();
    return event();
  }
  bool end_object() override {
    --depth_;
    key_.clear();
    if (skipped_ > 0) {
      --skipped_;
    } else if (where_ == Where::chunk) {
      if (chunk_.name.empty() || !has_size_ || !has_digest_)
        return fail("a chunk without name, size_bytes or sha256");
      sink_.chunk(chunk_);
      where_ = Where::chunks;
    } else if (where_ == Where::stream) {
      if (!told_) return fail("the stream " + stream_.path.substr(0, 255) + " has no chunks");
      sink_.stream_end();
      where_ = Where::streams;
    } else if (where_ == Where::top) {
      where_ = Where::nothing;
    }
    return event();
  }
  bool start_array(std::size_t) override {
    if (!enter()) return false;
    if (skipped_ == 0 && where_ == Where::top && key_ == "streams" && !streams_seen_) {
      if (!schema_seen_ || !started_seen_) return fail("not ctriage.manifest/1");
      where_ = Where::streams;
      streams_seen_ = true;
    } else if (skipped_ == 0 && where_ == Where::stream && key_ == "chunks" && !told_) {
      if (stream_.path.empty() || stream_.status.empty() || !has_size_ || !has_digest_) {
        return fail("a stream without path, status, size_bytes or sha256 before its chunks");
      }
      told_ = true;
      sink_.stream(stream_);
      where_ = Where::chunks;
    } else {
      ++skipped_;
    }
    return event();
  }
  bool end_array() override {
    --depth_;
    if (skipped_ > 0) {
      --skipped_;
    } else if (where_ == Where::chunks) {
      where_ = Where::stream;
    } else if (where_ == Where::streams) {
      where_ = Where::top;
    }
    key_.clear();
    return event();
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("not JSON at byte " + std::to_string(position));
  }
  [[nodiscard]] bool whole() const { return streams_seen_; }

 private:
  enum class Where : std::uint8_t { nothing, top, streams, stream, chunks, chunk };

  bool event() {
    feed_.since_event = 0;
    return true;
  }
  bool enter() { return ++depth_ <= kDepth || fail("nested too deep"); }
  bool fail(std::string what) {
    if (!error) error = malformed(std::move(what));
    return false;
  }
  bool digest(const std::string& hex, Digest& into) {
    has_digest_ = true;
    return parse_digest(hex, into) || fail("not a SHA-256: " + hex.substr(0, 64));
  }
  bool top_text(const std::string& value) {
    if (key_ == "schema") {
      schema_seen_ = true;
      if (value != "ctriage.manifest/1") return fail("not ctriage.manifest/1 but " + value.substr(0, 64));
    }
    if (key_ == "started_at") {
      Timestamp at;
      if (!parse_rfc3339(value, at)) return fail("started_at is not a time");
      started_seen_ = true;
      sink_.head(at);
    }
    return true;
  }

  Feed& feed_;
  ManifestSink& sink_;
  Where where_ = Where::nothing;
  std::string key_;
  ManifestStream stream_;
  ManifestChunk chunk_;
  std::size_t depth_ = 0;
  std::size_t skipped_ = 0;
  bool top_seen_ = false;
  bool schema_seen_ = false;
  bool started_seen_ = false;
  bool streams_seen_ = false;
  bool told_ = false;
  bool has_size_ = false;
  bool has_digest_ = false;
};

bool read_text(const json& object, const char* key, std::string& into) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  into = found->get_ref<const std::string&>();
  return true;
}

bool read_digest(const json& object, const char* key, Digest& into) {
  std::string hex;
  return read_text(object, key, hex) && parse_digest(hex, into);
}

bool read_number(const json& object, const char* key, std::uint64_t& into) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  into = found->get<std::uint64_t>();
  return true;
}

}  // namespace

Status parse_manifest(ByteSource& in, ManifestSink& sink) {
  auto feed = std::make_unique<Feed>(in);
  ManifestSax sax(*feed, sink);
  const bool parsed = json::sax_parse(FeedIterator(feed.get()), FeedIterator(), &sax);
  if (feed->error) return *std::move(feed->error);
  if (sax.error) return *std::move(sax.error);
  if (!parsed || !sax.whole()) return malformed("not a manifest");
  return Done{};
}

Result<CustodyRecord> parse_custody(std::string_view line) {
  auto document = parse_limited(line, {.bytes = kJsonChunkBytes, .depth = 4, .elements = 100'000});
  if (!document) return std::move(document).error();
  CustodyRecord record;
  if (!document->is_object() || !read_number(*document, "seq", record.seq)) return malformed("no seq");
  if (!read_text(*document, "action", record.action)) return malformed("no action");
  if (!read_digest(*document, "prev", record.previous)) return malformed("no prev");
  if (record.action == "begin") (void)read_text(*document, "signing_key", record.signing_key);
  if (record.action != "phase") return record;
  Digest digest{};
  if (read_digest(*document, "sha256", digest)) record.prefix_digest = digest;
  if (read_digest(*document, "sums_sha256", digest)) record.sums_digest = digest;
  if (!read_text(*document, "phase", record.phase) ||
      !read_number(*document, "length_bytes", record.length_bytes) ||
      !read_number(*document, "member_count", record.member_count) ||
      record.prefix_digest.has_value() == record.sums_digest.has_value()) {
    return malformed("not a mark");
  }
  return record;
}

}  // namespace ctriage::bundle
