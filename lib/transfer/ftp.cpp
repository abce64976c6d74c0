// ftp://, ftps:// and ftpes:// through libcurl: binary, passive.
#include <curl/curl.h>

#include <algorithm>

#include "lib/core/text.h"
#include "lib/transfer/curl_folder.h"
#include "lib/transfer/folders.h"

namespace ctriage::transfer {
namespace {

constexpr std::uint16_t kExplicitPort = 21;

bool is_implicit(const Url& url) { return url.scheme == Scheme::ftps && url.port != kExplicitPort; }

// Implicit TLS is ftps to libcurl, explicit is ftp with CURLUSESSL_ALL.
std::string base_of(const Url& url) {
  Url as_curl = url;
  as_curl.scheme = is_implicit(url) ? Scheme::ftps : Scheme::ftp;
  return place_of(as_curl);
}

class Ftp final : public CurlFolder {
 public:
  Ftp(std::unique_ptr<CurlSession> session, const Url& url)
      : CurlFolder(std::move(session)), base_(base_of(url)) {}

  Answer<Done> log_in(const Task& task) {
    CurlSession::Request request = request_for("");
    request.no_body = true;
    request.before = {"*FEAT"};
    const Reply reply = perform(request, task);
    if (!is_ok(reply)) return refused(reply, "open");
    std::string features = reply.headers;
    std::ranges::transform(features, features.begin(),
                           [](char c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c); });
    hashes_ = features.find("HASH") != std::string::npos && features.find("SHA-256") != std::string::npos;
    return Done{};
  }

 protected:
  // FTP's last answer is of no account where libcurl is content.
  [[nodiscard]] bool is_ok(const Reply& reply) const override { return reply.code == CURLE_OK; }

  [[nodiscard]] CurlSession::Request request_for(const std::string& name) const override {
    CurlSession::Request request;
    request.url = join_path(base_, name);
    return request;
  }

  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    CurlSession::Request request = request_for(name);
    request.no_body = true;
    const Reply reply = perform(request, task);
    if (reply.code == CURLE_REMOTE_FILE_NOT_FOUND) return std::optional<std::uint64_t>();
    if (!is_ok(reply)) return refused(reply, name);
    if (reply.size_bytes < 0)
      return std::optional<std::uint64_t>();  // SIZE has no answer: there is no such file
    return std::optional<std::uint64_t>(static_cast<std::uint64_t>(reply.size_bytes));
  }

  Answer<Done> rename(const std::string& from, const std::string& to, const Task& task) override {
    CurlSession::Request request = request_for("");
    request.no_body = true;
    request.after = {"RNFR " + from, "RNTO " + to};  // in the folder, where the transfer left us
    return done(request, to + ": rename", task);
  }

  // draft-bryan-ftpext-hash: "213 SHA-256 0-1023 <hex> name".
  Answer<std::optional<Digest>> server_digest(const std::string& name, const Task& task) override {
    if (!hashes_) return std::optional<Digest>();
    CurlSession::Request request = request_for("");
    request.no_body = true;
    request.after = {"*OPTS HASH SHA-256", "*HASH " + name};
    const Reply reply = perform(request, task);
    if (!is_ok(reply)) return refused(reply, name + ": HASH");
    for (const std::string_view line : split(reply.headers, '\n')) {
      if (!line.starts_with("213 ")) continue;
      for (const std::string_view word : split_fields(trim(line))) {
        if (Digest digest{}; parse_digest(word, digest)) return std::optional<Digest>(digest);
      }
    }
    return std::optional<Digest>();
  }

 private:
  std::string base_;
  bool hashes_ = false;
};

}  // namespace

Answer<std::unique_ptr<Destination>> open_ftp(const Url& url, const Options& options, const Task& task) {
  const bool plain = url.scheme == Scheme::ftp;
  const bool implicit = is_implicit(url);
  auto login = find_login(url, options);
  if (!login) return refusal(login.error().code, login.error().what);
  auto session = CurlSession::open(url, options, *std::move(login), [plain, implicit](CURL* handle) {
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, implicit ? "ftps" : "ftp");
    if (!plain) (void)curl_easy_setopt(handle, CURLOPT_USE_SSL, static_cast<long>(CURLUSESSL_ALL));
    (void)curl_easy_setopt(handle, CURLOPT_FTP_FILEMETHOD, static_cast<long>(CURLFTPMETHOD_SINGLECWD));
    (void)curl_easy_setopt(handle, CURLOPT_FTP_SKIP_PASV_IP, 1L);
  });
  if (!session) return refusal(session.error().code, session.error().what);
  auto folder = std::make_unique<Ftp>(*std::move(session), url);
  const auto in = folder->log_in(task);
  if (const auto* no = std::get_if<Refusal>(&in)) return *no;
  return std::unique_ptr<Destination>(std::move(folder));
}

}  // namespace ctriage::transfer
