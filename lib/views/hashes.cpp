#include "lib/views/hashes.h"

#include <set>
#include <tuple>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/old_hash.h"

namespace ctriage::views {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::size_t kMaxOnce = 200'000;  // programs and libraries of a container that are told apart

class ListHashes {
 public:
  ListHashes(Snapshot& snapshot, const HashOptions& options, const Emit<FileHash>& emit, Task& task)
      : snapshot_(snapshot), options_(options), emit_(emit), task_(task) {}

  Status list() {
    std::vector<std::string> ids;
    const Emit<Container> keep = [&](Container&& container) -> Status {
      ids.push_back(std::move(container.id));
      return Done{};
    };
    if (auto listed = snapshot_.list_containers(keep, task_); !listed) return listed;
    for (const std::string& id : ids) {
      once_.clear();
      if (auto listed = list_one(id); !listed) return listed;
    }
    return Done{};
  }

 private:
  Status list_one(const std::string& id) {
    const Emit<Process> process = [&](Process&& seen) -> Status {
      if (seen.exe.path.empty()) return Done{};  // of the kernel, or ended
      if (auto done = take_once(HashedAs::program, id, seen.exe.path, seen.exe.sha256); !done) return done;
      if (!seen.script) return Done{};
      return take_once(HashedAs::script, id, seen.script->path, seen.script->sha256);
    };
    if (auto listed = snapshot_.list_processes(id, process, task_); !listed) return listed;
    const Emit<Mapping> mapping = [&](Mapping&& seen) -> Status {
      const bool foreign = seen.origin && *seen.origin != Origin::image && *seen.origin != Origin::unknown;
      return foreign ? take_once(HashedAs::library, id, seen.path, seen.sha256) : Status(Done{});
    };
    if (auto listed = snapshot_.list_mappings(id, mapping, task_); !listed) return listed;
    const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
      if (!seen.after || seen.after->type != FileType::regular) return Done{};
      return take(HashedAs::changed, id, seen.path, seen.after->sha256);
    };
    if (auto listed = snapshot_.list_changes(id, change, task_); !listed) return listed;
    const Emit<TreeFile> tree = [&](TreeFile&& seen) -> Status {
      if (seen.file.type != FileType::regular || seen.hard_link_of) return Done{};
      return take(HashedAs::tree, id, seen.path, seen.file.sha256);
    };
    return snapshot_.list_trees(id, tree, task_);
  }

  Status take_once(HashedAs as, const std::string& id, const Bytes& path,
                   const std::optional<std::string>& sha256) {
    if (once_.size() < kMaxOnce && !once_.emplace(as, path.raw, sha256.value_or("")).second) return Done{};
    return take(as, id, path, sha256);
  }

  Status take(HashedAs as, const std::string& id, const Bytes& path,
              const std::optional<std::string>& sha256) {
    FileHash hash;
    hash.as = as;
    hash.container = id;
    hash.path = path;
    if (sha256) hash.sha256 = *sha256;
    if (!sha256 || options_.md5 || options_.sha1) {
      if (auto read = read_bytes(hash); !read) {
        if (auto go_on = task_.check(); !go_on) return go_on;
        const std::string of = std::string(to_text(as)) + " " + path.raw;
        if (sha256) of_others_missing(of, std::move(read).error());
        // What this kind of source has not is no loss of this look.
        const bool cannot = read.error().code == Errc::unsupported;
        if (!sha256)
          task_.gaps.add({cannot ? Impact::note : Impact::lost, "hashes", of,
                          std::move(read).error().within("not hashed")});
      }
    }
    return hash.sha256.empty() ? Status(Done{}) : emit_(std::move(hash));
  }

  void of_others_missing(const std::string& of, Error why) {
    task_.gaps.add(
        {Impact::lost, "hashes", of, std::move(why).within("its SHA-256 is known, the others are not")});
  }

  // Of a program the name may lead elsewhere by now: only bytes with the recorded SHA-256 count.
  Status read_bytes(FileHash& into) {
    FileKey key;
    key.container = into.container;
    key.path = into.path.raw;
    key.follow = false;
    key.layer = into.as == HashedAs::changed ? "upper" : "merged";
    auto opened = snapshot_.open_file(key, task_);
    if (!opened) return std::move(opened).error();
    if (!opened->bytes) return Error{Errc::unsupported, "not a regular file any more"};
    if (into.sha256.empty() && into.as != HashedAs::changed && into.as != HashedAs::tree)
      return Error{Errc::mismatch, "what its name leads to need not be what runs"};
    Sha256 sha256;
    OldHash md5(OldHash::Kind::md5);
    OldHash sha1(OldHash::Kind::sha1);
    std::vector<std::byte> block(kBlockBytes);
    for (;;) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      auto got = opened->bytes->read(block);
      if (!got) return std::move(got).error();
      if (*got == 0) break;
      const auto bytes = std::span<const std::byte>(block).first(*got);
      sha256.update(bytes);
      if (options_.md5) md5.update(bytes);
      if (options_.sha1) sha1.update(bytes);
    }
    const std::string found = to_hex(sha256.digest());
    if (!into.sha256.empty() && into.sha256 != found)
      return Error{Errc::mismatch, "other bytes lie there than were recorded"};
    into.sha256 = found;
    if (options_.md5) into.md5 = md5.hex();
    if (options_.sha1) into.sha1 = sha1.hex();
    return Done{};
  }

  Snapshot& snapshot_;
  const HashOptions& options_;
  const Emit<FileHash>& emit_;
  Task& task_;
  std::set<std::tuple<HashedAs, std::string, std::string>> once_;
};

}  // namespace

Status list_hashes(Snapshot& snapshot, const HashOptions& options, const Emit<FileHash>& emit, Task& task) {
  return ListHashes(snapshot, options, emit, task).list();
}

}  // namespace ctriage::views
