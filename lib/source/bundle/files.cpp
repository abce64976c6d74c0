// `ls`, `cat` and `cp` of a bundle: the UpperDir, the tmpfs and the volumes that were taken.
#include <algorithm>

#include "lib/archive/layer_reader.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/source/bundle/source.h"

namespace ctriage::source {

struct BundleSnapshot::Taken {
  FileEntry entry;
  std::string stream;  // the layer that has its bytes
  std::string stored;  // its path there, that of the first name of its inode
};

namespace {

// "/a//b/../c" as "/a/c". Links cannot be followed: what they lead to may be the image's.
std::string plain_path(std::string_view path) {
  std::vector<std::string_view> parts;
  for (const std::string_view part : split(path, '/')) {
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!part.empty() && part != "." && part != "..") parts.push_back(part);
  }
  std::string plain;
  for (const std::string_view part : parts) plain.append("/").append(part);
  return plain.empty() ? "/" : plain;
}

}  // namespace

// Every file of the container that the bundle has.
Status BundleSnapshot::each_taken(const FileKey& key, const Emit<Taken>& emit, Task& task) {
  const auto folder = folders_.find(key.container);
  if (folder == folders_.end())
    return Error{Errc::not_found, key.container + ": no such container in " + name_};
  if (key.layer != "merged" && key.layer != "upper")
    return Error{Errc::unsupported, "layer " + key.layer + ": a bundle has the upper layer only"};
  const std::string upper = bulk_stream(folder->second + "upper.tar");
  const std::string wanted = plain_path(key.path);
  deleted_.clear();
  const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
    if (!seen.after || seen.hidden_by) {
      if (plain_path(seen.path.raw) == wanted)
        deleted_ = "deleted" + (seen.layer ? ", was in layer " + std::to_string(*seen.layer) : "");
      return Done{};
    }
    Taken taken;
    taken.entry.container = std::move(seen.container);
    taken.stored = seen.hard_link_of ? seen.hard_link_of->raw : seen.path.raw;
    taken.entry.path = std::move(seen.path);
    taken.entry.file = *std::move(seen.after);
    taken.entry.partial = std::move(seen.partial);
    taken.stream = upper;
    return emit(std::move(taken));
  };
  if (auto listed = list_changes(key.container, change, task); !listed) return listed;
  if (key.layer == "upper") return Done{};
  constexpr std::string_view kLines = ".jsonl";
  // A volume's clone shows what a tmpfs that is mounted in it hides: what lies over it comes last.
  std::vector<std::string> streams;
  for (const std::string_view trees : {"volumes/", "tmpfs/"}) {
    for (const std::string& stream : reader_->streams()) {
      if (stream.starts_with(folder->second + std::string(trees)) && stream.ends_with(kLines))
        streams.push_back(stream);
    }
  }
  for (const std::string& stream : streams) {
    const std::string tar = bulk_stream(stream.substr(0, stream.size() - kLines.size()) + ".tar");
    const Emit<TreeFile> file = [&](TreeFile&& seen) -> Status {
      const std::string& mount = seen.mount.raw;
      const auto below = [&](const std::string& path) {
        return mount != "/" && path.starts_with(mount) ? path.substr(mount.size()) : path;
      };
      Taken taken;
      taken.entry.container = std::move(seen.container);
      taken.stored = below(seen.hard_link_of ? seen.hard_link_of->raw : seen.path.raw);
      taken.entry.path = std::move(seen.path);
      taken.entry.file = std::move(seen.file);
      taken.entry.partial = std::move(seen.partial);
      taken.stream = tar;
      return emit(std::move(taken));
    };
    if (auto listed = list_tree(stream, file, task); !listed) return listed;
  }
  return Done{};
}

Error BundleSnapshot::not_here(const std::string& path) const {
  return {Errc::not_found,
          path + (deleted_.empty() ? ": not in this bundle: not changed, or not taken"
                                   : ": " + deleted_ + "; the image's files are not in a bundle")};
}

Status BundleSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  const std::string wanted = plain_path(key.path);
  bool met = wanted == "/";
  const Emit<Taken> each = [&](Taken&& taken) -> Status {
    const std::string path = plain_path(taken.entry.path.raw);
    const bool itself = path == wanted;
    met = met || itself;
    if (itself ? taken.entry.file.type == FileType::directory : parent_of(path) != wanted) return Done{};
    met = true;
    return emit(std::move(taken.entry));
  };
  if (auto listed = each_taken(key, each, task); !listed) return listed;
  task.gaps.add({Impact::note, "container.files", wanted,
                 Error{Errc::unsupported, "a bundle has what was changed, not the image's files"}});
  if (!met) return not_here(wanted);
  return Done{};
}

Result<OpenedFile> BundleSnapshot::open_file(const FileKey& key, Task& task) {
  const std::string wanted = plain_path(key.path);
  std::optional<Taken> found;
  const Emit<Taken> each = [&](Taken&& taken) -> Status {
    if (plain_path(taken.entry.path.raw) == wanted) found = std::move(taken);  // what lies over it comes last
    return Done{};
  };
  if (auto listed = each_taken(key, each, task); !listed) return std::move(listed).error();
  if (!found) return not_here(wanted);
  if (found->entry.file.type != FileType::regular) return OpenedFile{std::move(found->entry), nullptr};
  if (found->entry.partial)
    task.gaps.add({Impact::lost, "container.files", wanted, Error{Errc::truncated, *found->entry.partial}});
  auto stream = reader_->open(found->stream, task);
  if (!stream) return std::move(stream).error().within(found->stream);
  auto layer = archive::LayerReader::open(**stream);
  if (!layer) return std::move(layer).error().within(found->stream);
  archive::LayerReader::Entry entry;
  for (;;) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    auto more = (*layer)->next(entry);
    if (!more) return std::move(more).error().within(found->stream);
    if (!*more)
      return Error{Errc::not_found, wanted + ": its bytes are not in " + found->stream +
                                        (found->entry.partial ? ": " + *found->entry.partial : "")};
    if (entry.regular && plain_path(entry.path) == plain_path(found->stored)) break;
  }
  return OpenedFile{std::move(found->entry), archive::entry_of(*std::move(stream), *std::move(layer))};
}

}  // namespace ctriage::source
