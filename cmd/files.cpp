#include "lib/report/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"
#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr unsigned kMaxCopyDepth = 128;  // of directories: each is a descriptor

struct FilesArguments {
  source::TargetQuery query;
  std::string what;  // SOURCE:/path
  std::string layer = "merged";
  std::string into;  // cp
};

// Splits "SOURCE:/path" at the first ":/" that is not followed by another '/', so that "containerd://ID:/etc"
// has a source, too.
bool split_source(const std::string& text, std::string& source, std::string& path) {
  for (std::size_t at = text.find(":/"); at != std::string::npos; at = text.find(":/", at + 1)) {
    if (at == 0 || text.compare(at + 2, 1, "/") == 0) continue;
    source = text.substr(0, at);
    path = text.substr(at + 1);
    return true;
  }
  return false;
}

struct Asked {
  source::TargetQuery query;
  FileKey key;  // of which container is known when the source is open
};

// An error: what was typed cannot mean anything.
Result<Asked> read_words(const FilesArguments& arguments) {
  Asked asked;
  asked.query = arguments.query;
  if (!split_source(arguments.what, asked.query.token, asked.key.path))
    return Error{Errc::malformed, arguments.what + ": not SOURCE:/path, like shop/web-7d9f:/etc/passwd"};
  asked.key.layer = arguments.layer;
  const bool number = parse_number<std::uint32_t>(arguments.layer).has_value();
  if (!number && arguments.layer != "merged" && arguments.layer != "image" && arguments.layer != "upper")
    return Error{Errc::malformed,
                 "--layer " + arguments.layer + ": neither merged, image, upper nor a number"};
  return asked;
}

Exit fail_usage(Io& io, const Error& error) {
  (void)fail(io, error);
  return Exit::usage;
}

struct Opened {
  std::unique_ptr<Snapshot> snapshot;
  FileKey key;
};

// One container has to be meant: a pod's only one, or that of -c.
Result<Opened> open_files(Asked asked, Task& task, int writable = -1) {
  Opened opened;
  opened.key = std::move(asked.key);
  const source::TargetQuery& query = asked.query;
  auto snapshot = source::open_source(query, {}, task, writable);
  if (!snapshot) return std::move(snapshot).error();
  opened.snapshot = *std::move(snapshot);
  std::vector<Container> containers;
  auto listed = opened.snapshot->list_containers(
      [&](Container&& container) -> Status {
        if (!container.sandbox) containers.push_back(std::move(container));
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error();
  // A name goes before the beginning of an id.
  const auto is_named = [&](const Container& container) { return container.name.raw == query.container; };
  const bool any_named = std::ranges::any_of(containers, is_named);
  std::erase_if(containers, [&](const Container& container) {
    return !query.container.empty() &&
           !(any_named ? is_named(container) : container.id.starts_with(query.container));
  });
  if (containers.empty()) return Error{Errc::not_found, query.token + ": no such container"};
  if (containers.size() > 1) {
    std::string names;
    for (const Container& container : containers) names += (names.empty() ? "" : ", ") + container.name.raw;
    return Error{Errc::mismatch, query.token + ": several containers, name one with -c: " + names};
  }
  opened.key.container = containers.front().id;
  return opened;
}

Exit run_ls(const FilesArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto asked = read_words(arguments);
  if (!asked) return fail_usage(io, asked.error());
  auto opened = open_files(*std::move(asked), task);
  if (!opened) return fail(io, opened.error());
  const report::Format format = common.output_format();
  auto told =
      format == report::Format::text
          ? report::ls_text(*opened->snapshot, opened->key, common.verbose, io.out_style, io.out, task)
          : report::ls_json(*opened->snapshot, opened->key, format, io.out, task);
  if (!told) {
    tell_gaps(io, common, gaps);
    return fail(io, told.error());
  }
  return exit_for(common, std::nullopt, told->lost);
}

Error has_no_bytes(const FileEntry& entry) {
  std::string what = entry.path.raw + ": not a regular file";
  if (entry.file.link_target) what += ", a link to " + entry.file.link_target->raw;
  return {Errc::unsupported, std::move(what)};
}

// The bytes of the file as it was when it was found, no more; their SHA-256. What it does not have any more,
// and what is not what was recorded of it, is a gap.
Result<Digest> pass_on(OpenedFile& file, const std::function<Status(std::span<const std::byte>)>& write,
                       Task& task) {
  Sha256 hash;
  std::vector<std::byte> block(kBlockBytes);
  const std::string& path = file.entry.path.raw;
  std::uint64_t left = file.entry.file.size_bytes;
  while (left > 0) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    auto got = file.bytes->read(
        std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(left, block.size()))));
    if (!got) return std::move(got).error().within(path);
    if (*got == 0) {
      task.gaps.add({Impact::lost, "container.files", path,
                     Error{Errc::truncated, "ends " + std::to_string(left) + " bytes before its size"}});
      break;
    }
    const auto bytes = std::span<const std::byte>(block).first(*got);
    hash.update(bytes);
    if (auto written = write(bytes); !written) return std::move(written).error();
    left -= *got;
  }
  const Digest digest = hash.digest();
  if (left == 0 && file.entry.file.sha256 && *file.entry.file.sha256 != to_hex(digest)) {
    task.gaps.add({Impact::lost, "container.files", path,
                   Error{Errc::mismatch, "its bytes are not those that were recorded: SHA-256 " +
                                             to_hex(digest) + " instead of " + *file.entry.file.sha256}});
  }
  return digest;
}

Exit end_with_gaps(const Common& common, const GapLog& gaps, Io& io) {
  tell_gaps(io, common, gaps);
  return gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
}

// Lines as they are, and nothing that a terminal obeys.
std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += escape_terminal(text.substr(at, end - at));
    if (end < text.size()) out += '\n';
    at = end + 1;
  }
  return out;
}

Exit run_cat(const FilesArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto asked = read_words(arguments);
  if (!asked) return fail_usage(io, asked.error());
  auto opened = open_files(*std::move(asked), task);
  if (!opened) return fail(io, opened.error());
  auto file = opened->snapshot->open_file(opened->key, task);
  if (file && !file->bytes) file = has_no_bytes(file->entry);
  if (!file) {
    tell_gaps(io, common, gaps);
    return fail(io, file.error());
  }
  // A terminal would obey what is in the file.
  const bool terminal = sys::is_terminal(STDOUT_FILENO);
  auto passed = pass_on(
      *file,
      [&](std::span<const std::byte> bytes) -> Status {
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return io.out(terminal ? printable(text) : std::string(text));
      },
      task);
  if (!passed) {
    tell_gaps(io, common, gaps);
    return fail(io, passed.error());
  }
  return end_with_gaps(common, gaps, io);
}

// Copies below a directory of ours. Files are 0600 and nothing is ever run, linked or overwritten: evidence
// lies as bytes.
class Copying {
 public:
  Copying(Snapshot& snapshot, Io& io, Task& task) : snapshot_(snapshot), io_(io), task_(task) {}

  // Of a bundle each file is a search through its layer: tar(1) is the tool for a directory.
  Status any(const FileKey& key, int directory, const std::string& name) {
    auto opened = snapshot_.open_file(key, task_);
    if (!opened) return std::move(opened).error();
    if (opened->bytes) return file(*std::move(opened), directory, name);
    const auto described = snapshot_.describe(task_);
    const bool live = described && described->kind == "live";
    if (!live || opened->entry.file.type != FileType::directory) return has_no_bytes(opened->entry);
    return tree(key, directory, name, 0);
  }

 private:
  Status file(OpenedFile opened, int directory, const std::string& name) {
    const FileState& state = opened.entry.file;
    if (state.size_bytes > state.allocated_bytes && state.size_bytes - state.allocated_bytes > kMaxHoleBytes)
      return Error{Errc::limit, opened.entry.path.raw + ": more than 4 GiB of holes: not copied"};
    auto made =
        sys::openat2(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, RESOLVE_BENEATH, 0600);
    if (!made) return std::move(made).error();
    auto digest = pass_on(
        opened, [&](std::span<const std::byte> bytes) { return sys::write_all(made->get(), bytes, name); },
        task_);
    if (!digest) {  // half a file is no evidence
      const auto gone = sys::unlinkat(directory, name);
      return gone ? std::move(digest).error() : std::move(digest).error().within(name + " stays behind");
    }
    return io_.out(to_hex(*digest) + "  " + escape_terminal(opened.entry.path.raw) + "\n");
  }

  Status tree(const FileKey& key, int parent, const std::string& name, unsigned depth) {
    if (depth >= kMaxCopyDepth) return Error{Errc::limit, key.path + ": deeper than 128 levels"};
    if (auto made = sys::mkdirat(parent, name, 0700); !made) return made;
    auto directory = sys::openat2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
    if (!directory) return std::move(directory).error();
    struct Entry {
      std::string path;
      FileType type;
      std::string target;
    };
    std::vector<Entry> entries;
    auto listed = snapshot_.list_files(
        key,
        [&](FileEntry&& entry) -> Status {
          entries.push_back({entry.path.raw, entry.file.type, entry.file.link_target.value_or(Bytes()).raw});
          return Done{};
        },
        task_);
    if (!listed) return listed;
    for (const Entry& entry : entries) {
      const std::string& path = entry.path;
      FileKey inner = key;
      inner.follow = false;  // what was listed, not what lies in its place now
      inner.path = path;
      const std::string last = path.substr(path.rfind('/') + 1);
      Status done = Done{};
      if (entry.type == FileType::directory) {
        done = tree(inner, directory->get(), last, depth + 1);
      } else if (entry.type == FileType::regular) {
        auto opened = snapshot_.open_file(inner, task_);
        if (opened && !opened->bytes) opened = has_no_bytes(opened->entry);
        done = opened ? file(*std::move(opened), directory->get(), last) : Status(std::move(opened).error());
      } else {
        const std::string what = !entry.target.empty() ? "a link to " + entry.target : "no regular file";
        task_.gaps.add(
            {Impact::note, "container.files", path, Error{Errc::unsupported, what + ": not copied"}});
      }
      if (done) continue;
      if (auto go_on = task_.check(); !go_on) return go_on;
      if (done.error().code == Errc::full) return done;
      task_.gaps.add({Impact::lost, "container.files", path, std::move(done).error()});
    }
    return Done{};
  }

  Snapshot& snapshot_;
  Io& io_;
  Task& task_;
};

Exit run_cp(const FilesArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto asked = read_words(arguments);
  if (!asked) return fail_usage(io, asked.error());
  // Into an existing directory, or under a new name.
  std::string path = asked->key.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::string name = path.substr(path.rfind('/') + 1);
  auto directory = Root::open(arguments.into);
  if (!directory && directory.error().code == Errc::not_found) {
    const auto slash = arguments.into.rfind('/');
    name = slash == std::string::npos ? arguments.into : arguments.into.substr(slash + 1);
    directory = Root::open(slash == std::string::npos ? "." : arguments.into.substr(0, slash + 1));
  }
  if (!directory) return fail(io, directory.error());
  if (name.empty() || name == "." || name == "..") name = "root";
  auto opened = open_files(*std::move(asked), task, directory->fd());
  if (!opened) return fail(io, opened.error());
  Copying copying(*opened->snapshot, io, task);
  auto copied = copying.any(opened->key, directory->fd(), name);
  if (!copied) {
    tell_gaps(io, common, gaps);
    return fail(io, copied.error());
  }
  return end_with_gaps(common, gaps, io);
}

CLI::App* add_one(CLI::App& app, const std::string& name, const std::string& what,
                  const std::shared_ptr<FilesArguments>& arguments) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->group("Analysis");
  sub->add_option("file", arguments->what,
                  "SOURCE:/path, like shop/web-7d9f:/etc/passwd, BUNDLE:/tmp/x or -:/tmp/x")
      ->required();
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  sub->add_option("--layer", arguments->layer,
                  "merged (as the container sees it), image (without its changes), upper, or a number: 1 is "
                  "the image's lowest; a checkpoint "
                  "and a bundle have no image");
  return sub;
}

}  // namespace

void add_files(CLI::App& app, const Common& common, Action& chosen) {
  const auto add = [&](const char* name, const char* what, auto run, const char* footer) {
    auto arguments = std::make_shared<FilesArguments>();
    CLI::App* sub = add_one(app, name, what, arguments);
    sub->footer(footer);
    sub->callback([arguments, &common, &chosen, run] {
      chosen = [arguments, &common, run](Io& io) { return run(*arguments, common, io); };
    });
    return std::pair(sub, arguments);
  };
  add("ls", "Files of a container, without entering it", run_ls,
      "Examples:\n  ctriage ls shop/web-7d9f:/tmp\n  ctriage ls shop/web-7d9f:/etc --layer 1\n"
      "  ctriage ls checkpoint.tar:/tmp\n  ctriage ls -:/tmp < checkpoint.tar\n");
  add("cat", "A file's bytes, without entering the container", run_cat,
      "Examples:\n  ctriage cat shop/web-7d9f:/etc/passwd\n  ctriage cat BUNDLE.ctriage.tar:/tmp/x > x\n");
  const auto [sub, arguments] =
      add("cp", "Copies a file, or a directory of a live container, and prints SHA-256 sums", run_cp,
          "Examples:\n  ctriage cp shop/web-7d9f:/tmp/.x /evidence\n");
  sub->add_option("into", arguments->into, "existing directory, or a new name")->required();
}

}  // namespace ctriage
