#include "lib/source/checkpoint_memory.h"

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::source {

Result<criu::PageMap> CheckpointMemory::page_map_in(const std::string& directory, const std::string& of,
                                                    std::uint32_t page_bytes) {
  const std::string name = directory + "pagemap-" + of + ".img";
  auto file = store_.read(name, kMaxCriuImageBytes);
  if (!file) return std::move(file).error();
  auto map = criu::parse_pagemap(*file, page_bytes);
  if (!map) return std::move(map).error().within(name);
  return map;
}

Result<criu::PageMap> CheckpointMemory::page_map(const std::string& of, std::uint32_t page_bytes) {
  return page_map_in(image_dir_, of, page_bytes);
}

Result<std::optional<std::string>> CheckpointMemory::parent_of_images(const std::string& directory) const {
  const StoredFile* link = store_.find(directory + "parent");
  if (link == nullptr || link->type != FileType::symlink) return std::optional<std::string>{};
  // Relative to the directory it lies in; what leads out of the archive is not in it.
  std::vector<std::string_view> parts;
  const std::string path = directory + link->link;
  const auto leads_out = [&] {
    return Error{Errc::not_found,
                 directory + "parent: leads to " + link->link + ", which is not in this archive"};
  };
  if (link->link.starts_with('/')) return leads_out();
  for (const std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (parts.empty()) {
      return leads_out();
    } else {
      parts.pop_back();
    }
  }
  std::string parent;
  for (const std::string_view part : parts) parent.append(part).append("/");
  if (store_.find(parent + "inventory.img") == nullptr) return leads_out();
  return std::optional<std::string>(std::move(parent));
}

Result<std::shared_ptr<const criu::PageMap>> CheckpointMemory::parent_map(const std::string& directory,
                                                                          const std::string& of,
                                                                          std::uint32_t page_bytes) {
  auto parent = parent_of_images(directory);
  if (!parent) return std::move(parent).error();
  if (!*parent) return Error{Errc::not_found, directory + ": pages of a parent directory that is not named"};
  if (!last_parent_ || last_parent_->directory != **parent || last_parent_->of != of) {
    auto map = page_map_in(**parent, of, page_bytes);
    if (!map) return std::move(map).error();
    last_parent_ = ParentMap{**parent, of, std::make_shared<const criu::PageMap>(*std::move(map))};
  }
  return last_parent_->map;
}

// "Sum of present pages = size of the pages file" is all that says whether a count was read as it was
// written.
Status CheckpointMemory::check_pages(const std::string& directory, const criu::PageMap& map) const {
  const std::string name = directory + "pages-" + std::to_string(map.pages_id) + ".img";
  const StoredFile* pages = store_.find(name);
  if (pages == nullptr && map.present_pages == 0) return Done{};
  if (pages == nullptr) {
    return Error{Errc::not_found, name + ": not there, but the page map counts " +
                                      std::to_string(map.present_pages) + " pages in it"};
  }
  if (pages->size_bytes == map.present_bytes()) return Done{};
  return Error{Errc::mismatch, name + ": has " + std::to_string(pages->size_bytes) +
                                   " bytes, the page map counts " + std::to_string(map.present_bytes())};
}

Status CheckpointMemory::check(const std::string& of, const criu::PageMap& map) {
  if (map.compressed) return Error{Errc::unsupported, "compressed pages (LZ4, CRIU 3.7-dev and later)"};
  if (auto fit = check_pages(image_dir_, map); !fit) return fit;
  if (map.lazy_pages > 0) {
    return Error{Errc::not_found,
                 std::to_string(map.lazy_pages) + " pages were left on the other machine (lazy)"};
  }
  std::string directory = image_dir_;
  auto here = std::make_shared<const criu::PageMap>(map);
  for (std::size_t depth = 0; here->parent_pages > 0; ++depth) {
    if (depth >= kMaxParentImages) {
      return Error{Errc::limit,
                   "over " + std::to_string(kMaxParentImages) + " image directories behind one another"};
    }
    auto before = parent_map(directory, of, map.page_bytes);
    if (!before) return std::move(before).error();
    directory = last_parent_->directory;
    if (auto fit = check_pages(directory, **before); !fit) return fit;
    for (const criu::PageRun& run : here->runs) {
      const std::uint64_t bytes = run.pages * map.page_bytes;
      if (run.state == criu::PageRun::State::parent &&
          (*before)->bytes_in(run.address, run.address + bytes) != bytes) {
        return Error{Errc::mismatch, directory + ": lacks pages that should be in it"};
      }
    }
    here = *before;
  }
  return Done{};
}

Result<MemoryChunk> CheckpointMemory::read(const std::string& of, const criu::PageMap& map,
                                           std::uint64_t address, std::span<std::byte> into) {
  return read_in(image_dir_, map, of, address, into, 0);
}

Result<MemoryChunk> CheckpointMemory::read_in(const std::string& directory, const criu::PageMap& map,
                                              const std::string& of, std::uint64_t address,
                                              std::span<std::byte> into, std::size_t depth) {
  if (map.compressed) return Error{Errc::unsupported, "compressed pages (LZ4, CRIU 3.7-dev and later)"};
  const criu::PageRun* run = map.find(address);
  if (run == nullptr) {
    const auto next =
        std::upper_bound(map.runs.begin(), map.runs.end(), address,
                         [](std::uint64_t at, const criu::PageRun& each) { return at < each.address; });
    const std::uint64_t room = (next == map.runs.end() ? UINT64_MAX : next->address) - address;
    return MemoryChunk{static_cast<std::size_t>(std::min<std::uint64_t>(room, into.size())),
                       MemoryChunk::State::hole};
  }
  const std::uint64_t from = address - run->address;
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(run->pages * map.page_bytes - from, into.size()));
  switch (run->state) {
    case criu::PageRun::State::lazy:
      return Error{Errc::not_found, "pages that were left on the other machine (lazy)"};
    case criu::PageRun::State::parent: {
      if (depth >= kMaxParentImages)
        return Error{Errc::limit,
                     "over " + std::to_string(kMaxParentImages) + " image directories behind one another"};
      auto before = parent_map(directory, of, map.page_bytes);
      if (!before) return std::move(before).error();
      const std::shared_ptr<const criu::PageMap> kept = *before;  // a deeper one may take its place
      const std::string where = last_parent_->directory;
      auto chunk = read_in(where, *kept, of, address, into.first(size), depth + 1);
      if (chunk && chunk->state == MemoryChunk::State::hole)
        return Error{Errc::not_found, where + ": a page that should be in this directory is not"};
      return chunk;
    }
    case criu::PageRun::State::present:
      break;
  }
  const std::string name = directory + "pages-" + std::to_string(map.pages_id) + ".img";
  auto pages = store_.bytes_of(name);
  if (!pages) return std::move(pages).error();
  auto got = (*pages)->read_at(run->offset_bytes + from, into.first(size));
  if (!got) return std::move(got).error().within(name);
  if (*got < size) return Error{Errc::truncated, name + ": ends before the page"};
  return MemoryChunk{size, MemoryChunk::State::data};
}

}  // namespace ctriage::source
