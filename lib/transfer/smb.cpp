// smb://user@host/share/dir by the node's smbclient, one command a process: of several it would go on after
// one that failed. SMB 3 encryption is asked for, signing alone with --allow-plaintext. What it prints of an
// error has an NT_STATUS name, [MS-ERREF] 2.3.1; its exit status alone says too little.
#include <algorithm>
#include <array>
#include <optional>

#include "lib/core/program.h"
#include "lib/core/sys.h"
#include "lib/core/sys_program.h"
#include "lib/core/text.h"
#include "lib/transfer/folders.h"
#include "lib/transfer/programs.h"
#include "lib/transfer/secrets.h"

namespace ctriage::transfer {
namespace {

constexpr std::array<std::string_view, 1> kSmbclient{"/usr/bin/smbclient"};
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

bool is_final(std::string_view error) {
  return says_any(error, {"LOGON_FAILURE", "ACCESS_DENIED", "WRONG_PASSWORD", "BAD_NETWORK_NAME", "DISK_FULL",
                          "QUOTA_EXCEEDED", "NT_STATUS_ACCOUNT", "NT_STATUS_PASSWORD", "NO_SUCH_USER",
                          "NAME_NOT_FOUND", "PATH_NOT_FOUND", "PATH_SYNTAX_BAD", "NOT_SUPPORTED",
                          "MEDIA_WRITE_PROTECTED", "INVALID_PARAMETER", "NO_LOGON_SERVERS", "NOT_A_DIRECTORY",
                          "Unable to initialize", "encryption"});
}

// As smbclient(1) reads a name in a command: in quotes it ends at a quote, and a backslash parts directories.
bool is_plain(std::string_view text) { return text.find_first_of("\"\\;*?<>|") == std::string_view::npos; }

// What is sent, counted, and not faster than it may.
class Paced final : public ByteSource {
 public:
  Paced(ByteSource& from, std::uint64_t rate, const Task& task) : from_(from), rate_(rate), task_(task) {}

  Result<std::size_t> read(std::span<std::byte> into) override {
    while (rate_ > 0 && static_cast<double>(sys::boottime_ns() - began_ns_) <
                            static_cast<double>(bytes_) / static_cast<double>(rate_) * kNsPerSecond) {
      if (auto going = task_.check(); !going) return std::move(going).error();
      sys::sleep_ns(kNsPerSecond / 100);
    }
    auto got = from_.read(into);
    if (!got) return got;
    bytes_ += *got;
    task_.passed(*got);
    return got;
  }

 private:
  ByteSource& from_;
  std::uint64_t rate_;
  const Task& task_;
  std::uint64_t bytes_ = 0;
  std::int64_t began_ns_ = sys::boottime_ns();
};

class Smb final : public Folder {
 public:
  Smb(Program smbclient, const Url& url, const Options& options, UniqueFd login)
      : smbclient_(std::move(smbclient)),
        place_(place_of(url)),
        login_(std::move(login)),
        limit_rate_(options.limit_rate),
        stall_ns_(options.stall_s * kNsPerSecond) {
    const std::size_t slash = std::min(url.path.find('/', 1), url.path.size());
    folder_ = url.path.substr(slash);
    // No smb.conf of the node's is read: it may name programs.
    common_ = {"//" + url.host + url.path.substr(0, slash), "--configfile=/dev/null",
               "--client-protection=" + std::string(options.allow_plaintext ? "sign" : "encrypt"),
               "--timeout=" + std::to_string(options.stall_s), "--stderr"};
    if (url.port != 0) common_.push_back("--port=" + std::to_string(url.port));
    common_.push_back(login_ ? "--authentication-file=/proc/self/fd/" + std::to_string(login_.get())
                             : "--no-pass");
  }

  [[nodiscard]] const std::string& place() const override { return place_; }
  [[nodiscard]] std::vector<ProgramUsed> programs() const override { return {used_of(smbclient_)}; }

  Answer<Done> log_in(const Task& task) {
    const Said said = ask("cd " + quoted(""), nullptr, nullptr, task);
    if (said.refusal) return *said.refusal;
    return Done{};
  }

 protected:
  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    const Said said = ask("allinfo " + quoted(name), nullptr, nullptr, task);
    if (said.error.find("NT_STATUS_OBJECT_NAME_NOT_FOUND") != std::string::npos)
      return std::optional<std::uint64_t>();
    if (said.refusal) return *said.refusal;
    // "stream: [::$DATA], 3145728 bytes"
    constexpr std::string_view kStream = "stream: [::$DATA], ";
    const std::size_t at = said.error.find(kStream);
    if (at == std::string::npos) return not_replaced(place_, name, "what is there is no file");
    const std::string_view rest = std::string_view(said.error).substr(at + kStream.size());
    const auto size = parse_number<std::uint64_t>(rest.substr(0, rest.find(' ')));
    if (!size) return refusal(Errc::malformed, place_ + ": " + name + ": smbclient says no size");
    return std::optional(*size);
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override {
    auto source = item.open();
    if (!source) return refusal(source.error().code, source.error().what);
    Paced paced(**source, limit_rate_, task);
    const Said said = ask("put /dev/stdin " + quoted(name), &paced, nullptr, task);
    if (said.refusal) return *said.refusal;
    return Done{};
  }

  Answer<Done> rename(const std::string& from, const std::string& to, const Task& task) override {
    const Said said = ask("rename " + quoted(from) + " " + quoted(to), nullptr, nullptr, task);
    if (said.error.find("NT_STATUS_OBJECT_NAME_COLLISION") != std::string::npos)
      return not_replaced(place_, to, "somebody put another file there");
    if (said.refusal) return *said.refusal;
    return Done{};
  }

  Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t size_bytes,
                                       const Task& task) override {
    Sha256 hash;
    const Said said = ask("get " + quoted(name) + " -", nullptr, &hash, task, size_bytes);
    if (said.refusal) return *said.refusal;
    return std::optional<Digest>(hash.digest());
  }

 private:
  struct Said {
    std::string error;  // with --stderr it prints all there but the bytes of a file
    std::optional<Refusal> refusal;
  };

  [[nodiscard]] std::string quoted(const std::string& name) const {
    std::string path = name.empty() ? folder_ : join_path(folder_.empty() ? "/" : folder_, name);
    if (path.empty()) path = "/";
    std::ranges::replace(path, '/', '\\');
    return '"' + path + '"';
  }

  Said ask(const std::string& command, ByteSource* feed, Sha256* hash, const Task& task,
           std::uint64_t most_bytes = 0) {
    Program::Call call;
    call.arguments = common_;
    call.arguments.push_back("--command=" + command);
    call.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/nonexistent"};
    call.feed = feed;
    call.handed = login_ ? login_.get() : -1;
    call.stall_ns = 2 * stall_ns_;
    call.output = [hash, most_bytes](std::span<const std::byte> bytes) -> Status {
      if (hash == nullptr) return Done{};
      if (bytes.size() > most_bytes - std::min(most_bytes, hash->size_bytes()))
        return Error{Errc::mismatch, "more bytes come than were sent there"};
      hash->update(bytes);
      return Done{};
    };
    Said said;
    if (login_) {
      if (auto back = sys::lseek(login_.get(), 0, SEEK_SET, "the login"); !back) {
        said.refusal = refusal(back.error().code, back.error().what);
        return said;
      }
    }
    const auto end = smbclient_.run(call, task);
    if (!end) {
      said.refusal = refusal_of(end.error(), place_, task);
      return said;
    }
    said.error = end->error;
    if (end->status != 0 || said.error.find("NT_STATUS_") != std::string::npos) {
      said.refusal = refusal(Errc::io, place_ + ": smbclient: " + reason_of(*end, "putting file"));
      said.refusal->can_pass = !is_final(said.error);
    }
    return said;
  }

  Program smbclient_;
  std::string place_;
  std::string folder_;  // in the share: "" or "/dir"
  UniqueFd login_;
  std::vector<std::string> common_;
  std::uint64_t limit_rate_;
  std::int64_t stall_ns_;
};

// A file without a name that smbclient reads, none for nobody. "DOMAIN\user" has a domain.
Result<UniqueFd> login_file(const Login& login) {
  if (login.user.empty()) return UniqueFd();
  const std::size_t slash = login.user.find('\\');
  std::string text =
      "username = " + (slash == std::string::npos ? login.user : login.user.substr(slash + 1)) + "\n";
  if (slash != std::string::npos) text += "domain = " + login.user.substr(0, slash) + "\n";
  text += "password = " + std::string(login.password.view()) + "\n";
  const Secret whole(std::move(text));
  if (std::ranges::count(whole.view(), '\n') != (slash == std::string::npos ? 2 : 3))
    return Error{Errc::malformed, "a user or a password with a line end"};
  auto file = sys::nameless_file("login");
  if (!file) return file;
  if (auto written = sys::write_all(file->get(), whole.view(), "the login"); !written)
    return std::move(written).error();
  return file;
}

}  // namespace

Answer<std::unique_ptr<Destination>> open_smb(const Url& url, const Options& options, const Task& task) {
  if (!is_plain(url.path) || url.path.size() < 2)
    return refusal(Errc::malformed, place_of(url) + ": smb://HOST/SHARE/DIR, without any of \"\\;*?<>|");
  auto smbclient = Program::find(kSmbclient, task);
  if (!smbclient) return refusal(smbclient.error().code, place_of(url) + ": " + smbclient.error().what);
  auto login = find_login(url, options);
  auto file = login ? login_file(*login) : Result<UniqueFd>(login.error());
  if (!file) return refusal(file.error().code, place_of(url) + ": " + file.error().what);
  auto folder = std::make_unique<Smb>(*std::move(smbclient), url, options, *std::move(file));
  const auto in = folder->log_in(task);
  if (const auto* no = std::get_if<Refusal>(&in)) return *no;
  return std::unique_ptr<Destination>(std::move(folder));
}

}  // namespace ctriage::transfer
