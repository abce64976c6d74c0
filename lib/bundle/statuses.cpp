#include "lib/bundle/statuses.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kEntryBytes = 160;  // of a map's node, on top of its text

}  // namespace

class Statuses::Sink final : public ManifestSink {
 public:
  Sink(const StreamIndex& index, std::size_t most_text, Statuses& into)
      : index_(index), most_text_(most_text), into_(into) {}

  void head(Timestamp) override {}
  void chunk(const ManifestChunk&) override {}
  void stream_end() override {}
  void stream(const ManifestStream& stream) override {
    const auto outcome = parse_outcome(stream.status);
    if (!outcome || error_) {
      if (!error_) error_ = Error{Errc::malformed, "the status " + stream.status.substr(0, 40)};
      return;
    }
    const auto number = index_.number_of(stream.path);
    // Planned and not taken: another one of the path may have been.
    if (number && *outcome == Outcome::not_collected) return;
    if (number) into_.listed_[*number] = true;
    if (*outcome == Outcome::collected) return;
    kept_ += stream.path.size() + stream.why.size() + kEntryBytes;
    if (kept_ > most_text_) {
      error_ = Error{Errc::limit, "too many streams that are not whole"};
      return;
    }
    into_.odd_.insert_or_assign(stream.path, StreamStatus{*outcome, stream.why});
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  const StreamIndex& index_;
  const std::size_t most_text_;
  Statuses& into_;
  std::size_t kept_ = 0;
  std::optional<Error> error_;
};

Result<Statuses> Statuses::read(ByteSource& manifest, const StreamIndex& index, std::size_t most_text) {
  Statuses statuses;
  statuses.listed_.resize(index.names().size());
  Sink sink(index, most_text, statuses);
  if (auto parsed = parse_manifest(manifest, sink); !parsed) return std::move(parsed).error();
  if (sink.error()) return *sink.error();
  return statuses;
}

std::optional<StreamStatus> Statuses::find(std::string_view stream, const StreamIndex& index) const {
  if (const auto odd = odd_.find(stream); odd != odd_.end()) return odd->second;
  const auto number = index.number_of(stream);
  if (!number || !listed_[*number]) return std::nullopt;
  return StreamStatus{};
}

std::string_view to_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::collected:
      return "collected";
    case Outcome::partial:
      return "partial";
    case Outcome::not_collected:
      return "not_collected";
  }
  return "?";
}

std::optional<Outcome> parse_outcome(std::string_view text) {
  for (const Outcome outcome : {Outcome::collected, Outcome::partial, Outcome::not_collected}) {
    if (text == to_text(outcome)) return outcome;
  }
  return std::nullopt;
}

}  // namespace ctriage::bundle
