#include "lib/bundle/ledger.h"

#include "lib/core/limits.h"
#include "lib/model/json.h"

namespace ctriage::bundle {
namespace {

// The fixed text and the widest numbers of one entry of each, counted generously.
constexpr std::uint64_t kChunkEntry = 64 + 3 + 64 + 64;
constexpr std::uint64_t kStreamEntry = 320;
constexpr std::size_t kPieceBytes = 64 << 10;

void write_stream_head(JsonWriter& json, const StreamRecord& stream) {
  const auto member = [&](std::string_view key, std::string_view text) {
    json.key(key);
    json.text(text);
  };
  member("path", stream.path);
  member("source", stream.source);
  member("encoding", to_text(stream.encoding));
  json.key("size_bytes");
  json.value(stream.size_bytes);
  member("sha256", to_hex(stream.digest));
  member("status", to_text(stream.outcome));
  if (!stream.why.empty()) member("why", stream.why);
  json.key("closed_at");
  json.value(stream.closed_at);
}

std::uint64_t escaped_bytes(std::string_view text) {
  std::string literal;
  append_json_string(literal, text);
  return literal.size();
}

}  // namespace

std::uint32_t Ledger::add_stream(StreamRecord stream) {
  streams.push_back(std::move(stream));
  return static_cast<std::uint32_t>(streams.size() - 1);
}

Status Ledger::add_chunk(std::uint32_t stream, std::uint32_t index, std::uint32_t size,
                         const Digest& digest) {
  if (chunks.size() >= kMaxMembers) return Error{Errc::limit, "a bundle holds at most 4,000,000 members"};
  const auto id = static_cast<std::uint32_t>(chunks.size());
  chunks.push_back({digest, stream, index, kNone, size});
  StreamRecord& owner = streams[stream];
  if (owner.last == kNone) {
    owner.first = id;
  } else {
    chunks[owner.last].next = id;
  }
  owner.last = id;
  ++owner.count;
  return Done{};
}

std::string Ledger::member(const ChunkRecord& chunk) const {
  return join_member(streams[chunk.stream].path, chunk.index);
}

std::string_view to_text(Encoding encoding) {
  switch (encoding) {
    case Encoding::plain:
      return "plain";
    case Encoding::zstd:
      return "zstd";
    case Encoding::jsonl:
      return "jsonl";
  }
  return "?";
}

std::string sums_line(const Digest& digest, std::string_view name) {
  return to_hex(digest).append("  ").append(name).append("\n");
}

Status write_sums(const Ledger& ledger, const Piece& piece) {
  std::string text;
  for (const ChunkRecord& chunk : ledger.chunks) {
    text += sums_line(chunk.digest, ledger.member(chunk));
    if (text.size() < kPieceBytes) continue;
    if (auto passed = piece(text); !passed) return passed;
    text.clear();
  }
  return piece(text);
}

Status write_manifest(const Ledger& ledger, const ManifestHead& head, const Piece& piece) {
  std::string text;
  {
    JsonWriter json(text);
    json.begin_object();
    json.key("schema");
    json.text("ctriage.manifest/1");
    json.key("tool");
    json.text(head.tool);
    json.key("started_at");
    json.value(head.started_at);
    json.key("sealed_at");
    json.value(head.sealed_at);
    json.key("streams");
    json.begin_array();
    json.end_array();
    json.end_object();
  }
  text.resize(text.size() - 2);  // "]}" comes behind the streams
  text += '\n';
  for (std::size_t i = 0; i < ledger.streams.size(); ++i) {
    const StreamRecord& stream = ledger.streams[i];
    std::string head_text;
    JsonWriter json(head_text);
    json.begin_object();
    write_stream_head(json, stream);
    json.key("chunks");
    json.begin_array();
    text += head_text;
    for (std::uint32_t at = stream.first; at != kNone; at = ledger.chunks[at].next) {
      const ChunkRecord& chunk = ledger.chunks[at];
      std::string entry;
      JsonWriter item(entry);
      item.begin_object();
      item.key("name");
      item.text(ledger.member(chunk));
      item.key("size_bytes");
      item.value(chunk.size);
      item.key("sha256");
      item.text(to_hex(chunk.digest));
      item.end_object();
      text += at == stream.first ? "" : ",";
      text += entry;
      if (text.size() < kPieceBytes) continue;
      if (auto passed = piece(text); !passed) return passed;
      text.clear();
    }
    text += i + 1 < ledger.streams.size() ? "]},\n" : "]}\n";
  }
  text += "]}\n";
  return piece(text);
}

std::uint64_t ending_bytes(std::string_view member_name) { return kChunkEntry + 2 * member_name.size(); }

std::uint64_t ending_bytes(const StreamRecord& stream) {
  return kStreamEntry + escaped_bytes(stream.path) + escaped_bytes(stream.source) + escaped_bytes(stream.why);
}

}  // namespace ctriage::bundle
