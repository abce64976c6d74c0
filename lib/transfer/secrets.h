#pragma once
// Logins, and where they may come from: never the command line, never an error message.
#include <cstddef>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/transfer/options.h"
#include "lib/transfer/url.h"

namespace ctriage::transfer {

// A text that is overwritten when it goes.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();
  [[nodiscard]] std::string_view view() const { return text_; }
  [[nodiscard]] const char* c_str() const { return text_.c_str(); }
  [[nodiscard]] bool empty() const { return text_.empty(); }

 private:
  void wipe();
  std::string text_;
};

// A regular file that is ours or root's and that nobody else may read: Errc::denied otherwise.
Result<Secret> read_private_file(const std::string& path, std::size_t most);

struct Login {
  std::string user;  // empty: none is known
  Secret password;
};

// By the first that has one: --netrc; CTRIAGE_USER and CTRIAGE_PASSWORD; a file "netrc" in
// $CREDENTIALS_DIRECTORY (systemd.exec(5)), in /run/secrets/ctriage (a Kubernetes secret), in /etc/ctriage;
// ~/.netrc. A user in the URL must be the one there.
Result<Login> find_login(const Url& url, const Options& options);

// What a netrc file has for `host`, netrc(5): machine, default, login, password; macros end the file.
Login login_of(std::string_view netrc, std::string_view host, std::string_view user);

}  // namespace ctriage::transfer
