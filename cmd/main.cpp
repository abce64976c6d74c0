// ctriage: what a responder runs when a container is already compromised.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cmd/commands.h"
#include "cmd/evidence.h"
#include "lib/core/openssl.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/progress.h"

namespace ctriage {
namespace {

constexpr int kStdout = 1;
constexpr int kStderr = 2;
constexpr unsigned kDefaultColumns = 120;

std::atomic<bool> stop_requested{false};  // the one thing a signal handler touches
static_assert(std::atomic<bool>::is_always_lock_free);

// The first signal asks for a clean end; a second one leaves at once.
void on_stop_signal(int) {
  if (stop_requested.exchange(true)) sys::exit_now(static_cast<int>(Exit::lost));
}

Result<UniqueFd> open_log(const std::string& path) {
  constexpr std::uint32_t kPrivate = 0600;
  return sys::openat2(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0, kPrivate);
}

report::Style style_of(const Common& common, int fd) {
  report::Style style;
  const bool terminal = sys::is_terminal(fd);
  const auto no_color = sys::environment("NO_COLOR");
  style.color =
      common.color == "always" || (common.color == "auto" && terminal && !(no_color && !no_color->empty()));
  style.width = kDefaultColumns;
  if (const auto columns = sys::terminal_columns(fd)) style.width = *columns;
  return style;
}

void add_common(CLI::App& app, Common& common) {
  app.add_option("--format", common.format, "text, json or jsonl")
      ->check(CLI::IsMember({"text", "json", "jsonl"}));
  app.add_flag("--json", common.json, "the same as --format json");
  app.add_option("--color", common.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  app.add_flag("-q,--quiet", common.quiet, "nothing on stderr but errors");
  app.add_flag("-v,--verbose", common.verbose, "every gap, notes too");
  app.add_option("--log-file", common.log_file, "stderr goes there as well");
}

constexpr std::string_view kFooter =
    "Exit status: 0 complete, 1 failed, 2 usage, 3 done but evidence was lost, 4 findings at or above "
    "--fail-on.\n"
    "Examples:\n"
    "  ctriage list\n"
    "  ctriage collect shop/web-7d9f -o /evidence\n"
    "  ctriage verify /evidence/BUNDLE.ctriage.tar\n"
    "  ctriage show /evidence/BUNDLE.ctriage.tar F1\n";

// As CLI11 takes them, the last first. "-:/path" begins as an option does and is none.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = argc; i-- > 1;) {
    const std::string word = argv[i];
    words.push_back(word.starts_with("-:/") ? "file:" + word : word);
  }
  return words;
}

int run(int argc, char** argv) {
  CLI::App app("Container forensics: what a responder runs when a container is already compromised",
               "ctriage");
  app.set_version_flag("--version", "ctriage " + std::string(kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(std::string(kFooter));
  Common common;
  Action chosen;
  add_common(app, common);
  add_list(app, common, chosen);
  add_sweep(app, common, chosen);
  add_collect(app, common, chosen);
  add_whois(app, common, chosen);
  add_selftest(app, common, chosen);
  add_show(app, common, chosen);
  add_drift(app, common, chosen);
  add_diff(app, common, chosen);
  add_files(app, common, chosen);
  add_search(app, common, chosen);
  add_strings(app, common, chosen);
  add_scan(app, common, chosen);
  add_dump(app, common, chosen);
  add_extract(app, common, chosen);
  add_image(app, common, chosen);
  add_timeline(app, common, chosen);
  add_rotate(app, common, chosen);
  add_hashes(app, common, chosen);
  add_iocs(app, common, chosen);
  add_verify(app, common, chosen);
  add_pack(app, common, chosen);
  add_custody(app, common, chosen);
  add_receive(app, common, chosen);
  add_export(app, common, chosen);
  add_rules(app, common, chosen);
  add_completion(app, chosen);
  add_manual(app, chosen);
  try {
    app.parse(words_of(argc, argv));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fputs(
        ("ctriage: " + escape_terminal(error.what()) + "\nctriage --help shows how it is used.\n").c_str(),
        stderr);
    return static_cast<int>(Exit::usage);
  }

  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) (void)sys::on_signal(signal, on_stop_signal);
  (void)sys::on_signal(SIGPIPE, SIG_IGN);
  UniqueFd log;
  if (!common.log_file.empty()) {
    auto opened = open_log(common.log_file);
    if (!opened) {
      std::fputs(("ctriage: --log-file: " + escape_terminal(opened.error().what) + "\n").c_str(), stderr);
      return static_cast<int>(Exit::usage);
    }
    log = *std::move(opened);
  }
  report::ProgressLine progress(
      [](std::string_view text) { (void)sys::write_all(kStderr, text, "standard error"); },
      [] { return sys::boottime_ns(); });
  Meter meter;
  if (!common.quiet && sys::is_terminal(kStderr)) {
    meter.shown = [&progress](const Meter& passed) { progress.draw(passed); };
  }
  Io io{[&progress](std::string_view text) {
          progress.clear();
          return sys::write_all(kStdout, text, "standard output");
        },
        [&log, &progress](std::string_view text) {
          progress.clear();
          (void)sys::write_all(kStderr, text, "standard error");
          if (log) (void)sys::write_all(log.get(), text, "log file");
        },
        style_of(common, kStdout),
        style_of(common, kStderr),
        stop_requested,
        std::vector<std::string>(argv, argv + argc),
        meter.shown ? &meter : nullptr,
        on_stop_signal};
  const Exit exit = chosen(io);
  progress.clear();
  return static_cast<int>(exit);
}

}  // namespace
}  // namespace ctriage

int main(int argc, char** argv) {
  try {
    ctriage::ignore_openssl_configuration();
    return ctriage::run(argc, argv);
  } catch (const std::exception& error) {  // a bug of ours, or no memory
    std::fputs("ctriage: internal error: ", stderr);
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
    return static_cast<int>(ctriage::Exit::failed);
  }
}
