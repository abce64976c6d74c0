#include "lib/source/checkpoint/memory.h"

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

Result<std::shared_ptr<const criu::PageMap>> CheckpointMemory::kept_map_in(const std::string& directory,
                                                                           const std::string& of,
                                                                           std::uint32_t page_bytes) {
  constexpr std::size_t kMostKeptRuns = 131'072;  // one map alone may have more
  const std::pair<std::string, std::string> key(directory, of);
  if (const auto kept = kept_.find(key); kept != kept_.end() && kept->second->page_bytes == page_bytes)
    return kept->second;
  auto map = page_map_in(directory, of, page_bytes);
  if (!map) return std::move(map).error();
  if (kept_runs_ + map->runs.size() > kMostKeptRuns) {
    kept_.clear();
    kept_runs_ = 0;
  }
  kept_runs_ += map->runs.size();
  return kept_[key] = std::make_shared<const criu::PageMap>(*std::move(map));
}

Result<CheckpointMemory::ParentMap> CheckpointMemory::parent_map(const std::string& directory,
                                                                 const std::string& of,
                                                                 std::uint32_t page_bytes) {
  auto parent = parent_of_images(directory);
  if (!parent) return std::move(parent).error();
  if (!*parent) return Error{Errc::not_found, directory + ": pages of a parent directory that is not named"};
  auto map = kept_map_in(**parent, of, page_bytes);
  if (!map) return std::move(map).error();
  return ParentMap{**std::move(parent), *std::move(map)};
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
    directory = before->directory;
    if (auto fit = check_pages(directory, *before->map); !fit) return fit;
    for (const criu::PageRun& run : here->runs) {
      const std::uint64_t bytes = run.pages * map.page_bytes;
      if (run.state == criu::PageRun::State::parent &&
          before->map->bytes_in(run.address, run.address + bytes) != bytes) {
        return Error{Errc::mismatch, directory + ": lacks pages that should be in it"};
      }
    }
    here = before->map;
  }
  return Done{};
}

PageLocation CheckpointMemory::locate(const std::string& of, const criu::PageMap& map, std::uint64_t address,
                                      std::uint64_t most) {
  std::string directory = image_dir_;
  std::shared_ptr<const criu::PageMap> kept;  // of a directory before
  const criu::PageMap* here = &map;
  PageLocation found;
  found.size_bytes = most;
  const auto missing = [&found](Error why) {
    found.state = PageLocation::State::missing;
    found.why = std::move(why);
    return found;
  };
  for (std::size_t depth = 0;; ++depth) {
    if (here->compressed)
      return missing({Errc::unsupported, "compressed pages (LZ4, CRIU 3.7-dev and later)"});
    const criu::PageRun* run = here->find(address);
    if (run == nullptr) {
      found.size_bytes = std::min(found.size_bytes, here->next_after(address) - address);
      if (depth == 0) return found;
      return missing({Errc::not_found, directory + ": a page that should be in this directory is not"});
    }
    const std::uint64_t from = address - run->address;
    found.size_bytes = std::min(found.size_bytes, run->pages * here->page_bytes - from);
    if (run->state == criu::PageRun::State::lazy)
      return missing({Errc::not_found, "pages that were left on the other machine (lazy)"});
    if (run->state == criu::PageRun::State::present) {
      found.state = PageLocation::State::data;
      found.file = directory + "pages-" + std::to_string(here->pages_id) + ".img";
      found.offset_bytes = run->offset_bytes + from;
      return found;
    }
    if (depth >= kMaxParentImages)
      return missing({Errc::limit,
                      "over " + std::to_string(kMaxParentImages) + " image directories behind one another"});
    auto before = parent_map(directory, of, here->page_bytes);
    if (!before) return missing(std::move(before).error());
    directory = std::move(before->directory);
    kept = std::move(before->map);
    here = kept.get();
  }
}

Result<MemoryChunk> CheckpointMemory::read(const std::string& of, const criu::PageMap& map,
                                           std::uint64_t address, std::span<std::byte> into) {
  PageLocation found = locate(of, map, address, into.size());
  const auto size = static_cast<std::size_t>(found.size_bytes);
  if (found.state == PageLocation::State::missing) return std::move(found.why);
  if (found.state == PageLocation::State::hole) return MemoryChunk{size, MemoryChunk::State::hole};
  auto pages = store_.bytes_of(found.file);
  if (!pages) return std::move(pages).error();
  auto got = (*pages)->read_at(found.offset_bytes, into.first(size));
  if (!got) return std::move(got).error().within(found.file);
  if (*got < size) return Error{Errc::truncated, found.file + ": ends before the page"};
  return MemoryChunk{size, MemoryChunk::State::data};
}

}  // namespace ctriage::source
