// sftp:// through libcurl and libssh2. Without a known_hosts file or a fingerprint libcurl would take any
// host key: one of the two is always set here.
#include <curl/curl.h>

#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/transfer/curl_folder.h"
#include "lib/transfer/folders.h"

namespace ctriage::transfer {
namespace {

struct Keys {
  std::string known_hosts;
  std::string host_key_sha256;  // base64, as CURLOPT_SSH_HOST_PUBLIC_KEY_SHA256 takes it
  std::string identity;
  std::string user;
  bool insecure = false;
};

Result<Keys> keys_of(const Url& url, const Options& options, const Login& login) {
  Keys keys;
  keys.insecure = options.insecure;
  keys.user = login.user;
  if (keys.user.empty()) return Error{Errc::denied, place_of(url) + ": as whom? sftp://USER@" + url.host};
  if (!options.host_key.empty()) {
    constexpr std::string_view kPrefix = "SHA256:";
    if (!options.host_key.starts_with(kPrefix) || !from_base64(options.host_key.substr(kPrefix.size()) + "="))
      return Error{Errc::malformed, "--host-key: SHA256: and 43 characters, as ssh-keygen -lf shows it"};
    keys.host_key_sha256 = options.host_key.substr(kPrefix.size());
  } else if (!keys.insecure) {
    const auto home = sys::environment("HOME");
    keys.known_hosts =
        !options.known_hosts.empty() ? options.known_hosts : home.value_or("/root") + "/.ssh/known_hosts";
    const std::size_t slash = keys.known_hosts.rfind('/');
    auto directory = Root::open(slash == std::string::npos ? "." : keys.known_hosts.substr(0, slash + 1));
    auto file = directory ? directory->open_in_root(keys.known_hosts.substr(slash + 1))
                          : Result<UniqueFd>(directory.error());
    if (!file)
      return Error{Errc::denied, place_of(url) + ": whose host key is to be trusted? " + file.error().what +
                                     "; give --known-hosts FILE or --host-key SHA256:..."};
  }
  if (!options.identity.empty()) {
    auto key = read_private_file(options.identity, 64 << 10);
    if (!key) return std::move(key).error();
    keys.identity = options.identity;
  }
  return keys;
}

class Sftp final : public CurlFolder {
 public:
  Sftp(std::unique_ptr<CurlSession> session, const Url& url)
      : CurlFolder(std::move(session)), path_(url.path), base_(place_of(url)) {}

  Answer<Done> log_in(const Task& task) {
    CurlSession::Request request = request_for("");
    request.no_body = true;
    const Reply reply = perform(request, task);
    if (is_ok(reply)) return Done{};
    Refusal no = refused(reply, "open");
    if (reply.code == CURLE_LOGIN_DENIED || reply.code == CURLE_PEER_FAILED_VERIFICATION) no.can_pass = false;
    return no;
  }

 protected:
  [[nodiscard]] CurlSession::Request request_for(const std::string& name) const override {
    CurlSession::Request request;
    request.url = join_path(base_, name);
    return request;
  }

  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    CurlSession::Request request = request_for(name);
    request.size_only = true;
    const Reply reply = perform(request, task);
    if (reply.code == CURLE_REMOTE_FILE_NOT_FOUND) return std::optional<std::uint64_t>();
    if (!is_ok(reply)) return refused(reply, name);
    return std::optional<std::uint64_t>(reply.size_bytes < 0 ? 0
                                                             : static_cast<std::uint64_t>(reply.size_bytes));
  }

  Answer<Done> rename(const std::string& from, const std::string& to, const Task& task) override {
    CurlSession::Request request = request_for("");
    request.no_body = true;
    request.before = {"rename " + quoted(from) + " " + quoted(to)};
    return done(request, to + ": rename", task);
  }

 private:
  // As libcurl reads a name in a quote command.
  [[nodiscard]] std::string quoted(const std::string& name) const {
    std::string out = "\"";
    for (const char c : join_path(path_, name)) {
      if (c == '"' || c == '\\' || c == '\'') out += '\\';
      out += c;
    }
    return out + '"';
  }
  std::string path_;
  std::string base_;
};

}  // namespace

Answer<std::unique_ptr<Destination>> open_sftp(const Url& url, const Options& options, const Task& task) {
  auto login = find_login(url, options);
  auto keys = login ? keys_of(url, options, *login) : Result<Keys>(login.error());
  if (!keys) return refusal(keys.error().code, keys.error().what);
  auto session = CurlSession::open(url, options, *std::move(login), [keys = *std::move(keys)](CURL* handle) {
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "sftp");
    (void)curl_easy_setopt(handle, CURLOPT_USERNAME, keys.user.c_str());
    if (!keys.host_key_sha256.empty()) {
      (void)curl_easy_setopt(handle, CURLOPT_SSH_HOST_PUBLIC_KEY_SHA256, keys.host_key_sha256.c_str());
    } else if (!keys.insecure) {
      (void)curl_easy_setopt(handle, CURLOPT_SSH_KNOWNHOSTS, keys.known_hosts.c_str());
    }
    long types = CURLSSH_AUTH_AGENT | CURLSSH_AUTH_PASSWORD | CURLSSH_AUTH_KEYBOARD;
    if (!keys.identity.empty()) {
      types = CURLSSH_AUTH_PUBLICKEY;
      (void)curl_easy_setopt(handle, CURLOPT_SSH_PRIVATE_KEYFILE, keys.identity.c_str());
    }
    (void)curl_easy_setopt(handle, CURLOPT_SSH_AUTH_TYPES, types);
  });
  if (!session) return refusal(session.error().code, session.error().what);
  auto folder = std::make_unique<Sftp>(*std::move(session), url);
  const auto in = folder->log_in(task);
  if (const auto* no = std::get_if<Refusal>(&in)) return *no;
  return std::unique_ptr<Destination>(std::move(folder));
}

}  // namespace ctriage::transfer
