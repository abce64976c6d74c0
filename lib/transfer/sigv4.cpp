#include "lib/transfer/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/transfer/url.h"

namespace ctriage::transfer {
namespace {

using Key = std::array<unsigned char, 32>;

Key hmac(std::string_view key, std::string_view text) {
  Key out{};
  unsigned size = out.size();
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &size);
  return out;
}

std::string_view view(const Key& key) { return {reinterpret_cast<const char*>(key.data()), key.size()}; }

std::string hash_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return to_hex(hash.digest());
}

// All but unreserved characters; "/" too.
std::string encode(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '/' ? "%2F" : encode_path(std::string_view(&c, 1));
  return out;
}

// 20261123T070000Z.
std::string compact_time(Timestamp at) {
  std::string text = to_rfc3339(at).substr(0, 19) + "Z";
  std::erase(text, '-');
  std::erase(text, ':');
  return text;
}

}  // namespace

std::string canonical_query(const std::map<std::string, std::string>& query) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : query) parts.push_back(encode(name) + "=" + encode(value));
  std::ranges::sort(parts);
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "&") + part;
  return out;
}

std::vector<std::string> sign(const AwsRequest& request, const AwsKeys& keys, std::string_view service) {
  const std::string time = compact_time(request.at);
  const std::string day = time.substr(0, 8);
  std::map<std::string, std::string> headers = request.headers;
  headers["host"] = request.host;
  headers["x-amz-date"] = time;
  if (service == "s3") headers["x-amz-content-sha256"] = to_hex(request.payload);
  if (!keys.session_token.empty()) headers["x-amz-security-token"] = keys.session_token.view();

  std::string listed;
  std::string names;
  for (const auto& [name, value] : headers) {
    listed += name + ":" + std::string(trim(value)) + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string canonical = request.method + "\n" + request.path + "\n" + canonical_query(request.query) +
                                "\n" + listed + "\n" + names + "\n" + to_hex(request.payload);
  const std::string scope = day + "/" + keys.region + "/" + std::string(service) + "/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + hash_hex(canonical);

  const Secret first("AWS4" + std::string(keys.secret_key.view()));
  Key key = hmac(first.view(), day);
  key = hmac(view(key), keys.region);
  key = hmac(view(key), service);
  key = hmac(view(key), "aws4_request");
  key = hmac(view(key), to_sign);
  Digest signature{};
  std::ranges::transform(key, signature.begin(), [](unsigned char byte) { return std::byte{byte}; });

  std::vector<std::string> out;
  for (const auto& [name, value] : headers) {
    if (name != "host") out.push_back(name + ": " + value);
  }
  out.push_back("authorization: AWS4-HMAC-SHA256 Credential=" + keys.access_key + "/" + scope +
                ", SignedHeaders=" + names + ", Signature=" + to_hex(signature));
  return out;
}

}  // namespace ctriage::transfer
