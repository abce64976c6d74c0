#include "lib/source/archives.h"

#include <algorithm>
#include <array>
#include <set>

#include "lib/archive/tar_header.h"
#include "lib/bundle/age.h"
#include "lib/bundle/reader.h"
#include "lib/core/limits.h"
#include "lib/core/root.h"
#include "lib/core/sandbox.h"
#include "lib/source/bundle/source.h"
#include "lib/source/checkpoint/layout.h"
#include "lib/source/open.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kBundleHeader = "bundle.json";

// Names that a checkpoint or bundle is given: what has one and is none is damaged.
bool has_name_of_one(std::string_view name) {
  return name.find(".ctriage.tar") != std::string_view::npos ||
         (name.starts_with("checkpoint") && name.find(".tar") != std::string_view::npos);
}

enum class Looks : std::uint8_t { no, maybe, yes };

// What of a checkpoint's files a directory has itself. Docker makes `checkpoints` for every container, and an
// OCI layout may hold anything.
Looks looks_like_checkpoint(const Root& at) {
  const auto has = [&](std::string_view name) { return at.stat_beneath(name).has_value(); };
  if (has("inventory.img") || (has("config.dump") && has("spec.dump"))) return Looks::yes;
  const bool maybe = has("pod.options") || (has("config.v2.json") && has("checkpoints")) ||
                     (has("oci-layout") && has("index.json"));
  return maybe ? Looks::maybe : Looks::no;
}

Bytes first_error(const GapLog& gaps) {
  for (const Gap& gap : gaps.kept()) {
    if (gap.impact == Impact::lost) return Bytes(gap.error.what);
  }
  return Bytes("damaged");
}

class Lister {
 public:
  Lister(ArchiveList& into, Task& task) : into_(into), task_(task) {}

  Status directory(const Root& at, const std::string& path, std::size_t depth) {
    ++into_.directories;
    if (at.stat_beneath(kBundleHeader)) return bundle_directory(at, path);
    if (const Looks looks = looks_like_checkpoint(at); looks != Looks::no)
      return checkpoint_directory(at, path, looks == Looks::yes);
    std::string after;
    for (bool more = true; more;) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      auto block = list_names(at, after);
      if (!block) {
        lost(path, std::move(block).error());
        return Done{};
      }
      more = block->more && !block->names.empty();
      if (more) after = block->names.back();
      for (const std::string& name : block->names) {
        if (auto seen = visit(at, name, path, depth); !seen) return seen;
      }
    }
    return Done{};
  }

  enum class Met : std::uint8_t { listed, bundle };  // a bundle is left to who opens it again
  Result<Met> file(UniqueFd opened, const std::string& path, std::string_view name) {
    if (into_.files >= kMaxListedFiles)
      return Error{Errc::limit, "over " + std::to_string(kMaxListedFiles) + " files"};
    ++into_.files;
    auto own = archive::bytes_of_file(std::move(opened), path);
    if (!own) {
      lost(path, std::move(own).error());
      return Met::listed;
    }
    archive::BytesAt& bytes = **own;
    const std::uint64_t size = *bytes.size_bytes();
    archive::TarBlock block{};
    const auto got = bytes.read_at(0, block);
    if (!got) {
      lost(path, got.error());
      return Met::listed;
    }
    const auto head = std::span<const std::byte>(block).first(*got);
    if (archive::find_compression(head) != archive::Compression::none)
      return met_of(archive_file(*std::move(own), path, name, size, true));
    const auto header = archive::parse_tar_header(head);
    const bool is_tar = header && *header;
    if (!is_tar && !has_name_of_one(name)) return Met::listed;
    if (!is_tar) {
      ListedArchive wrong = empty(path, ArchiveKind::checkpoint, size);
      if (name.find(".ctriage.tar") != std::string_view::npos) wrong.kind = ArchiveKind::bundle;
      if (bundle::age_form(head) != bundle::AgeForm::none)
        wrong.error = Bytes("encrypted: age -d opens it");
      else
        wrong.error = Bytes(header ? "begins with nothing but zeros" : header.error().what);
      return met_of(add(std::move(wrong)));
    }
    if ((*header)->name == kBundleHeader) return Met::bundle;
    return met_of(archive_file(*std::move(own), path, name, size, false));
  }

  // The descriptor of a bundle is its reader's.
  Status open_and_list(const Root& at, const std::string& name, const std::string& path) {
    auto opened = at.open_beneath(name);
    if (!opened) {
      lost(path, std::move(opened).error());
      return Done{};
    }
    const auto met = file(*std::move(opened), path, name);
    if (!met) return met.error();
    if (*met == Met::listed) return Done{};
    opened = at.open_beneath(name);
    if (!opened) {
      lost(path, std::move(opened).error());
      return Done{};
    }
    const auto info = file_info(opened->get(), path);
    const std::uint64_t size = info ? info->size_bytes : 0;
    GapLog aside;
    Task looking = task_.with(aside);
    return bundle(bundle::Reader::open_tar(*std::move(opened), path, looking), path, size, aside, looking);
  }

  void lost(const std::string& path, Error error) {
    task_.gaps.add({Impact::lost, "list.archives", path, std::move(error)});
  }

  void tell_links() {
    if (links_ == 0) return;
    task_.gaps.add({Impact::note, "list.archives", first_link_,
                    Error{Errc::outside, std::to_string(links_) + " symbolic links were not followed"}});
  }

 private:
  static Result<Met> met_of(Status done) {
    if (!done) return std::move(done).error();
    return Met::listed;
  }

  static ListedArchive empty(const std::string& path, ArchiveKind kind, std::uint64_t size) {
    ListedArchive made;
    made.path = Bytes(path);
    made.kind = kind;
    made.size_bytes = size;
    return made;
  }

  Status add(ListedArchive&& made) {
    if (into_.archives.size() >= kMaxListedArchives)
      return Error{Errc::limit, "over " + std::to_string(kMaxListedArchives) + " archives"};
    // Once, however many containers it has.
    if (made.error && wrong_.insert(made.path.raw).second)
      lost(made.path.raw, Error{Errc::malformed, made.error->raw});
    into_.archives.push_back(std::move(made));
    return Done{};
  }

  Status visit(const Root& at, const std::string& name, const std::string& above, std::size_t depth) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    const std::string path = above.ends_with('/') ? above + name : above + "/" + name;
    auto info = at.stat_beneath(name);
    if (!info) {
      if (!info.error().is_gone()) lost(path, std::move(info).error());
      return Done{};
    }
    if (info->is_symlink() && links_++ == 0) first_link_ = path;
    if (info->is_regular()) return open_and_list(at, name, path);
    if (!info->is_directory()) return Done{};
    if (depth >= kMaxListDepth) {
      lost(path,
           {Errc::limit, "over " + std::to_string(kMaxListDepth) + " directories deep: not looked into"});
      return Done{};
    }
    auto below = at.descend(name);
    if (!below) {
      lost(path, std::move(below).error());
      return Done{};
    }
    return directory(*below, path, depth + 1);
  }

  static void take(const Container& container, ListedArchive& into) {
    into.engine = container.engine;
    if (container.pod) {
      into.pod_namespace = container.pod->ns;
      into.pod = container.pod->name;
    }
    into.container = container.name;
    into.container_id = container.id;
    into.image = container.image;
  }

  Status bundle_directory(const Root& at, const std::string& path) {
    auto own = at.duplicate();
    if (!own) return std::move(own).error();
    GapLog aside;
    Task looking = task_.with(aside);
    auto reader = bundle::Reader::open_directory(*std::move(own), looking);
    return bundle(std::move(reader), path, size_of(at, 0), aside, looking);
  }

  Status bundle(Result<std::unique_ptr<bundle::Reader>> reader, const std::string& path, std::uint64_t size,
                GapLog& aside, Task& looking) {
    ListedArchive like = empty(path, ArchiveKind::bundle, size);
    like.form = "bundle";
    const auto wrong = [&](const Error& error) -> Status {
      if (auto go_on = task_.check(); !go_on) return go_on;
      like.error = Bytes(error.what);
      return add(std::move(like));
    };
    if (!reader) return wrong(reader.error());
    const bool cut = (*reader)->cut();
    like.form = (*reader)->sealed() ? "bundle" : cut ? "bundle, cut" : "bundle, not sealed";
    auto snapshot = BundleSnapshot::open(*std::move(reader), path, looking);
    if (!snapshot) return wrong(snapshot.error());
    const auto source = (*snapshot)->describe(looking);
    if (source) like.taken_at = source->taken_at;
    if (cut) like.error = Bytes("ends before its last member: what verify --salvage tells is there");
    std::size_t count = 0;
    const Emit<Container> each = [&](Container&& container) -> Status {
      ++count;
      ListedArchive made = like;
      take(container, made);
      return add(std::move(made));
    };
    if (auto listed = (*snapshot)->list_containers(each, looking); !listed) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      return count > 0 ? Status(Done{}) : wrong(listed.error());
    }
    if (count > 0) return Done{};
    if (aside.count(Impact::lost) > 0) like.error = first_error(aside);
    return add(std::move(like));
  }

  // Of a directory, links not followed; as deep as a checkpoint is.
  std::uint64_t size_of(const Root& at, std::size_t depth) {
    std::uint64_t size = 0;
    const auto block = list_names(at, "");
    if (!block) return 0;
    for (const std::string& name : block->names) {
      const auto info = at.stat_beneath(name);
      if (info && info->is_regular()) size += info->size_bytes;
      if (!info || !info->is_directory() || depth >= 4) continue;
      if (auto below = at.descend(name)) size += size_of(*below, depth + 1);
    }
    return size;
  }

  Status checkpoint_directory(const Root& at, const std::string& path, bool expected) {
    auto own = at.duplicate();
    if (!own) return std::move(own).error();
    own->call(path);
    GapLog aside;
    const Task looking = task_.with(aside);
    const std::uint64_t size = size_of(at, 0);
    return checkpoint(CheckpointStore::open_directory(*std::move(own), looking), path, size, expected, aside,
                      looking);
  }

  Status archive_file(std::unique_ptr<archive::BytesAt> bytes, const std::string& path, std::string_view name,
                      std::uint64_t size, bool compressed) {
    GapLog aside;
    const Task looking = task_.with(aside);
    CheckpointStore::TarOptions options;
    options.records_only = true;
    if (compressed) options.most_bytes = kMaxListUnpacked;
    auto store = CheckpointStore::open_tar(std::move(bytes), path, looking, options);
    return checkpoint(std::move(store), path, size, has_name_of_one(name), aside, looking);
  }

  // `expected`: it is called one, so that what is none is damaged.
  Status checkpoint(Result<std::unique_ptr<CheckpointStore>> store, const std::string& path,
                    std::uint64_t size, bool expected, GapLog& aside, const Task& looking) {
    ListedArchive like = empty(path, ArchiveKind::checkpoint, size);
    const auto none = [&](const Error& error) -> Status {
      if (auto go_on = task_.check(); !go_on) return go_on;
      const bool over =
          std::ranges::any_of(aside.kept(), [](const Gap& gap) { return gap.error.code == Errc::limit; });
      if (expected) {
        like.error = aside.count(Impact::lost) > 0 ? first_error(aside) : Bytes(error.what);
        return add(std::move(like));
      }
      if (over)
        task_.gaps.add({Impact::degraded, "list.archives", path,
                        Error{Errc::limit, "no checkpoint in its first " + std::to_string(kMaxListUnpacked) +
                                               " bytes, unpacked: it may be one"}});
      return Done{};
    };
    if (!store) return none(store.error());
    const std::string form = (*store)->form();
    const std::size_t before = aside.count(Impact::lost);
    auto found = find_checkpoints(*std::move(store), looking);
    if (!found) return none(found.error());
    for (const CheckpointPart& part : found->parts) {
      ListedArchive made = like;
      made.form = std::string(to_text(part.form)) + (part.form == CheckpointForm::images ? "" : ", CRIU") +
                  ", " + form;
      take(part.container, made);
      if (part.form == CheckpointForm::images) made.engine.clear();
      made.taken_at = part.taken_at;
      // That the images come later is not looked for.
      if (before > 0) made.error = first_error(aside);
      if (auto added = add(std::move(made)); !added) return added;
    }
    return Done{};
  }

  ArchiveList& into_;
  Task& task_;
  std::uint64_t links_ = 0;
  std::string first_link_;
  std::set<std::string> wrong_;  // paths of what is damaged
};

}  // namespace

Result<ArchiveList> list_archives(const std::vector<std::string>& paths, Task& task) {
  ArchiveList list;
  struct Named {
    std::string path;
    std::string name;
    Root root;  // the directory, or the one that a file lies in
    bool is_file = false;
  };
  std::vector<Named> all;
  SandboxPlan plan;
  for (const std::string& path : paths) {
    auto root = Root::open(path);
    if (root) {
      all.push_back({path, "", *std::move(root), false});
      continue;
    }
    auto file = open_file(path);
    if (!file) return std::move(file).error();
    const auto slash = path.rfind('/');
    auto above = Root::open(slash == std::string::npos ? "." : path.substr(0, slash + 1));
    if (!above) return std::move(above).error();
    all.push_back(
        {path, slash == std::string::npos ? path : path.substr(slash + 1), *std::move(above), true});
  }
  for (const Named& each : all) plan.readable.push_back(each.root.fd());
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return std::move(inside).error();
  Lister lister(list, task);
  for (const Named& each : all) {
    auto listed = each.is_file ? lister.open_and_list(each.root, each.name, each.path)
                               : lister.directory(each.root, each.path, 0);
    if (listed) continue;
    if (listed.error().code == Errc::stopped || listed.error().code == Errc::timeout)
      return std::move(listed).error();
    lister.lost(each.path, std::move(listed).error());
  }
  lister.tell_links();
  std::ranges::stable_sort(list.archives, {}, [](const ListedArchive& each) { return each.path.raw; });
  return list;
}

}  // namespace ctriage::source
