// The first byte chooses: an image of one kind, or a whole archive.
#include <cstddef>
#include <cstdint>

#include "lib/criu/seccomp.h"
#include "lib/model/object.h"
#include "lib/source/checkpoint/core.h"
#include "tests/checkpoint_testing.h"

namespace {

using namespace ctriage;
using namespace ctriage::source;

void each_entry(std::string_view file, criu::Kind kind) {
  auto reader = criu::ImageReader::open(file, kind);
  if (!reader) return;
  std::string_view message;
  for (auto more = reader->next(message); more && *more; more = reader->next(message)) {
    (void)criu::parse_tree_entry(message).has_value();
    (void)criu::parse_file_entry(message).has_value();
    (void)criu::parse_fd(message).has_value();
    (void)criu::parse_remap(message).has_value();
    (void)criu::parse_ghost(message).has_value();
    (void)criu::parse_ghost_chunk(message).has_value();
    (void)criu::parse_pipe_data(message).has_value();
    (void)criu::parse_tcp_stream(message).has_value();
    (void)criu::parse_ipc_segment(message).has_value();
    (void)criu::parse_ipc_queue(message).has_value();
    (void)criu::parse_ipc_message(message).has_value();
    (void)criu::parse_memfd(message).has_value();
    (void)criu::parse_mount(message).has_value();
    (void)criu::parse_tty_info(message).has_value();
    (void)criu::parse_signal_action(message, 0).has_value();
    (void)criu::parse_timers(message).has_value();
    (void)criu::parse_posix_timer(message).has_value();
    for (const auto watched : {criu::FileKind::inotify, criu::FileKind::fanotify, criu::FileKind::eventpoll})
      (void)criu::parse_watch(watched, message).has_value();
    if (const auto packet = criu::parse_packet(message); packet && !reader->take(packet->length_bytes))
      return;
    for (const auto& old : criu::old_file_images()) (void)criu::parse_old_file(old.file, message).has_value();
  }
}

// Each filter has a line for each instruction, and answers or an end of the steps.
void filters_of(std::string_view file) {
  const auto entries = criu::parse_seccomp(file);
  if (!entries) return;
  std::size_t steps = 200'000;
  for (const criu::SeccompEntry& entry : *entries) {
    const auto program = criu::parse_bpf(entry.program);
    if (!program) continue;
    for (const std::uint32_t machine : {criu::kMachineX86, criu::kMachineAarch64}) {
      if (criu::list_bpf(*program, machine).size() != program->size()) __builtin_trap();
      (void)criu::answers_of(*program, machine, steps).has_value();
    }
  }
}

struct Nobody final : ObjectVisitor {  // takes objects as their order is promised
  Status entry(ExtractedObject&&) override { return Done{}; }
  Status begin(ExtractedObject&&) override {
    at = 0;
    return Done{};
  }
  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (offset < at) __builtin_trap();
    at = offset + bytes.size();
    return Done{};
  }
  Status end(std::uint64_t size, std::optional<Error>) override {
    if (size < at) __builtin_trap();
    return Done{};
  }
  std::uint64_t at = 0;
};

struct NullSink final : ByteSink {
  Status write(std::span<const std::byte>) override { return Done{}; }
};

// Of each process; what is written lies in the core, and the ranges are in order.
void cores_of(CheckpointTasks& tasks, Task& task) {
  memory::SharedPages shared;
  for (const Process& process : tasks.processes) {
    auto core = CheckpointCore::plan(tasks, process.pid, &shared, task);
    NullSink sink;
    if (!core || !(*core)->write_head(sink, task)) continue;
    const std::uint64_t size = (*core)->size_bytes();
    const auto fill = [size](std::uint64_t offset, std::span<const std::byte> written) -> Status {
      if (offset > size || written.size() > size - offset) __builtin_trap();
      return Done{};
    };
    std::uint64_t end = 0;
    const auto range = [&end](PageRange&& told) -> Status {
      if (told.start.value < end || told.end.value <= told.start.value) __builtin_trap();
      end = told.end.value;
      return Done{};
    };
    (void)(*core)->fill(std::nullopt, fill, task).has_value();
    (void)(*core)->tell(range, task).has_value();
  }
}

void archive_of(std::string bytes) {
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(std::move(bytes), test.task);
  if (!snapshot) return;
  const auto any = [](auto&&) { return Status(Done{}); };
  const Emit<Container> one = [&](Container&& container) {
    (void)(*snapshot)->list_processes(container.id, any, test.task).has_value();
    (void)(*snapshot)->list_mappings(container.id, any, test.task).has_value();
    (void)(*snapshot)->list_descriptors(container.id, any, test.task).has_value();
    (void)(*snapshot)->list_changes(container.id, any, test.task).has_value();
    if (auto tasks = (*snapshot)->tasks_of(container.id); tasks && *tasks != nullptr)
      cores_of(**tasks, test.task);
    return Status(Done{});
  };
  (void)(*snapshot)->list_containers(one, test.task).has_value();
  ObjectQuery query;
  query.kinds.fill(true);
  Nobody nobody;
  (void)(*snapshot)->visit_objects(query, nobody, test.task).has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'a':
      archive_of(std::string(rest));
      break;
    case 'i':
      (void)criu::parse_inventory(rest).has_value();
      break;
    case 'c':
      (void)criu::parse_core(rest).has_value();
      (void)criu::parse_thread_state(rest).has_value();
      break;
    case 'm':
      (void)criu::parse_memory(rest).has_value();
      break;
    case 'g':
      (void)criu::parse_cgroups(rest).has_value();
      break;
    case 'u':
      (void)criu::parse_uts(rest).has_value();
      break;
    case 'p':
      if (const auto map = criu::parse_pagemap(rest, 4096)) {
        // Runs are in order and none lies over another.
        std::uint64_t end = 0;
        for (const criu::PageRun& run : map->runs) {
          if (run.address < end || map->find(run.address) != &run) __builtin_trap();
          end = run.address + run.pages * 4096;
        }
      }
      break;
    case 's':
      filters_of(rest);
      break;
    case 'f':
      each_entry(rest, criu::Kind::files);
      break;
    default:
      each_entry(rest, criu::Kind::pstree);
  }
  return 0;
}
