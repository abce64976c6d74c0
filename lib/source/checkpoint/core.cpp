#include "lib/source/checkpoint/core.h"

#include <algorithm>
#include <array>

#include "lib/core/text.h"

namespace ctriage::source {
namespace {

using Vma = criu::Vma;

// Shared objects are told apart by CRIU's numbers; all of them are on this device.
constexpr std::uint64_t kObjects = 1;
constexpr std::size_t kBlockBytes = 256 << 10;

std::string map_name(std::uint32_t object) { return "shmem-" + std::to_string(object); }

}  // namespace

Gap CheckpointCore::gap_of(Impact impact, std::string_view facet, Error error) const {
  return {impact, std::string("memory.").append(facet), "pid " + std::to_string(subject_.pid),
          std::move(error)};
}

std::size_t CheckpointCore::kept_bytes() const {
  return plan_.regions.size() * (sizeof(memory::Region) + sizeof(Beside)) +
         plan_.runs.size() * sizeof(memory::Run);
}

Result<std::unique_ptr<CheckpointCore>> CheckpointCore::plan(CheckpointTasks& tasks, std::int32_t pid,
                                                             memory::SharedPages* shared, Task& task) {
  const std::string name = "pid " + std::to_string(pid);
  const auto process = std::ranges::find(tasks.processes, pid, &Process::pid);
  const auto about = std::ranges::find(tasks.tasks_, static_cast<std::uint32_t>(pid), &CheckpointTask::pid);
  if (process == tasks.processes.end() || about == tasks.tasks_.end())
    return Error{Errc::not_found, name + ": not in this checkpoint"};
  if (!about->has_memory) {
    return Error{Errc::not_found, name + (process->state == "Z" ? ": had ended, so it has no memory"
                                                                : ": its mappings could not be read")};
  }
  std::unique_ptr<CheckpointCore> core(new CheckpointCore(tasks, *process, about->page_bytes));
  core->dumped_.pid = pid;
  core->dumped_.exe = process->exe.path;
  core->dumped_.frozen = true;
  if (auto listed = core->list_regions(task); !listed) return std::move(listed).error().within(name);
  if (auto found = core->find_runs(shared, task); !found) return std::move(found).error().within(name);
  core->plan_.each_segment([&](const elf::Segment& segment) {
    ++core->dumped_.segments;
    core->dumped_.mapped_bytes += segment.size_bytes;
    if (segment.has_data) core->data_bytes_ += segment.size_bytes;
  });
  return core;
}

Status CheckpointCore::list_regions(Task& task) {
  const std::string name = "mm-" + std::to_string(subject_.pid) + ".img";
  auto text = tasks_.store_.read(tasks_.dir_ + name, kMaxCriuImageBytes);
  if (!text) return std::move(text).error();
  auto memory = criu::parse_memory(*text);
  if (!memory) return std::move(memory).error().within(name);
  text = std::string();
  auxv_ = std::move(memory->auxv);
  std::vector<Vma>& vmas = memory->vmas;
  std::ranges::stable_sort(vmas, {}, &Vma::start);
  memory::Paths paths(plan_.paths);
  std::uint64_t over = 0;
  std::uint64_t beyond = 0;
  for (Vma vma : vmas) {
    if (!plan_.regions.empty() && vma.start < plan_.regions.back().end) {
      ++over;
      const std::uint64_t end = plan_.regions.back().end;
      if (vma.end <= end) continue;
      vma.offset_bytes += end - vma.start;
      vma.start = end;
    }
    if (plan_.regions.size() >= memory::kMaxMappings) {
      ++beyond;
      continue;
    }
    add_region(vma, paths);
  }
  if (over > 0)
    task.gaps.add(gap_of(Impact::degraded, "mappings",
                         {Errc::malformed, counted(over, "mapping lies", "mappings lie") +
                                               " over the one before: what is new of it is taken"}));
  if (beyond > 0)
    task.gaps.add(gap_of(Impact::lost, "mappings",
                         {Errc::limit, with_commas(beyond) + " mappings beyond " +
                                           with_commas(memory::kMaxMappings) + " were not read"}));
  if (paths.left_out() > 0)
    task.gaps.add(gap_of(Impact::degraded, "mappings",
                         {Errc::limit, std::to_string(paths.left_out()) +
                                           " mappings stand without their paths, which are over 16 MiB"}));
  return Done{};
}

void CheckpointCore::add_region(const Vma& vma, memory::Paths& paths) {
  const Mapping mapping = tasks_.mapping_of(vma);
  const auto is = [&vma](std::uint32_t bits) { return (vma.status & bits) != 0; };
  Beside beside;
  const bool file = is(Vma::file_private | Vma::file_shared) && !is(Vma::memfd);
  beside.has_file = mapping.path.view().starts_with('/') && !is(Vma::aio_ring);
  if (file) beside.rest = Rest::file;
  if (is(Vma::guard)) beside.rest = Rest::guard;
  if (is(Vma::vsyscall)) beside.rest = Rest::vsyscall;
  if (is(Vma::vvar)) beside.rest = Rest::vvar;
  if (is(Vma::socket)) beside.rest = Rest::ring;
  if (is(Vma::memfd | Vma::anonymous_shared | Vma::sysv)) {
    // The first System V segment of an IPC namespace has the number 0.
    const std::uint32_t id = is(Vma::sysv) ? static_cast<std::uint32_t>(vma.object) : tasks_.shared_of(vma);
    const bool known = (is(Vma::sysv) || id != 0) && tasks_.has("pagemap-" + map_name(id) + ".img");
    const bool fits = vma.offset_bytes <= UINT64_MAX - (vma.end - vma.start);
    beside.rest = known && fits ? Rest::hole : Rest::missing;
    if (known && fits) beside.object = id;
  }
  memory::Region region;
  region.start = vma.start;
  region.end = vma.end;
  region.offset_bytes = beside.object || beside.has_file ? vma.offset_bytes : 0;
  region.inode = beside.object.value_or(0);
  std::copy_n(mapping.protection.begin(), region.protection.size(), region.protection.begin());
  region.path = paths.place(mapping.path.raw);
  plan_.regions.push_back(region);
  beside_.push_back(beside);
}

Result<CheckpointCore::Maps> CheckpointCore::open_maps() {
  auto own = tasks_.memory_.kept_map(std::to_string(subject_.pid), page_bytes_);
  if (!own) return std::move(own).error();
  if ((*own)->compressed) return Error{Errc::unsupported, "compressed pages (LZ4, CRIU 3.7-dev and later)"};
  Maps maps;
  maps.own = *std::move(own);
  return maps;
}

// The pages of the process itself, and under them those of the object that is mapped.
Status CheckpointCore::each_stretch(Maps& maps, std::size_t region, std::uint64_t start, std::uint64_t end,
                                    const TakeStretch& take) {
  const memory::Region& of = plan_.regions[region];
  const auto& object = beside_[region].object;
  if (object && maps.object != object) {
    auto map = tasks_.memory_.kept_map(map_name(*object), page_bytes_);
    if (!map) return std::move(map).error();
    maps.of_object = *std::move(map);
    maps.object = object;
  }
  const auto part = [](const criu::PageMap& map, std::uint64_t at, std::uint64_t most) {
    const criu::PageRun* run = map.find(at);
    const std::uint64_t until =
        run == nullptr ? map.next_after(at) : run->address + run->pages * map.page_bytes;
    return std::pair(run != nullptr, std::min(most, until - at));
  };
  for (std::uint64_t at = start; at < end;) {
    auto [there, size] = part(*maps.own, at, end - at);
    Stretch stretch{at, at + size, there ? maps.own.get() : nullptr, false, at};
    if (!there && object) {
      stretch.from = of.offset_bytes + (at - of.start);
      std::tie(there, size) = part(*maps.of_object, stretch.from, size);
      stretch.end = at + size;
      if (there) stretch.map = maps.of_object.get();
      stretch.of_object = there;
    }
    if (auto taken = take(stretch); !taken) return taken;
    at = stretch.end;
  }
  return Done{};
}

PageLocation CheckpointCore::locate(const Maps& maps, const Stretch& stretch, std::uint64_t address) {
  return tasks_.memory_.locate(stretch.of_object ? map_name(*maps.object) : std::to_string(subject_.pid),
                               *stretch.map, stretch.from + (address - stretch.start), stretch.end - address);
}

Status CheckpointCore::find_runs(memory::SharedPages* shared, Task& task) {
  auto maps = open_maps();
  if (!maps) return std::move(maps).error();
  const memory::PlanOptions options;
  memory::Finder finder(plan_, options, subject_.pid);
  std::uint64_t own_bytes = 0;
  for (std::uint32_t region = 0; region < plan_.regions.size(); ++region) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const memory::Region& of = plan_.regions[region];
    auto walked = each_stretch(*maps, region, of.start, of.end, [&](const Stretch& stretch) -> Status {
      if (stretch.map == nullptr) return Done{};
      if (!stretch.of_object) own_bytes += stretch.end - stretch.start;
      look_up(*maps, stretch);
      add_runs(finder, region, stretch, shared);
      return Done{};
    });
    if (walked) continue;
    // The map of the object is there and cannot be read: its own pages without that.
    task.gaps.add(gap_of(Impact::lost, "pages", std::move(walked).error()));
    beside_[region].object.reset();
    beside_[region].rest = Rest::missing;
    --region;
  }
  finder.tell(task.gaps);
  std::uint64_t all_bytes = 0;
  for (const criu::PageRun& run : maps->own->runs) all_bytes += run.pages * page_bytes_;
  if (all_bytes > own_bytes)
    task.gaps.add(
        gap_of(Impact::lost, "pages",
               {Errc::mismatch, human_size(all_bytes - own_bytes) +
                                    " of pages lie in no mapping: not in the core; search reads them"}));
  return Done{};
}

void CheckpointCore::add_runs(memory::Finder& finder, std::uint32_t region, const Stretch& stretch,
                              memory::SharedPages* shared) {
  const auto add = [&](std::uint64_t start, std::uint64_t end, std::int32_t shared_with) {
    const bool ours = shared_with == 0 || shared_with == subject_.pid;
    finder.add(
        {start, end, region, ours ? 0 : shared_with, ours ? PageState::data : PageState::shared, true});
  };
  if (shared == nullptr || !stretch.of_object) return add(stretch.start, stretch.end, 0);
  const std::uint64_t base = stretch.start - stretch.from;  // may wrap, and does so back
  const std::uint32_t object = *beside_[region].object;
  for (const auto& part : shared->claim(kObjects, object, stretch.from,
                                        stretch.from + (stretch.end - stretch.start), subject_.pid))
    add(part.start + base, part.end + base, part.pid);
}

// Which files have it; what is in none is lost already.
void CheckpointCore::look_up(const Maps& maps, const Stretch& stretch) {
  for (std::uint64_t at = stretch.start; at < stretch.end;) {
    const PageLocation piece = locate(maps, stretch, at);
    if (piece.state == PageLocation::State::missing) lose(at, at + piece.size_bytes, piece.why.what);
    if (piece.state == PageLocation::State::data) files_.insert(piece.file);
    at += piece.size_bytes;
  }
}

Status CheckpointCore::fill(const std::optional<std::string>& file, const WriteAt& write, Task& task) {
  auto maps = open_maps();
  if (!maps) return std::move(maps).error();
  std::uint64_t core_offset = head_bytes_;
  for (const memory::Run& run : plan_.runs) {
    if (run.state != PageState::data) continue;
    auto walked = each_stretch(*maps, run.region, run.start, run.end, [&](const Stretch& stretch) -> Status {
      if (stretch.map == nullptr) return Done{};
      for (std::uint64_t at = stretch.start; at < stretch.end;) {
        const PageLocation piece = locate(*maps, stretch, at);
        if (piece.state == PageLocation::State::data && (!file || piece.file == *file)) {
          auto copied = copy(piece, at, core_offset + (at - run.start), write, task);
          if (!copied) return copied;
        }
        at += piece.size_bytes;
      }
      return Done{};
    });
    if (!walked) return walked;
    core_offset += run.end - run.start;
  }
  return Done{};
}

Status CheckpointCore::copy(const PageLocation& piece, std::uint64_t address, std::uint64_t core_offset,
                            const WriteAt& write, Task& task) {
  if (broken_.contains(piece.file)) {
    lose(address, address + piece.size_bytes, piece.file + ": could not be read further");
    return Done{};
  }
  auto bytes = tasks_.store_.bytes_of(piece.file);
  std::vector<std::byte> block(
      static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, piece.size_bytes)));
  for (std::uint64_t done = 0; done < piece.size_bytes;) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const auto room = std::span(block).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), piece.size_bytes - done)));
    auto got = bytes ? (*bytes)->read_at(piece.offset_bytes + done, room)
                     : Result<std::size_t>(std::move(bytes).error());
    if (!got || *got == 0) {
      if (auto go_on = task.check(); !go_on) return go_on;
      lose(address + done, address + piece.size_bytes,
           piece.file + ": " + (got ? "ends before the page" : got.error().what));
      // Of a compressed archive trying again is reading all of it again.
      if (tasks_.store_.is_in_order()) broken_.insert(piece.file);
      return Done{};
    }
    if (auto written = write(core_offset + done, room.first(*got)); !written) return written;
    task.passed(*got);
    done += *got;
  }
  return Done{};
}

void CheckpointCore::lose(std::uint64_t start, std::uint64_t end, const std::string& reason) {
  auto known = std::ranges::find(reasons_, reason);
  if (known == reasons_.end() && reasons_.size() < kMaxLostReasons)
    known = reasons_.insert(reasons_.end(), reason);
  if (known == reasons_.end()) --known;
  const auto number = static_cast<std::uint32_t>(known - reasons_.begin());
  if (!lost_.empty() && lost_.back().end == start && lost_.back().reason == number) {
    lost_.back().end = end;
    return;
  }
  if (lost_.size() >= kMaxLostStretches) {  // rather too much than too little
    const auto of = std::ranges::upper_bound(plan_.regions, start, {}, &memory::Region::start);
    if (of != plan_.regions.begin()) end = std::prev(of)->end;
    if (lost_.back().end >= end && lost_.back().start <= start) return;
    lost_.back().start = std::min(lost_.back().start, start);
    lost_.back().end = std::max(lost_.back().end, end);
    return;
  }
  lost_.push_back({start, end, number});
}

Status fill_cores(CheckpointTasks& tasks, std::span<CheckpointCore* const> cores,
                  std::span<const CheckpointCore::WriteAt> writes, Task& task) {
  if (!tasks.is_in_order()) {
    for (std::size_t i = 0; i < cores.size(); ++i) {
      if (auto filled = cores[i]->fill(std::nullopt, writes[i], task); !filled) return filled;
    }
    return Done{};
  }
  std::set<std::string> names;
  for (const CheckpointCore* core : cores) names.insert(core->files().begin(), core->files().end());
  std::vector<std::string> files(names.begin(), names.end());
  std::ranges::stable_sort(files, {}, [&](const std::string& name) { return tasks.place_of(name); });
  for (const std::string& file : files) {
    for (std::size_t i = 0; i < cores.size(); ++i) {
      if (!cores[i]->files().contains(file)) continue;
      if (auto filled = cores[i]->fill(file, writes[i], task); !filled) return filled;
    }
  }
  return Done{};
}

}  // namespace ctriage::source
