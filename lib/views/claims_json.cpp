#include <nlohmann/json.hpp>

#include "lib/core/text.h"
#include "lib/model/json_limits.h"
#include "lib/views/claims.h"

namespace ctriage::views {
namespace {

constexpr JsonLimits kLimits{.bytes = 256 << 10, .depth = 16, .elements = 10'000};
constexpr std::size_t kMaxTold = 64;  // registries, servers

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A URL can have a user and a password in it, RFC 3986 3.2.1: up to the last @, whoever wrote it and however.
std::string without_user(std::string_view url) {
  const auto at = url.rfind('@');
  if (at == url.npos) return std::string(url);
  const auto scheme = url.find("://");
  const std::string kept(scheme < at ? url.substr(0, scheme + 3) : std::string_view());
  return kept + std::string(url.substr(at + 1));
}

}  // namespace

std::optional<Claims> parse_claims(std::string_view json) {
  auto document = parse_limited(json, kLimits);
  if (!document || !document->is_object()) return std::nullopt;
  Claims claims;
  claims.subject = text_of(*document, "sub");
  const auto audience = document->find("aud");
  if (audience != document->end() && audience->is_string()) claims.audience = audience->get<std::string>();
  if (audience != document->end() && audience->is_array()) {
    for (const auto& one : *audience) {
      if (one.is_string()) claims.audience += (claims.audience.empty() ? "" : ", ") + one.get<std::string>();
    }
  }
  const auto expiry = document->find("exp");
  if (expiry != document->end() && expiry->is_number_integer())
    claims.expires_at = Timestamp{expiry->get<std::int64_t>(), 0};
  return claims;
}

std::optional<std::string> parse_registries(std::string_view json) {
  auto document = parse_limited(json, kLimits);
  if (!document || !document->is_object()) return std::nullopt;
  const auto auths = document->find("auths");
  if (auths == document->end() || !auths->is_object()) return std::nullopt;
  std::string told;
  std::size_t count = 0;
  for (const auto& [server, entry] : auths->items()) {
    if (++count > kMaxTold) break;
    told += (told.empty() ? "" : ", ") + without_user(server);
    std::string user = entry.is_object() ? text_of(entry, "username") : std::string();
    if (user.empty() && entry.is_object()) {
      const auto plain = from_base64(text_of(entry, "auth"));
      if (plain && plain->find(':') != plain->npos) user = plain->substr(0, plain->find(':'));
    }
    if (!user.empty()) told += " (" + user + ")";
  }
  return told;
}

std::string find_servers(std::string_view text) {
  std::string told;
  std::size_t count = 0;
  for (const std::string_view line : split(text, '\n')) {
    std::string_view rest = trim(line);
    for (const std::string_view key : {"server:", "\"server\":"}) {
      if (!rest.starts_with(key) || ++count > kMaxTold) continue;
      std::string_view url = trim(rest.substr(key.size()));
      while (!url.empty() && (url.back() == ',' || url.back() == '"')) url.remove_suffix(1);
      if (url.starts_with('"')) url.remove_prefix(1);
      told += (told.empty() ? "" : ", ") + without_user(url);
    }
  }
  return told;
}

bool has_private_key(std::string_view text) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  constexpr std::size_t kMaxLabel = 64;
  for (auto at = text.find(kBegin); at != text.npos; at = text.find(kBegin, at + 1)) {
    const std::string_view label = text.substr(at + kBegin.size(), kMaxLabel);
    const auto end = label.find("-----");
    if (end != label.npos && label.substr(0, end).ends_with("PRIVATE KEY")) return true;
  }
  return false;
}

}  // namespace ctriage::views
