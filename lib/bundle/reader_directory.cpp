// An unpacked bundle. Somebody may have put links, devices and files of his own among ours: those are left
// alone.
#include "lib/bundle/stream_index.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxDepth = 64;  // names of a bundle have at most 255 bytes, ours a handful of parts

class FileSource final : public ByteSource {
 public:
  FileSource(UniqueFd file, std::string name, std::uint64_t size, const Task& task)
      : in_(std::move(file), std::move(name), task), left_(size) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    auto got = in_.read(into);
    if (!got) return got;
    if (*got == 0 && left_ > 0) return Error{Errc::truncated, "the file became shorter"};
    left_ -= std::min<std::uint64_t>(*got, left_);
    return got;
  }

 private:
  FdSource in_;
  std::uint64_t left_;
};

class DirectoryReader final : public IndexedReader {
 public:
  DirectoryReader(Root directory, Task& task) : IndexedReader(task), directory_(std::move(directory)) {}

  Status read_index() {
    if (auto walked = walk(directory_, "", 0); !walked) return walked;
    index_.sort();
    if (index_.names().empty()) return Error{Errc::malformed, directory_.name() + ": not a bundle"};
    cut_ = !sealed();
    return Done{};
  }

 protected:
  Result<std::unique_ptr<ByteSource>> open_chunk(const std::string& stream,
                                                 const StoredChunk& chunk) const override {
    const std::string name = join_member(stream, chunk.index);
    auto file = directory_.open_beneath(name);
    if (!file) return std::move(file).error();
    return std::unique_ptr<ByteSource>(
        std::make_unique<FileSource>(*std::move(file), name, chunk.size, task_));
  }

 private:
  Status walk(const Root& at, const std::string& prefix, std::size_t depth) {
    std::string after;
    for (bool more = true; more;) {
      if (auto may = task_.check(); !may) return may;
      auto block = list_names(at, after);
      if (!block) return std::move(block).error();
      more = block->more && !block->names.empty();
      if (more) after = block->names.back();
      for (const std::string& name : block->names) {
        if (auto seen = visit(at, prefix, name, depth); !seen) return seen;
      }
    }
    return Done{};
  }

  Status visit(const Root& at, const std::string& prefix, const std::string& name, std::size_t depth) {
    const std::string path = prefix + name;
    auto info = at.stat_beneath(name);
    if (!info) {
      leave_out(path, std::move(info).error());
      return Done{};
    }
    if (!is_member_name(path) || depth >= kMaxDepth || (!info->is_regular() && !info->is_directory())) {
      leave_out(path, Error{Errc::unsupported, "not part of a bundle"});
      return Done{};
    }
    if (info->is_regular()) return index_.add(path, 0, info->size_bytes, StreamIndex::Order::any);
    auto below = at.descend(name);
    if (!below) {
      leave_out(path, std::move(below).error());
      return Done{};
    }
    return walk(*below, path + "/", depth + 1);
  }

  void leave_out(const std::string& path, Error error) {
    const Impact impact = error.code == Errc::unsupported ? Impact::note : Impact::lost;
    task_.gaps.add({impact, "bundle.member", directory_.name() + "/" + path, std::move(error)});
  }

  Root directory_;
};

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open_directory(Root directory, Task& task) {
  auto reader = std::make_unique<DirectoryReader>(std::move(directory), task);
  if (auto indexed = reader->read_index(); !indexed) return std::move(indexed).error();
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace ctriage::bundle
