// https:// : PUT as NAME.part and MOVE where the server is WebDAV (RFC 4918), else PUT alone, which servers
// make visible when it is whole. A signed URL of one object takes the bundle and nothing beside it.
#include <curl/curl.h>

#include "lib/core/text.h"
#include "lib/transfer/curl_folder.h"
#include "lib/transfer/folders.h"

namespace ctriage::transfer {
namespace {

constexpr std::string_view kAzure = ".blob.core.windows.net";

class Https final : public CurlFolder {
 public:
  Https(std::unique_ptr<CurlSession> session, const Url& url)
      : CurlFolder(std::move(session)), url_(url), base_(place_of(url)), moves_(url.query.empty()) {}

 protected:
  [[nodiscard]] bool renames() const override { return moves_; }

  [[nodiscard]] CurlSession::Request request_for(const std::string& name) const override {
    CurlSession::Request request;
    request.url = url_of(name);
    return request;
  }

  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    if (url_.one_object) return sent_;  // a signature is for one method
    CurlSession::Request request = request_for(name);
    request.no_body = true;
    const Reply reply = perform(request, task);
    if (reply.code == CURLE_OK && reply.response == 404) return std::optional<std::uint64_t>();
    if (!is_ok(reply)) return refused(reply, name);
    if (reply.size_bytes < 0)
      return refusal(Errc::unsupported, base_ + ": " + name + ": the server says no size");
    return std::optional<std::uint64_t>(static_cast<std::uint64_t>(reply.size_bytes));
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override {
    CurlSession::Request request = request_for(name);
    request.upload = &item;
    request.headers = {"Content-Type: application/octet-stream"};
    if (url_.host.ends_with(kAzure)) request.headers.emplace_back("x-ms-blob-type: BlockBlob");
    if (!moves_) request.headers.emplace_back("If-None-Match: *");
    auto sent = done(request, name, task);
    if (url_.one_object && std::holds_alternative<Done>(sent)) sent_ = item.size_bytes;
    return sent;
  }

  Answer<Done> rename(const std::string& from, const std::string& to, const Task& task) override {
    CurlSession::Request request = request_for(from);
    request.method = "MOVE";
    request.headers = {"Destination: " + url_of(to), "Overwrite: F"};
    const Reply reply = perform(request, task);
    if (is_ok(reply)) return Done{};
    if (reply.code == CURLE_OK && (reply.response == 405 || reply.response == 501 || reply.response == 400)) {
      moves_ = false;  // from the next attempt on
      remove(from, task);
      Refusal again = refusal(Errc::unsupported, base_ + ": the server does not know MOVE");
      again.can_pass = true;
      return again;
    }
    return refused(reply, to + ": MOVE");
  }

  Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t size_bytes,
                                       const Task& task) override {
    if (url_.one_object)
      return refusal(Errc::unsupported, base_ + ": a URL that is signed for PUT cannot be read");
    return CurlFolder::reread(name, size_bytes, task);
  }

 private:
  [[nodiscard]] std::string url_of(const std::string& name) const {
    const std::string path = url_.one_object ? base_ : join_path(base_, encode_path(name));
    return url_.query.empty() ? path : path + "?" + url_.query;
  }
  void remove(const std::string& name, const Task& task) {
    CurlSession::Request request = request_for(name);
    request.method = "DELETE";
    (void)perform(request, task);
  }
  Url url_;
  std::string base_;
  bool moves_;
  std::optional<std::uint64_t> sent_;
};

}  // namespace

Answer<std::unique_ptr<Destination>> open_https(const Url& url, const Options& options,
                                                const Task& /*task*/) {
  auto login = find_login(url, options);
  if (!login) return refusal(login.error().code, login.error().what);
  auto session = CurlSession::open(url, options, *std::move(login), [](CURL* handle) {
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(handle, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
  });
  if (!session) return refusal(session.error().code, session.error().what);
  return std::unique_ptr<Destination>(std::make_unique<Https>(*std::move(session), url));
}

}  // namespace ctriage::transfer
