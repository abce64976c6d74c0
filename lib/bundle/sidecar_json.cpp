#include <nlohmann/json.hpp>

#include "lib/bundle/sidecar.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/model/json_limits.h"

namespace ctriage::bundle {
namespace {

using nlohmann::json;

constexpr std::string_view kSchema = "ctriage.custody/1";
constexpr std::string_view kOwnDigest = ",\"sha256\":\"";
constexpr std::size_t kTailBytes = kOwnDigest.size() + 64 + 2;

Error malformed(const char* what) { return Error{Errc::malformed, what}; }

bool take(const json& object, const char* key, std::string& into) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  into = found->get_ref<const std::string&>();
  return true;
}

bool take(const json& object, const char* key, Digest& into) {
  std::string hex;
  return take(object, key, hex) && parse_digest(hex, into);
}

bool take(const json& object, const char* key, std::uint64_t& into) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  into = found->get<std::uint64_t>();
  return true;
}

}  // namespace

std::string hand_line(const Hand& hand) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.member_value("schema", std::string(kSchema));
  json.member_value("seq", hand.seq);
  json.member_value("at", hand.at);
  json.member_value("by", hand.by);
  json.member_value("action", hand.action);
  if (!hand.note.empty()) json.member_value("note", hand.note);
  if (hand.attached) {
    json.key("attached");
    json.begin_object();
    json.member_value("name", hand.attached->name);
    json.member_value("size_bytes", hand.attached->size_bytes);
    json.member_value("sha256", to_hex(hand.attached->digest));
    json.end_object();
  }
  if (!hand.of.empty()) json.member_value("of", hand.of);
  json.member_value("prev", to_hex(hand.previous));
  json.end_object();
  const std::string own = sha256_hex(out);
  out.pop_back();
  return out.append(kOwnDigest).append(own).append("\"}\n");
}

Result<Hand> parse_hand(std::string_view line) {
  if (line.size() <= kTailBytes) return malformed("too short");
  const std::string_view tail = line.substr(line.size() - kTailBytes);
  if (!tail.starts_with(kOwnDigest) || !tail.ends_with("\"}"))
    return malformed("does not end with its SHA-256");
  const std::string body = std::string(line.substr(0, line.size() - kTailBytes)) + "}";
  if (sha256_hex(body) != tail.substr(kOwnDigest.size(), 64))
    return Error{Errc::mismatch, "is not as it was written"};
  auto document = parse_limited(body, {.bytes = kMaxHandLine, .depth = 4, .elements = 1'000});
  if (!document) return std::move(document).error();
  if (!document->is_object()) return malformed("not an object");
  Hand hand;
  std::string schema;
  if (!take(*document, "schema", schema) || !schema.starts_with("ctriage.custody/"))
    return malformed("not a custody record");
  if (!take(*document, "seq", hand.seq) || !take(*document, "at", hand.at) ||
      !take(*document, "by", hand.by) || !take(*document, "action", hand.action) ||
      !take(*document, "prev", hand.previous))
    return malformed("lacks seq, at, by, action or prev");
  (void)take(*document, "note", hand.note);
  (void)take(*document, "of", hand.of);
  if (const auto found = document->find("attached"); found != document->end()) {
    Attached attached;
    if (!found->is_object() || !take(*found, "name", attached.name) ||
        !take(*found, "size_bytes", attached.size_bytes) || !take(*found, "sha256", attached.digest))
      return malformed("attached lacks name, size_bytes or sha256");
    hand.attached = std::move(attached);
  }
  return hand;
}

}  // namespace ctriage::bundle
