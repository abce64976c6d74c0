#include "lib/transfer/secrets.h"

#include <openssl/crypto.h>

#include <optional>
#include <utility>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxNetrcBytes = 64 << 10;

// Words between white space; one in double quotes may have some, with a backslash before what is meant as it
// is.
std::optional<std::string> next_word(std::string_view text, std::size_t& at) {
  at = text.find_first_not_of(" \t\r\n", at);
  if (at == std::string_view::npos) return std::nullopt;
  std::string word;
  if (text[at] != '"') {
    const std::size_t end = std::min(text.find_first_of(" \t\r\n", at), text.size());
    word = text.substr(at, end - at);
    at = end;
    return word;
  }
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    word += text[at];
  }
  ++at;
  return word;
}

}  // namespace

Secret::Secret(Secret&& other) noexcept : text_(other.text_) { other.wipe(); }

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe();
    text_ = other.text_;
    other.wipe();
  }
  return *this;
}

Secret::~Secret() { wipe(); }

void Secret::wipe() {
  OPENSSL_cleanse(text_.data(), text_.size());
  text_.clear();
}

Result<Secret> read_private_file(const std::string& path, std::size_t most) {
  const std::size_t slash = path.rfind('/');
  auto directory = Root::open(slash == std::string::npos ? "." : path.substr(0, slash + 1));
  if (!directory) return std::move(directory).error();
  auto file = directory->open_in_root(path.substr(slash + 1));
  if (!file) return std::move(file).error();
  auto info = file_info(file->get(), path);
  if (!info) return std::move(info).error();
  if ((info->mode & 077U) != 0)
    return Error{Errc::denied, path + ": others may read it, and it holds a secret: chmod 600"};
  if (info->uid != sys::geteuid() && info->uid != 0)
    return Error{Errc::denied, path + ": it belongs to somebody else"};
  if (info->size_bytes > most) return Error{Errc::limit, path + ": larger than such a file is"};
  std::string text(most + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    auto got = sys::read(file->get(), std::as_writable_bytes(std::span(text)).subspan(size), path);
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    size += *got;
  }
  Secret whole(std::move(text));
  return Secret(std::string(whole.view().substr(0, std::min(size, most))));
}

Login login_of(std::string_view netrc, std::string_view host, std::string_view user) {
  Login login;
  std::size_t at = 0;
  bool ours = false;
  bool is_default = false;
  const auto fits = [&] { return ours && !login.user.empty() && (user.empty() || login.user == user); };
  while (const auto word = next_word(netrc, at)) {
    if (*word == "machine" || *word == "default") {
      if (fits()) return login;
      if (is_default) break;
      login = Login();
      is_default = *word == "default";
      const auto name = is_default ? std::optional<std::string>(host) : next_word(netrc, at);
      ours = name && *name == host;
    } else if (*word == "macdef") {
      break;
    } else if (*word == "login" || *word == "password" || *word == "account") {
      auto value = next_word(netrc, at);
      if (!value) break;
      if (*word == "login") login.user = *std::move(value);
      if (*word == "password") login.password = Secret(*std::move(value));
    }
  }
  return fits() ? std::move(login) : Login();
}

Result<Login> find_login(const Url& url, const Options& options) {
  const auto from = [&](const std::string& path) -> Result<Login> {
    auto netrc = read_private_file(path, kMaxNetrcBytes);
    if (!netrc) return std::move(netrc).error();
    return login_of(netrc->view(), url.host, url.user);
  };
  if (!options.netrc.empty()) {
    auto login = from(options.netrc);
    if (login && login->user.empty() && url.user.empty())
      return Error{Errc::not_found, options.netrc + ": has no login for " + url.host};
    if (login && login->user.empty()) return Login{url.user, Secret()};  // it may log in by a key
    return login;
  }
  if (const auto password = sys::environment("CTRIAGE_PASSWORD")) {
    const auto user = sys::environment("CTRIAGE_USER");
    return Login{url.user.empty() ? user.value_or("") : url.user, Secret(*password)};
  }
  std::vector<std::string> places;
  if (const auto directory = sys::environment("CREDENTIALS_DIRECTORY"))
    places.push_back(*directory + "/netrc");
  places.emplace_back("/run/secrets/ctriage/netrc");
  places.emplace_back("/etc/ctriage/netrc");
  if (const auto home = sys::environment("HOME")) places.push_back(*home + "/.netrc");
  for (const std::string& place : places) {
    auto login = from(place);
    if (!login && !login.error().is_gone()) return std::move(login).error();
    if (login && !login->user.empty()) return login;
  }
  return Login{url.user, Secret()};
}

}  // namespace ctriage::transfer
