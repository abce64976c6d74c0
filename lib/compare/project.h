#pragma once
// The lists of a snapshot as things to compare. Pids become those that the container sees, descriptors of
// sockets the socket's addresses: numbers that another run or another kind of source would give otherwise are
// not in it.
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/compare/item.h"
#include "lib/model/snapshot.h"

namespace ctriage::compare {

constexpr std::size_t kMaxKeptSockets = 65'536;    // whose addresses stand for their descriptors
constexpr std::size_t kMaxKeptMappings = 400'000;  // whose bounds are known to who reads pages

struct ListRequest {
  ComparedKind kind = ComparedKind::process;
  std::string container;
  std::int32_t pid = 0;    // as the container sees it: this process alone; 0: all
  bool by_address = true;  // mappings; else by name, for processes whose layouts have nothing in common
};

struct Bounds {  // of a mapping
  std::int32_t pid = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

class Projector {
 public:
  explicit Projector(Snapshot& snapshot) : snapshot_(snapshot) {}
  // In the order of the snapshot. The same list may be asked for again.
  Status list(const ListRequest& request, const Emit<Item>& emit, Task& task);
  // As the container sees the process; the pid itself where that is not known.
  Result<std::int32_t> inner_pid(const std::string& container, std::int32_t pid, Task& task);
  // The other way; 0: no such process.
  Result<std::int32_t> pid_of(const std::string& container, std::int32_t inner, Task& task);
  // By pid and address.
  Result<std::vector<Bounds>> list_bounds(const std::vector<std::string>& containers, Task& task);

 private:
  struct Members {
    std::unordered_map<std::int32_t, std::int32_t> inner;  // by the pid of the source
    std::map<std::string, std::uint64_t> namespaces;       // of the first process, by type
  };
  Result<const Members*> members(const std::string& container, Task& task);
  Status list_processes(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                        Task& task);
  Status list_mappings(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                       Task& task);
  Status list_descriptors(const ListRequest& request, const Members& members, const Emit<Item>& emit,
                          Task& task);
  Status list_sockets(const ListRequest& request, const Members& members, const Emit<Item>& emit, Task& task);
  Status list_files(const ListRequest& request, const Emit<Item>& emit, Task& task);
  Status list_mounts(const ListRequest& request, const Emit<Item>& emit, Task& task);
  Status list_layers(const ListRequest& request, const Emit<Item>& emit, Task& task);

  Snapshot& snapshot_;
  std::map<std::string, Members> members_;  // by container
};

// What the records say of a container itself.
Item item_of(const Container& container);
Item item_of(const FileChange& change);

}  // namespace ctriage::compare
