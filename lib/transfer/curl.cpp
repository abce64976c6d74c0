#include "lib/transfer/curl.h"

#include <curl/curl.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <span>

#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::transfer {
namespace {

constexpr long kConnectSeconds = 20;
constexpr std::uint64_t kSlowest = 1024;  // bytes a second
constexpr std::size_t kMaxHeaderBytes = 64 << 10;
constexpr long kSendBuffer = 512 << 10;

// What the callbacks of one request share.
struct Running {
  const Task& task;
  ByteSource* source = nullptr;
  std::uint64_t left = 0;  // of the item
  std::optional<Error> failed;
  Sha256* hash = nullptr;
  bool size_only = false;
  std::uint64_t room = kMaxAnswerBytes;  // of what may still come
  std::string headers;
  std::string body;
};

std::size_t on_read(char* into, std::size_t size, std::size_t count, void* user) {
  auto& running = *static_cast<Running*>(user);
  const std::size_t room = std::min<std::uint64_t>(size * count, running.left);
  if (room == 0) return 0;
  auto got = running.source->read(std::as_writable_bytes(std::span(into, room)));
  if (got && *got == 0)
    got = Error{Errc::truncated, "what is sent ends " + std::to_string(running.left) + " bytes early"};
  if (!got) {
    running.failed = std::move(got).error();
    return CURL_READFUNC_ABORT;
  }
  running.left -= *got;
  running.task.passed(*got);
  return *got;
}

std::size_t on_write(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& running = *static_cast<Running*>(user);
  if (running.size_only) return 0;  // an error that ends it
  if (size * count > running.room) {
    running.failed = Error{Errc::malformed, "the server answers with more than was asked for"};
    return 0;
  }
  running.room -= size * count;
  constexpr std::size_t kMaxBody = 4096;
  running.body.append(bytes, std::min(size * count, kMaxBody - running.body.size()));
  if (running.hash != nullptr) running.hash->update(std::as_bytes(std::span(bytes, size * count)));
  return size * count;
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& running = *static_cast<Running*>(user);
  if (running.headers.size() + size * count <= kMaxHeaderBytes) running.headers.append(bytes, size * count);
  return size * count;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Running*>(user)->task.check() ? 0 : 1;
}

struct Lists {
  std::vector<curl_slist*> owned;
  Lists() = default;
  Lists(const Lists&) = delete;
  Lists& operator=(const Lists&) = delete;
  ~Lists() {
    for (curl_slist* list : owned) curl_slist_free_all(list);
  }
  curl_slist* make(const std::vector<std::string>& texts) {
    curl_slist* list = nullptr;
    for (const std::string& text : texts) list = curl_slist_append(list, text.c_str());
    if (list != nullptr) owned.push_back(list);
    return list;
  }
};

class Session final : public CurlSession {
 public:
  Session(CURL* handle, Login login, const Options& options, std::string place,
          std::function<void(CURL*)> setup)
      : handle_(handle, curl_easy_cleanup),
        login_(std::move(login)),
        options_(options),
        place_(std::move(place)),
        setup_(std::move(setup)) {}

  Reply perform(const Request& request, const Task& task) override;
  [[nodiscard]] const std::string& place() const override { return place_; }

 private:
  void prepare();
  std::unique_ptr<CURL, void (*)(CURL*)> handle_;
  Login login_;
  Options options_;
  std::string place_;
  std::function<void(CURL*)> setup_;
  std::array<char, CURL_ERROR_SIZE> error_{};
};

template <class T>
void set(CURL* handle, CURLoption option, T value) {
  (void)curl_easy_setopt(handle, option, value);
}

// The certificates that a server's may be signed by: those we were given, else libcurl's own place, else, for
// one built without a place because it runs on every distribution, where those keep them.
std::optional<std::string> authorities_file(CURL* handle, const std::string& given) {
  if (!given.empty()) return given;
  const char* built_in = nullptr;
  if (curl_easy_getinfo(handle, CURLINFO_CAINFO, &built_in) == CURLE_OK && built_in != nullptr)
    return std::nullopt;
  for (const char* known :
       {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/certs/ca-certificates", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (sys::openat2(AT_FDCWD, known, O_RDONLY)) return known;
  }
  return std::nullopt;
}

void Session::prepare() {
  CURL* handle = handle_.get();
  curl_easy_reset(handle);  // connections stay
  error_.front() = '\0';
  set(handle, CURLOPT_ERRORBUFFER, error_.data());
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  // Who sends or takes less for as long as the stall lasts is not there: a byte now and then would hold us.
  const std::uint64_t slowest =
      options_.limit_rate > 0 ? std::min(kSlowest, options_.limit_rate / 2 + 1) : kSlowest;
  set(handle, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(slowest));
  set(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_s));
  set(handle, CURLOPT_SERVER_RESPONSE_TIMEOUT, static_cast<long>(options_.stall_s));
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
  set(handle, CURLOPT_BUFFERSIZE, kSendBuffer);
  set(handle, CURLOPT_FOLLOWLOCATION, 0L);
  set(handle, CURLOPT_USERAGENT, "ctriage");
  if (options_.limit_rate > 0)
    set(handle, CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(options_.limit_rate));
  if (!login_.user.empty()) set(handle, CURLOPT_USERNAME, login_.user.c_str());
  if (!login_.password.empty()) set(handle, CURLOPT_PASSWORD, login_.password.c_str());
  if (options_.insecure) {
    set(handle, CURLOPT_SSL_VERIFYPEER, 0L);
    set(handle, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (const auto authorities = authorities_file(handle, options_.ca_file))
    set(handle, CURLOPT_CAINFO, authorities->c_str());
  set(handle, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  setup_(handle);
}

std::int64_t retry_after_ms(CURL* handle) {
  curl_off_t seconds = 0;
  constexpr curl_off_t kMostSeconds = 600;
  if (curl_easy_getinfo(handle, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK) return 0;
  return std::clamp<curl_off_t>(seconds, 0, kMostSeconds) * 1000;
}

Reply Session::perform(const Request& request, const Task& task) {
  prepare();
  CURL* handle = handle_.get();
  Running running{task, nullptr, 0, std::nullopt, request.hash, request.size_only, kMaxAnswerBytes, {}, {}};
  if (request.hash != nullptr) running.room = request.most_bytes;
  if (request.hash == nullptr && request.upload == nullptr)
    set(handle, CURLOPT_TIMEOUT, 4 * static_cast<long>(options_.stall_s));
  Reply reply;
  std::unique_ptr<ByteSource> source;
  Lists lists;
  set(handle, CURLOPT_URL, request.url.c_str());
  set(handle, CURLOPT_WRITEFUNCTION, on_write);
  set(handle, CURLOPT_WRITEDATA, &running);
  set(handle, CURLOPT_HEADERFUNCTION, on_header);
  set(handle, CURLOPT_HEADERDATA, &running);
  set(handle, CURLOPT_NOPROGRESS, 0L);
  set(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
  set(handle, CURLOPT_XFERINFODATA, &running);
  if (curl_slist* list = lists.make(request.before)) set(handle, CURLOPT_QUOTE, list);
  if (curl_slist* list = lists.make(request.after)) set(handle, CURLOPT_POSTQUOTE, list);
  if (curl_slist* list = lists.make(request.headers)) set(handle, CURLOPT_HTTPHEADER, list);
  if (request.no_body) set(handle, CURLOPT_NOBODY, 1L);
  if (request.upload != nullptr) {
    auto opened = request.upload->open();
    if (!opened) {
      reply.code = CURLE_READ_ERROR;
      reply.text = opened.error().what;
      return reply;
    }
    source = *std::move(opened);
    running.source = source.get();
    running.left = request.upload->size_bytes;
    set(handle, CURLOPT_UPLOAD, 1L);
    set(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.upload->size_bytes));
    set(handle, CURLOPT_READFUNCTION, on_read);
    set(handle, CURLOPT_READDATA, &running);
  }
  if (!request.method.empty()) set(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());

  const CURLcode code = curl_easy_perform(handle);
  reply.code = code;
  reply.headers = std::move(running.headers);
  reply.body = std::move(running.body);
  (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &reply.response);
  curl_off_t size = -1;
  if (curl_easy_getinfo(handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size) == CURLE_OK)
    reply.size_bytes = size;
  if (request.size_only && code == CURLE_WRITE_ERROR) reply.code = CURLE_OK;
  reply.wait_ms = retry_after_ms(handle);
  reply.text = error_.front() != '\0' ? error_.data() : curl_easy_strerror(code);
  if (running.failed) reply.text = running.failed->what;
  if (code == CURLE_ABORTED_BY_CALLBACK) {
    if (auto stopped = task.check(); !stopped) reply.text = stopped.error().what;
  }
  // Nothing of ours stays behind in the handle: the list and the item are gone.
  curl_easy_reset(handle);
  return reply;
}

bool can_pass(const Reply& reply) {
  switch (reply.code) {
    case CURLE_OK:
    case CURLE_HTTP_RETURNED_ERROR:
      return reply.response == 408 || reply.response == 425 || reply.response == 429 ||
             (reply.response >= 500 && reply.response != 501 && reply.response != 505 &&
              reply.response != 507);
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_HTTP2:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_AGAIN:
    case CURLE_FTP_ACCEPT_TIMEOUT:
    case CURLE_FTP_CANT_GET_HOST:
    case CURLE_FTP_PORT_FAILED:
    case CURLE_SSH:
    case CURLE_HTTP2_STREAM:
      return true;
    case CURLE_UPLOAD_FAILED:
    case CURLE_QUOTE_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_FTP_WEIRD_PASV_REPLY:
    case CURLE_FTP_WEIRD_227_FORMAT:
      return reply.response == 0 || (reply.response >= 400 && reply.response < 500 && reply.response != 452);
    default:
      return false;
  }
}

Errc errc_of(const Reply& reply) {
  switch (reply.code) {
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_PEER_FAILED_VERIFICATION:
      return Errc::denied;
    case CURLE_REMOTE_DISK_FULL:
      return Errc::full;
    case CURLE_REMOTE_FILE_NOT_FOUND:
      return Errc::not_found;
    case CURLE_OPERATION_TIMEDOUT:
      return Errc::timeout;
    case CURLE_ABORTED_BY_CALLBACK:
      return Errc::stopped;
    default:
      break;
  }
  if (reply.response == 401 || reply.response == 403 || reply.response == 530) return Errc::denied;
  if (reply.response == 404) return Errc::not_found;
  if (reply.response == 507 || reply.response == 552 || reply.response == 452) return Errc::full;
  return Errc::io;
}

}  // namespace

Result<std::unique_ptr<CurlSession>> CurlSession::open(const Url& url, const Options& options, Login login,
                                                       std::function<void(CURL*)> setup) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return Error{Errc::io, "libcurl does not start"};
  CURL* handle = curl_easy_init();
  if (handle == nullptr) return Error{Errc::io, "libcurl does not start"};
  return std::unique_ptr<CurlSession>(
      std::make_unique<Session>(handle, std::move(login), options, place_of(url), std::move(setup)));
}

bool is_done(const Reply& reply) {
  return reply.code == CURLE_OK && (reply.response < 100 || (reply.response >= 200 && reply.response < 300));
}

Refusal refusal_of(const CurlSession& session, const Reply& reply, const std::string& what) {
  Refusal refusal;
  refusal.error.code = errc_of(reply);
  refusal.error.what = session.place() + ": " + what + ": ";
  refusal.error.what +=
      reply.code == CURLE_OK ? "the server answers " + std::to_string(reply.response) : reply.text;
  refusal.can_pass = can_pass(reply);
  refusal.wait_ms = reply.wait_ms;
  return refusal;
}

}  // namespace ctriage::transfer
