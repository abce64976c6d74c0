// rsync+ssh://user@host/dir and rsync://user@host/module/dir, by the node's rsync and ssh. rsync writes
// beside, renames when all is there and its own checksum agrees, and goes on inside a file that was cut: what
// it had lies in .ctriage-part meanwhile. It has no SHA-256 and reads nothing back to a pipe, so `size` is
// what can be proved; whether a file is the same it compares by its own checksums.
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

constexpr std::array<std::string_view, 2> kRsync{"/usr/bin/rsync", "/bin/rsync"};
constexpr std::array<std::string_view, 2> kSsh{"/usr/bin/ssh", "/bin/ssh"};
constexpr std::uint64_t kMaxCopyBytes = 32 << 20;  // of what has no file of its own
constexpr std::size_t kMaxOutput = 64 << 10;

// rsync(1), "EXIT VALUES"; ssh(1): 255.
bool is_final(const Program::End& end) {
  constexpr int kUsage = 1;
  constexpr int kNoSuchCommand = 127;
  if (end.status == kUsage || end.status == kNoSuchCommand) return true;
  return says_any(
      end.error,
      {"Permission denied", "Host key verification failed", "auth failed", "Unknown module", "No space left",
       "quota exceeded", "No such file or directory", "read only", "Read-only file system",
       "command not found", "not found", "host key is known", "REMOTE HOST IDENTIFICATION HAS CHANGED"});
}

// The remote shell, or an older rsync there, would read more into other characters.
bool is_plain(std::string_view text) {
  return text.find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._~%@+=,:-") ==
         std::string_view::npos;
}

bool is_plain_user(std::string_view user) {
  return is_plain(user) && !user.starts_with('-') && user.find_first_of("/%@+=,:~") == std::string_view::npos;
}

// The one argument of -e, which rsync cuts at white space.
Result<std::string> ssh_command(const Url& url, const Options& options, const std::string& ssh) {
  std::vector<std::string> words{ssh,
                                 "-F",
                                 "none",
                                 "-x",
                                 "-a",
                                 "-T",
                                 "-oBatchMode=yes",
                                 "-oLogLevel=ERROR",
                                 "-oConnectTimeout=20",
                                 "-oServerAliveCountMax=3"};
  words.push_back("-oServerAliveInterval=" + std::to_string(std::max<std::int64_t>(options.stall_s / 3, 1)));
  if (options.insecure) {
    words.insert(words.end(), {"-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"});
  } else {
    words.emplace_back("-oStrictHostKeyChecking=yes");
    if (!options.known_hosts.empty())
      words.insert(words.end(),
                   {"-oUserKnownHostsFile=" + options.known_hosts, "-oGlobalKnownHostsFile=/dev/null"});
  }
  if (!options.identity.empty()) words.insert(words.end(), {"-oIdentitiesOnly=yes", "-i", options.identity});
  if (url.port != 0) words.insert(words.end(), {"-p", std::to_string(url.port)});
  std::string command;
  for (const std::string& word : words) {
    if (!is_plain(word))
      return Error{Errc::unsupported,
                   word + ": rsync and ssh would read a blank or a quote in that name otherwise"};
    command += (command.empty() ? "" : " ") + word;
  }
  return command;
}

class Rsync final : public Folder {
 public:
  Rsync(Program rsync, std::vector<ProgramUsed> used, const Url& url, const Options& options)
      : rsync_(std::move(rsync)), used_(std::move(used)), place_(place_of(url)) {
    const std::string host = url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
    const std::string user = url.user.empty() ? "" : url.user + "@";
    remote_ =
        url.scheme == Scheme::rsync
            ? "rsync://" + user + host + (url.port == 0 ? "" : ":" + std::to_string(url.port)) + url.path
            : user + host + ":" + url.path;
    stall_ns_ = 2 * options.stall_s * kNsPerSecond;
    common_ = {"--timeout=" + std::to_string(options.stall_s), "--no-human-readable", "--no-motd"};
    if (url.scheme == Scheme::rsync) common_.emplace_back("--contimeout=20");
    if (options.limit_rate > 0)
      common_.push_back("--bwlimit=" + std::to_string(std::max<std::uint64_t>(options.limit_rate / 1024, 1)));
    environment_ = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  }

  void add_option(std::string option) { common_.push_back(std::move(option)); }
  void add_environment(std::string variable) { environment_.push_back(std::move(variable)); }

  [[nodiscard]] const std::string& place() const override { return place_; }
  [[nodiscard]] std::vector<ProgramUsed> programs() const override { return used_; }

  // The folder is there, and takes us.
  Answer<Done> log_in(const Task& task) {
    const Said said = ask({"--list-only"}, -1, remote_, task);
    if (said.refusal) return *said.refusal;
    if (!said.output.starts_with('d')) return refusal(Errc::malformed, place_ + ": is not a directory");
    return Done{};
  }

 protected:
  [[nodiscard]] bool renames() const override { return false; }

  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    const Said said = ask({"--list-only"}, -1, join_path(remote_, name), task);
    constexpr std::string_view kGone = "No such file or directory (2)";
    if (said.refusal && said.error.find(kGone) != std::string::npos &&
        said.error.find(name) != std::string::npos)
      return std::optional<std::uint64_t>();
    if (said.refusal) return *said.refusal;
    // "-rw-r--r--      5,242 2026/11/23 13:23:17 NAME"
    const std::string_view line = trim(said.output);
    const std::size_t space = line.find(' ');
    if (!line.starts_with('-') || space == std::string_view::npos)
      return not_replaced(place_, name, "what is there is no file");
    const std::string_view rest = trim(line.substr(space));
    std::string digits;
    for (const char c : rest.substr(0, rest.find(' '))) {
      if (c != ',') digits += c;
    }
    const auto size = parse_number<std::uint64_t>(digits);
    if (!size) return refusal(Errc::malformed, place_ + ": " + name + ": rsync says no size");
    return std::optional(*size);
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override {
    auto file = file_of(item);
    if (!file) return refusal(file.error().code, file.error().what);
    const Said said =
        ask({"--copy-links", "--ignore-times", "--ignore-existing", "--partial-dir=.ctriage-part",
             "--chmod=F600", "--itemize-changes", "--info=progress2"},
            file->get(), join_path(remote_, name), task);
    if (said.refusal) return *said.refusal;
    if (said.output.find("<f") == std::string::npos)
      return not_replaced(place_, name, "somebody put another file there");
    return Done{};
  }

  Answer<Done> rename(const std::string& /*from*/, const std::string& to, const Task& /*task*/) override {
    return refusal(Errc::unsupported, place_ + ": " + to + ": rsync renames by itself");
  }

  Answer<std::optional<Digest>> reread(const std::string& /*name*/, std::uint64_t /*size_bytes*/,
                                       const Task& /*task*/) override {
    return std::optional<Digest>();
  }

  Answer<bool> is_same(const std::string& name, const Item& item, const Task& task) override {
    auto file = file_of(item);
    if (!file) return refusal(file.error().code, file.error().what);
    const Said said = ask({"--copy-links", "--dry-run", "--checksum", "--itemize-changes"}, file->get(),
                          join_path(remote_, name), task);
    if (said.refusal) return *said.refusal;
    // "<fc.T......": c stands for other bytes; nothing or "<f..t......" for the same.
    const std::size_t line = said.output.find("<f");
    return line == std::string::npos || said.output.substr(line + 2, 1) == ".";
  }

 private:
  struct Said {
    std::string output;
    std::string error;
    std::optional<Refusal> refusal;
  };

  // `input`: the file that is sent, or compared; -1: only asked is what is there.
  Said ask(const std::vector<std::string>& options, int input, const std::string& remote, const Task& task) {
    Said said;
    std::uint64_t counted_bytes = 0;
    Program::Call call;
    call.arguments = common_;
    call.arguments.insert(call.arguments.end(), options.begin(), options.end());
    call.arguments.emplace_back("--");
    if (input >= 0) call.arguments.emplace_back("/proc/self/fd/0");
    call.arguments.push_back(remote);
    call.environment = environment_;
    call.input = input;
    call.stall_ns = stall_ns_;
    call.output = [&](std::span<const std::byte> bytes) -> Status {
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      said.output.append(text.substr(0, kMaxOutput - std::min(kMaxOutput, said.output.size())));
      // "      1234567  12%  ...": how much has gone, each after a carriage return.
      const std::size_t from = text.rfind('\r');
      const std::string_view line =
          from == std::string_view::npos ? std::string_view() : trim(text.substr(from + 1));
      const auto gone = parse_number<std::uint64_t>(line.substr(0, line.find(' ')));
      if (gone && *gone > counted_bytes) {
        task.passed(*gone - counted_bytes);
        counted_bytes = *gone;
      }
      return Done{};
    };
    const auto end = rsync_.run(call, task);
    if (!end) {
      said.refusal = refusal_of(end.error(), place_, task);
    } else if (end->status != 0) {
      said.error = end->error;
      said.refusal = refusal(Errc::io, place_ + ": rsync: " + reason_of(*end, "rsync error:"));
      said.refusal->can_pass = !is_final(*end);
    }
    return said;
  }

  // rsync sends files.
  Result<UniqueFd> file_of(const Item& item) {
    if (item.file) return item.file();
    if (item.size_bytes > kMaxCopyBytes)
      return Error{Errc::limit, item.name + ": rsync wants a file, and this is a part of one of " +
                                    std::to_string(item.size_bytes) +
                                    " bytes: export the bundle in one file"};
    auto file = sys::nameless_file(item.name);
    if (!file) return file;
    auto source = item.open();
    if (!source) return std::move(source).error();
    std::vector<std::byte> block(1 << 20);
    for (std::uint64_t offset = 0;;) {
      const auto got = (*source)->read(block);
      if (!got) return got.error();
      if (*got == 0) return file;
      if (auto put = sys::pwrite_all(file->get(), std::span(block).first(*got), offset, item.name); !put)
        return std::move(put).error();
      offset += *got;
    }
  }

  static constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  Program rsync_;
  std::vector<ProgramUsed> used_;
  std::string place_;
  std::string remote_;
  std::vector<std::string> common_;
  std::vector<std::string> environment_;
  std::int64_t stall_ns_ = 0;
};

Result<std::unique_ptr<Rsync>> make(Url url, const Options& options, const Task& task) {
  if (!is_plain(url.path) || !is_plain_user(url.user))
    return Error{
        Errc::unsupported,
        place_of(url) +
            ": for rsync a path has letters, digits and /._~%@+=,:- alone, a user letters, digits and ._-"};
  auto rsync = Program::find(kRsync, task);
  if (!rsync) return std::move(rsync).error().within(place_of(url));
  std::vector<ProgramUsed> used{used_of(*rsync)};
  std::optional<std::string> shell;
  if (url.scheme == Scheme::rsync_ssh) {
    if (!options.host_key.empty())
      return Error{Errc::unsupported, place_of(url) + ": ssh takes no --host-key: --known-hosts FILE"};
    auto ssh = Program::find(kSsh, task);
    if (!ssh) return std::move(ssh).error().within(place_of(url));
    used.push_back(used_of(*ssh));
    auto command = ssh_command(url, options, ssh->path());
    if (!command) return std::move(command).error().within(place_of(url));
    shell = *std::move(command);
  }
  auto login = shell ? Result<Login>(Login{url.user, Secret()}) : find_login(url, options);
  if (!login) return std::move(login).error();
  url.user = login->user;
  if (!is_plain_user(url.user))
    return Error{Errc::unsupported, place_of(url) + ": rsync takes no such user name"};
  auto made = std::make_unique<Rsync>(*std::move(rsync), std::move(used), url, options);
  if (shell) {
    made->add_option("--rsh=" + *shell);
    for (const char* name : {"HOME", "SSH_AUTH_SOCK"}) {
      if (const auto value = sys::environment(name)) made->add_environment(std::string(name) + "=" + *value);
    }
  } else if (!login->password.empty()) {
    made->add_environment("RSYNC_PASSWORD=" + std::string(login->password.view()));
  }
  return made;
}

}  // namespace

Answer<std::unique_ptr<Destination>> open_rsync(const Url& url, const Options& options, const Task& task) {
  auto made = make(url, options, task);
  if (!made) return refusal(made.error().code, made.error().what);
  const auto in = (*made)->log_in(task);
  if (const auto* no = std::get_if<Refusal>(&in)) return *no;
  return std::unique_ptr<Destination>(*std::move(made));
}

}  // namespace ctriage::transfer
