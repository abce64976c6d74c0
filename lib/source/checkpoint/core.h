#pragma once
// A process of a checkpoint as an ELF core: lib/memory/SEMANTICS.md, "Of a checkpoint". Its layout is known
// from the page maps before a page is read, so that the pages of several processes can be read in the order
// in which a compressed archive has them.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/memory/finder.h"
#include "lib/memory/paths.h"
#include "lib/memory/plan.h"
#include "lib/model/memory.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {

constexpr std::size_t kMaxCoreThreads = 4'096;     // of one core: each takes 4 KiB of notes
constexpr std::size_t kMaxLostStretches = 65'536;  // of one core; of more whole mappings are told as lost
constexpr std::size_t kMaxLostReasons = 64;        // that are told apart

class CheckpointCore {
 public:
  // Which pages of the process will be in its core. `shared`: what the cores of other processes have of
  // shared objects; none: it has all of its own. Errc::not_found: no such process, or one without memory;
  // Errc::unsupported: a machine that cores are not written for, compressed pages.
  static Result<std::unique_ptr<CheckpointCore>> plan(CheckpointTasks& tasks, std::int32_t pid,
                                                      memory::SharedPages* shared, Task& task);

  // Of the memory that its data takes in the core.
  [[nodiscard]] std::uint64_t data_bytes() const { return data_bytes_; }
  // What the plan takes in memory, about.
  [[nodiscard]] std::size_t kept_bytes() const;
  // Headers and notes, with the registers of every thread: what comes first in the core.
  Status write_head(ByteSink& out, Task& task);
  // Of the whole core, after that.
  [[nodiscard]] std::uint64_t size_bytes() const { return head_bytes_ + data_bytes_; }

  // Files of the store that its pages lie in.
  [[nodiscard]] const std::set<std::string>& files() const { return files_; }
  using WriteAt = std::function<Status(std::uint64_t offset, std::span<const std::byte> bytes)>;
  // Reads the pages that lie in `file`, in order of their addresses; none: all. What cannot be read stays
  // zeros and is told by tell(); an error is one of `write`, or that it is time to end.
  Status fill(const std::optional<std::string>& file, const WriteAt& write, Task& task);
  // What each stretch is, in order, and what was lost.
  Status tell(const Emit<PageRange>& ranges, Task& task);
  // As dump_process() gives it; whole after tell().
  [[nodiscard]] const DumpedProcess& process() const { return dumped_; }

 private:
  // What of a mapping is in no run.
  enum class Rest : std::uint8_t { hole, file, guard, vsyscall, vvar, ring, missing };
  struct Beside {  // of a region, beside what Plan has
    Rest rest = Rest::hole;
    bool has_file = false;
    std::optional<std::uint32_t> object = {};  // pagemap-shmem-<this>: what is under its own pages
  };
  using Map = std::shared_ptr<const criu::PageMap>;
  struct Maps {  // held for one walk through the regions
    Map own;
    Map of_object;
    std::optional<std::uint32_t> object = {};
  };
  struct Stretch {  // pages of one page map, or of none
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    const criu::PageMap* map = nullptr;  // null: a hole
    bool of_object = false;              // else it is the process's own
    std::uint64_t from = 0;              // of `start` in it
  };
  using TakeStretch = std::function<Status(const Stretch&)>;
  struct Lost {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint32_t reason = 0;
  };
  class Teller;

  CheckpointCore(CheckpointTasks& tasks, const Process& process, std::uint32_t page_bytes)
      : tasks_(tasks), subject_(process), page_bytes_(page_bytes) {}
  Status list_regions(Task& task);
  void add_region(const criu::Vma& vma, memory::Paths& paths);
  Status find_runs(memory::SharedPages* shared, Task& task);
  void add_runs(memory::Finder& finder, std::uint32_t region, const Stretch& stretch,
                memory::SharedPages* shared);
  Result<Maps> open_maps();
  // The parts of [start, end) of a region, in order.
  Status each_stretch(Maps& maps, std::size_t region, std::uint64_t start, std::uint64_t end,
                      const TakeStretch& take);
  PageLocation locate(const Maps& maps, const Stretch& stretch, std::uint64_t address);
  void look_up(const Maps& maps, const Stretch& stretch);
  Status copy(const PageLocation& piece, std::uint64_t address, std::uint64_t core_offset,
              const WriteAt& write, Task& task);
  void lose(std::uint64_t start, std::uint64_t end, const std::string& reason);
  void add_threads(elf::Notes& notes, const criu::ThreadState& first, Task& task);
  void add_of_process(elf::Notes& notes, Task& task);
  [[nodiscard]] Gap gap_of(Impact impact, std::string_view facet, Error error) const;

  CheckpointTasks& tasks_;
  const Process& subject_;
  std::uint32_t page_bytes_;
  std::vector<std::uint64_t> auxv_;
  memory::Plan plan_;
  std::vector<Beside> beside_;  // one a region
  std::set<std::string> files_;
  std::set<std::string> broken_;  // of an archive in order: files that ended early
  std::vector<Lost> lost_;
  std::vector<std::string> reasons_;
  std::uint64_t data_bytes_ = 0;
  std::uint64_t head_bytes_ = 0;
  DumpedProcess dumped_;
};

// The pages of these into their cores, in one reading of the archive where that is possible. `cores` and
// `writes` are pairs; a write that fails ends it.
Status fill_cores(CheckpointTasks& tasks, std::span<CheckpointCore* const> cores,
                  std::span<const CheckpointCore::WriteAt> writes, Task& task);

}  // namespace ctriage::source
