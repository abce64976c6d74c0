#pragma once
// Memory of the processes in an image directory: page maps, pages, and the directories before it that a page
// may be left in (`parent`, made by pre-dumps).
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "lib/criu/criu.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

struct MemoryChunk {
  enum class State : std::uint8_t {
    data,
    hole,  // not dumped: zeros of anonymous memory, or unchanged pages of a mapped file
  };
  std::size_t size_bytes = 0;  // short where the state changes; 0 only for an empty buffer
  State state = State::hole;
};

// Where bytes at an address lie.
struct PageLocation {
  enum class State : std::uint8_t {
    data,
    hole,     // not dumped, as of MemoryChunk
    missing,  // it should be there: `why`
  };
  State state = State::hole;
  std::uint64_t size_bytes = 0;  // of one state
  std::string file = {};         // in the store
  std::uint64_t offset_bytes = 0;
  Error why = {};
};

class CheckpointMemory {
 public:
  CheckpointMemory(CheckpointStore& store, std::string image_dir)
      : store_(store), image_dir_(std::move(image_dir)) {}

  // pagemap-<of>.img of this directory: `of` is a pid, or "shmem-<id>" of shared memory, whose addresses are
  // offsets.
  Result<criu::PageMap> page_map(const std::string& of, std::uint32_t page_bytes);
  // The same for who comes back to it: kept while there is room.
  Result<std::shared_ptr<const criu::PageMap>> kept_map(const std::string& of, std::uint32_t page_bytes) {
    return kept_map_in(image_dir_, of, page_bytes);
  }
  // Up to into.size() bytes of one state at `address`; `map` is the page map of `of` here. Errc::not_found,
  // truncated: pages that should be there and are not.
  Result<MemoryChunk> read(const std::string& of, const criu::PageMap& map, std::uint64_t address,
                           std::span<std::byte> into);
  // Where these bytes lie, through all directories; of `most` at most. Nothing is read but page maps.
  PageLocation locate(const std::string& of, const criu::PageMap& map, std::uint64_t address,
                      std::uint64_t most);
  // Whether every page of the map lies where it says: the first that does not is the error.
  Status check(const std::string& of, const criu::PageMap& map);
  // The image directory before `directory`, of the link `parent` in it; nothing: there is no link.
  // Errc::not_found where it leads to nothing in this archive.
  Result<std::optional<std::string>> parent_of_images(const std::string& directory) const;

 private:
  struct ParentMap {
    std::string directory;
    std::shared_ptr<const criu::PageMap> map;
  };
  Result<criu::PageMap> page_map_in(const std::string& directory, const std::string& of,
                                    std::uint32_t page_bytes);
  Result<std::shared_ptr<const criu::PageMap>> kept_map_in(const std::string& directory,
                                                           const std::string& of, std::uint32_t page_bytes);
  Result<ParentMap> parent_map(const std::string& directory, const std::string& of, std::uint32_t page_bytes);
  Status check_pages(const std::string& directory, const criu::PageMap& map) const;

  CheckpointStore& store_;
  std::string image_dir_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const criu::PageMap>> kept_;
  std::size_t kept_runs_ = 0;
};

}  // namespace ctriage::source
