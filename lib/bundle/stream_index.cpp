#include "lib/bundle/stream_index.h"

#include <algorithm>

#include "lib/bundle/statuses.h"

namespace ctriage::bundle {

Status StreamIndex::add(std::string_view member, std::uint64_t offset, std::uint64_t size, Order order) {
  if (!is_member_name(member)) return Error{Errc::malformed, "a member's name is not one of a bundle"};
  if (++members_ > kMaxMembers) return Error{Errc::limit, "more than 4,000,000 members"};
  const MemberName name = split_member(member);
  auto [found, fresh] = entries_.try_emplace(std::string(name.stream));
  if (fresh) {
    found->second.number = names_.size();
    names_.emplace_back(name.stream);
  }
  auto& chunks = found->second.chunks;
  // Numbered ones beside a whole one would both claim the name. Which number is missing shows when it is
  // read.
  if (!chunks.empty() && (name.chunk == kWholeStream || chunks.back().index == kWholeStream)) {
    return Error{Errc::malformed, std::string(member) + ": there is another of this name"};
  }
  if (!chunks.empty() && order == Order::file && name.chunk <= chunks.back().index) {
    return Error{Errc::malformed, std::string(member) + " is there twice or too late"};
  }
  chunks.push_back({offset, size, name.chunk});
  return Done{};
}

void StreamIndex::sort() {
  for (auto& [name, entry] : entries_) {
    std::sort(entry.chunks.begin(), entry.chunks.end(),
              [](const StoredChunk& a, const StoredChunk& b) { return a.index < b.index; });
  }
}

const std::vector<StoredChunk>* StreamIndex::find(std::string_view stream) const {
  const auto found = entries_.find(stream);
  return found == entries_.end() ? nullptr : &found->second.chunks;
}

std::optional<std::size_t> StreamIndex::number_of(std::string_view stream) const {
  const auto found = entries_.find(stream);
  if (found == entries_.end()) return std::nullopt;
  return found->second.number;
}

IndexedReader::IndexedReader(Task& task) : task_(task) {}
IndexedReader::~IndexedReader() = default;

Result<std::unique_ptr<ByteSource>> IndexedReader::open(std::string_view stream, Task& task) {
  const auto* chunks = index_.find(stream);
  if (chunks == nullptr) return Error{Errc::not_found, std::string(stream) + ": not in this bundle"};
  return join_chunks(*this, std::string(stream), *chunks, task);
}

std::optional<StreamStatus> IndexedReader::status(std::string_view stream) const {
  if (!sealed()) return std::nullopt;
  if (!asked_) read_statuses();
  return statuses_ ? statuses_->find(stream, index_) : std::nullopt;
}

void IndexedReader::read_statuses() const {
  asked_ = true;
  auto manifest = join_chunks(*this, std::string(kManifest), *index_.find(kManifest), task_);
  auto read = manifest ? Statuses::read(**manifest, index_) : Result<Statuses>(std::move(manifest).error());
  if (read) {
    statuses_ = std::make_unique<const Statuses>(*std::move(read));
  } else {
    task_.gaps.add({Impact::degraded, "bundle.status", std::string(kManifest), std::move(read).error()});
  }
}

}  // namespace ctriage::bundle
