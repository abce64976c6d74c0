#include "lib/bundle/stream_index.h"

#include <algorithm>

namespace ctriage::bundle {

Status StreamIndex::add(std::string_view member, std::uint64_t offset, std::uint64_t size, Order order) {
  if (!is_member_name(member)) return Error{Errc::malformed, "a member's name is not one of a bundle"};
  if (++members_ > kMaxMembers) return Error{Errc::limit, "more than 4,000,000 members"};
  const MemberName name = split_member(member);
  auto [found, fresh] = chunks_.try_emplace(std::string(name.stream));
  if (fresh) names_.emplace_back(name.stream);
  auto& chunks = found->second;
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
  for (auto& [name, chunks] : chunks_) {
    std::sort(chunks.begin(), chunks.end(),
              [](const StoredChunk& a, const StoredChunk& b) { return a.index < b.index; });
  }
}

const std::vector<StoredChunk>* StreamIndex::find(std::string_view stream) const {
  const auto found = chunks_.find(stream);
  return found == chunks_.end() ? nullptr : &found->second;
}

Result<std::unique_ptr<ByteSource>> IndexedReader::open(std::string_view stream, Task& task) {
  const auto* chunks = index_.find(stream);
  if (chunks == nullptr) return Error{Errc::not_found, std::string(stream) + ": not in this bundle"};
  return join_chunks(*this, std::string(stream), *chunks, task);
}

}  // namespace ctriage::bundle
