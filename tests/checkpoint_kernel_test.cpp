// Signals, timers, seccomp filters and watches of checkpoints, written here; how complete they say they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "lib/core/limits.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kDir = "checkpoint/";

struct Seen {
  std::vector<Container> containers;
  std::vector<Process> processes;
  std::vector<Thread> threads;
  std::vector<Descriptor> descriptors;
  std::map<std::string, Coverage> rows;
  std::string told;
};

Seen look(const std::map<std::string, std::string>& files) {
  CheckpointTestTask test;
  Seen seen;
  const auto into = [](auto& list) {
    return [&list](auto&& item) {
      list.push_back(std::move(item));
      return Status(Done{});
    };
  };
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  EXPECT_TRUE(snapshot);
  if (!snapshot) return seen;
  EXPECT_TRUE((*snapshot)->list_containers(into(seen.containers), test.task));
  const std::string id = seen.containers.at(0).id;
  EXPECT_TRUE((*snapshot)->list_processes(id, into(seen.processes), test.task));
  EXPECT_TRUE((*snapshot)->list_threads(id, into(seen.threads), test.task));
  EXPECT_TRUE((*snapshot)->list_descriptors(id, into(seen.descriptors), test.task));
  for (const auto& [what, coverage] : (*snapshot)->completeness()) seen.rows[what] = coverage;
  seen.told = test.told();
  return seen;
}

std::map<std::string, std::string> plain() {
  std::string page("made\0up\0", 8);
  page.resize(4096, 'x');
  return make_images(
      kDir,
      [](ImageWriter& map) {
        map.entry([](Out& out) { out.add_uint64(1, kArgAddress), out.add_uint64(5, 1); });
      },
      page);
}

// core-7.img with what `task` and `thread` add.
void put_core(
    std::map<std::string, std::string>& files, const std::function<void(Out&)>& task,
    const std::function<void(Out&)>& thread = [](Out&) {}) {
  files[kDir + "core-7.img"] = ImageWriter(0x55053847)
                                   .entry([&](Out& out) {
                                     out.add_uint32(1, 1);
                                     Out part(out, 3);
                                     part.add_uint32(1, 1);
                                     part.add_string(6, "made");
                                     task(part);
                                     part.commit();
                                     Out own(out, 5);
                                     thread(own);
                                     own.commit();
                                   })
                                   .bytes();
}

void add_action(Out& task, std::uint32_t field, std::uint64_t handler, std::uint64_t flags = 0) {
  Out action(task, field);
  action.add_uint64(1, handler);
  action.add_uint64(2, flags);
  action.commit();
}

TEST(CheckpointKernel, SignalsInOrderOfTheirNumbers) {
  auto files = plain();
  put_core(files, [](Out& task) {
    task.add_uint64(5, 0x4002);
    for (std::uint32_t i = 0; i < 62; ++i) {  // all but 9 and 19
      const std::uint32_t signal = i < 8 ? i + 1 : i < 17 ? i + 2 : i + 3;
      add_action(task, 15, signal == 13 ? 1 : signal == 15 || signal == 64 ? 0x401000 + signal : 0, signal);
    }
  });
  const auto seen = look(files);
  ASSERT_EQ(seen.processes.size(), 1U);
  ASSERT_TRUE(seen.processes[0].signals);
  const Signals& signals = *seen.processes[0].signals;
  EXPECT_EQ(signals.blocked.value, 0x4002U);
  EXPECT_EQ(signals.ignored.value, 1U << 12);
  EXPECT_EQ(signals.caught.value, 1U << 14 | std::uint64_t{1} << 63);
  ASSERT_EQ(signals.handlers.size(), 2U);
  EXPECT_EQ(signals.handlers[0].signal, 15U);
  EXPECT_EQ(signals.handlers[0].handler.value, 0x40100fU);
  EXPECT_EQ(signals.handlers[0].flags.value, 15U);
  EXPECT_EQ(signals.handlers[1].signal, 64U);
}

TEST(CheckpointKernel, TooManySignalsAreDamage) {
  auto files = plain();
  put_core(files, [](Out& task) {
    for (int i = 0; i < 63; ++i) add_action(task, 15, 0);
  });
  EXPECT_THAT(look(files).told, HasSubstr("over 62"));
}

TEST(CheckpointKernel, SignalsThatAreNotThereAreNotNone) {
  auto files = plain();
  EXPECT_FALSE(look(files).processes.at(0).signals);
}

void add_interval(Out& out, std::uint32_t field, std::vector<std::uint64_t> parts) {
  Out timer(out, field);
  for (std::uint32_t i = 0; i < parts.size(); ++i) timer.add_uint64(i + 1, parts[i]);
}

TEST(CheckpointKernel, Timers) {
  auto files = plain();
  put_core(files, [](Out& task) {
    Out timers(task, 7);
    add_interval(timers, 1, {2, 500'000, 1, 250});
    add_interval(timers, 2, {0, 0, 0, 0});
    add_interval(timers, 3, {UINT64_MAX, 0, 1, 0});
    Out posix(timers, 4);
    posix.add_uint32(1, 5);
    posix.add_uint32(2, 1);
    posix.add_uint32(3, 34);
    posix.add_uint32(4, 4);
    posix.add_uint64(8, 30);
    posix.add_uint64(9, 2);
    posix.add_uint64(10, 7);
    posix.add_int32(11, 9);
  });
  const auto seen = look(files);
  const auto& timers = seen.processes.at(0).timers;
  ASSERT_EQ(timers.size(), 3U);
  EXPECT_EQ(timers[0].kind, "real");
  EXPECT_EQ(timers[0].signal, 14U);
  EXPECT_EQ(timers[0].interval_ns, 2'500'000'000U);
  EXPECT_EQ(timers[0].remaining_ns, 1'000'250'000U);
  EXPECT_EQ(timers[1].kind, "prof");
  EXPECT_EQ(timers[1].interval_ns, UINT64_MAX);
  EXPECT_EQ(timers[2].kind, "posix");
  EXPECT_EQ(timers[2].id, 5);
  EXPECT_EQ(timers[2].clock, 1);
  EXPECT_EQ(timers[2].signal, 34U);
  EXPECT_EQ(timers[2].notify, "signal");
  EXPECT_EQ(timers[2].tid, 9);
  EXPECT_EQ(timers[2].interval_ns, 30U);
  EXPECT_EQ(timers[2].remaining_ns, 2'000'000'007U);
}

// CRIU before 2.0.
TEST(CheckpointKernel, ImagesOfTheirOwn) {
  auto files = plain();
  ImageWriter actions(0x55344201);
  for (std::uint32_t i = 0; i < 62; ++i)
    actions.entry([&](Out& out) { out.add_uint64(1, i == 8 ? 0x5000 : 0), out.add_uint64(2, 0); });
  files[kDir + "sigacts-7.img"] = actions.bytes();
  ImageWriter intervals(0x57464056);
  for (int i = 0; i < 3; ++i)
    intervals.entry([&](Out& out) { out.add_uint64(1, 0), out.add_uint64(3, i == 1 ? 4 : 0); });
  files[kDir + "itimers-7.img"] = intervals.bytes();
  files[kDir + "posix-timers-7.img"] =
      ImageWriter(0x52603957).entry([](Out& out) { out.add_uint32(1, 3), out.add_uint32(4, 1); }).bytes();
  const auto seen = look(files);
  ASSERT_TRUE(seen.processes.at(0).signals);
  ASSERT_EQ(seen.processes[0].signals->handlers.size(), 1U);
  EXPECT_EQ(seen.processes[0].signals->handlers[0].signal, 10U);
  ASSERT_EQ(seen.processes[0].timers.size(), 2U);
  EXPECT_EQ(seen.processes[0].timers[0].kind, "virtual");
  EXPECT_EQ(seen.processes[0].timers[0].remaining_ns, 4'000'000'000U);
  EXPECT_EQ(seen.processes[0].timers[1].notify, "none");
  EXPECT_THAT(seen.told, Not(HasSubstr("checkpoint.unread")));
}

std::string seccomp_image(const std::vector<std::optional<std::uint32_t>>& previous) {
  return ImageWriter(0x64413049)
      .entry([&](Out& out) {
        for (const auto& before : previous) {
          Out filter(out, 1);
          filter.add_bytes(1, std::string("\x06\0\0\0\0\0\xff\x7f", 8));
          if (before) filter.add_uint32(2, *before);
        }
      })
      .bytes();
}

TEST(CheckpointKernel, ChainsOfFilters) {
  const struct {
    const char* name;
    std::vector<std::optional<std::uint32_t>> previous;
    std::uint32_t last;
    std::vector<std::uint32_t> chain;
  } cases[] = {
      {"one", {std::nullopt}, 0, {0}},
      {"two, of three", {std::nullopt, std::nullopt, 0}, 2, {2, 0}},
      {"the order turned round", {1, std::nullopt}, 0, {0, 1}},
      {"a ring ends", {1, 0}, 0, {0, 1}},
      {"one that is not there", {7}, 0, {0}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto files = plain();
    put_core(
        files, [](Out&) {}, [&](Out& thread) { thread.add_uint32(11, 2), thread.add_uint32(12, c.last); });
    files[kDir + "seccomp.img"] = seccomp_image(c.previous);
    const auto seen = look(files);
    EXPECT_EQ(seen.threads.at(0).seccomp_filters, c.chain);
    EXPECT_EQ(seen.processes.at(0).seccomp_filters, c.chain.size());
    EXPECT_EQ(seen.processes.at(0).seccomp, 2);
    ASSERT_EQ(seen.containers.at(0).seccomp_filters.size(), c.previous.size());
    const SeccompFilter& filter = seen.containers[0].seccomp_filters[0];
    EXPECT_EQ(filter.otherwise, "allow");
    EXPECT_EQ(filter.other_machines, "allow");
    EXPECT_THAT(filter.rules, IsEmpty());
    EXPECT_THAT(filter.listing, ElementsAre("0: return allow"));
  }
}

// What try_use_tsync() of CRIU leaves out.
TEST(CheckpointKernel, ThreadsWithTheFirstOnesFilters) {
  for (const bool tsync : {true, false}) {
    SCOPED_TRACE(tsync);
    auto files = plain();
    files[kDir + "pstree.img"] = ImageWriter(0x50273030)
                                     .entry([](Out& out) {
                                       for (const std::uint32_t field : {1U, 3U, 4U, 5U})
                                         out.add_uint32(field, 7);
                                       out.add_uint32(5, 8);
                                     })
                                     .bytes();
    put_core(
        files, [](Out&) {}, [](Out& thread) { thread.add_uint32(11, 2), thread.add_uint32(12, 0); });
    files[kDir + "core-8.img"] =
        ImageWriter(0x55053847).entry([](Out& out) { out.add_uint32(1, 1); }).bytes();
    files[kDir + "seccomp.img"] = ImageWriter(0x64413049)
                                      .entry([&](Out& out) {
                                        Out filter(out, 1);
                                        filter.add_bytes(1, std::string("\x06\0\0\0\0\0\xff\x7f", 8));
                                        filter.add_uint32(3, tsync ? 1 : 2);
                                      })
                                      .bytes();
    const auto seen = look(files);
    ASSERT_EQ(seen.threads.size(), 2U) << seen.told;
    EXPECT_EQ(seen.threads[0].seccomp_filters, std::vector<std::uint32_t>{0});
    EXPECT_EQ(seen.threads[1].seccomp_filters.size(), tsync ? 1U : 0U);
  }
}

TEST(CheckpointKernel, FiltersThatAreNotThere) {
  auto files = plain();
  const auto with = [&](std::uint32_t last) {
    put_core(
        files, [](Out&) {}, [&](Out& thread) { thread.add_uint32(11, 2), thread.add_uint32(12, last); });
  };
  with(0);
  EXPECT_THAT(look(files).told, HasSubstr("what the seccomp filters say is not known"));
  with(4);
  files[kDir + "seccomp.img"] = seccomp_image({std::nullopt});
  EXPECT_THAT(look(files).told, HasSubstr("filter 4: thread 7 has it"));
  files[kDir + "seccomp.img"] = ImageWriter(0x64413049)
                                    .entry([](Out& out) {
                                      Out filter(out, 1);
                                      filter.add_bytes(1, "abc");
                                    })
                                    .bytes();
  EXPECT_THAT(look(files).told, HasSubstr("filter 0: a BPF program of 3 bytes"));
}

// Entries of files.img and a descriptor of each.
void put_files(std::map<std::string, std::string>& files,
               const std::vector<std::pair<std::uint32_t, std::function<void(Out&)>>>& members) {
  ImageWriter image(0x56303138);
  ImageWriter fds(0x56213732);
  constexpr std::uint32_t kMembers[] = {0,  3,  18, 17, 4,  16, 8,  9,  13, 10, 6,
                                        19, 14, 7,  5,  11, 15, 12, 20, 21, 22};
  std::uint32_t id = 0;
  for (const auto& [type, fill] : members) {
    ++id;
    image.entry([&, kind = type, &body = fill](Out& out) {
      out.add_uint32(1, kind);
      out.add_uint32(2, id);
      Out member(out, kMembers[kind]);
      member.add_uint32(1, id);
      body(member);
    });
    fds.entry([&, kind = type](Out& out) {
      out.add_uint32(1, id), out.add_uint32(3, kind), out.add_uint32(4, id + 10);
    });
  }
  files[kDir + "files.img"] = image.bytes();
  files[kDir + "fdinfo-3.img"] = fds.bytes();
}

TEST(CheckpointKernel, WatchesMapsAndTerminals) {
  auto files = plain();
  files[kDir + "mountpoints-4.img"] =
      ImageWriter(0x55563928)
          .entry([](Out& out) { out.add_uint32(2, 77), out.add_string(7, "./data"); })
          .bytes();
  put_files(files, {{1, [](Out& out) { out.add_string(6, "/dev/pts/0"); }},
                    {8,
                     [](Out& out) {
                       out.add_uint32(2, 04000);
                       Out watch(out, 5);
                       watch.add_uint32(1, 2);
                       watch.add_uint64(2, 4711);
                       watch.add_uint32(3, 0x300);
                       watch.add_uint32(5, 8U << 20 | 3);
                       Out handle(watch, 7);
                       handle.add_string(4, "/etc");
                     }},
                    {12,
                     [](Out& out) {
                       Out mark(out, 6);
                       mark.add_uint32(4, 0x20);
                       Out mount(mark, 8);
                       mount.add_uint32(1, 77);
                     }},
                    {7,
                     [](Out& out) {
                       Out target(out, 4);
                       target.add_uint32(2, 11);
                       target.add_uint32(3, 1);
                       target.add_uint64(6, 99);
                     }},
                    {19,
                     [](Out& out) {
                       out.add_uint32(2, 2);
                       out.add_uint32(6, 1);
                       out.add_uint32(7, 4);
                       out.add_uint32(8, 16);
                       out.add_uint32(9, 12);
                       out.add_uint32(10, 1024);
                       out.add_bool(14, true);
                     }},
                    {11, [](Out& out) { out.add_uint32(2, 1), out.add_uint32(5, 1); }}});
  const auto seen = look(files);
  ASSERT_EQ(seen.descriptors.size(), 6U) << seen.told;
  ASSERT_EQ(seen.descriptors[1].watches.size(), 1U);
  const Watch& inotify = seen.descriptors[1].watches[0];
  EXPECT_EQ(seen.descriptors[1].flags.value, 04000U);
  EXPECT_EQ(inotify.kind, "inotify");
  EXPECT_EQ(inotify.path.raw, "/etc");
  EXPECT_EQ(inotify.events.value, 0x300U);
  EXPECT_EQ(inotify.inode.value, 4711U);
  EXPECT_EQ(inotify.device.value, std::uint64_t{8} << 32 | 3);
  ASSERT_EQ(seen.descriptors[2].watches.size(), 1U);
  EXPECT_EQ(seen.descriptors[2].watches[0].kind, "fanotify mount");
  EXPECT_EQ(seen.descriptors[2].watches[0].path.raw, "/data");
  ASSERT_EQ(seen.descriptors[3].watches.size(), 1U);
  EXPECT_EQ(seen.descriptors[3].watches[0].kind, "epoll");
  EXPECT_EQ(seen.descriptors[3].watches[0].fd, 11);
  ASSERT_TRUE(seen.descriptors[4].bpf_map);
  EXPECT_EQ(seen.descriptors[4].bpf_map->type, 1U);
  EXPECT_EQ(seen.descriptors[4].bpf_map->value_bytes, 16U);
  EXPECT_EQ(seen.descriptors[4].bpf_map->max_entries, 1024U);
  EXPECT_EQ(seen.descriptors[4].bpf_map->frozen, true);
  EXPECT_EQ(seen.descriptors[5].target.raw, "/dev/pts/0");
  EXPECT_THAT(seen.descriptors[5].watches, IsEmpty());
}

TEST(CheckpointKernel, WatchesOfTheirOwnImages) {
  auto files = plain();
  put_files(files, {{8, [](Out& out) { out.add_uint32(2, 0); }}});
  files[kDir + "inotify-wd.img"] =
      ImageWriter(0x54562009)
          .entry([](Out& out) { out.add_uint32(1, 1), out.add_uint64(2, 5), out.add_uint32(3, 2); })
          .entry([](Out& out) { out.add_uint32(1, 44), out.add_uint64(2, 6); })  // of none that is open
          .bytes();
  const auto seen = look(files);
  ASSERT_EQ(seen.descriptors.size(), 1U);
  ASSERT_EQ(seen.descriptors[0].watches.size(), 1U);
  EXPECT_EQ(seen.descriptors[0].watches[0].inode.value, 5U);
}

TEST(CheckpointKernel, WatchesHaveALimit) {
  auto files = plain();
  put_files(files, {{8, [](Out& out) {
                       for (std::size_t i = 0; i <= kMaxCriuWatches; ++i) {
                         Out watch(out, 5);
                         watch.add_uint64(2, i);
                       }
                     }}});
  const auto seen = look(files);
  EXPECT_THAT(seen.told, HasSubstr("over 65536 watches"));
}

TEST(CheckpointComplete, RowsSayWhatIsThere) {
  auto files = plain();
  auto rows = look(files).rows;
  EXPECT_EQ(rows["memory"].level, Coverage::Level::whole);
  EXPECT_EQ(rows["memory"].why, "1 page = size of pages-1.img");
  EXPECT_EQ(rows["program text"].level, Coverage::Level::none);
  EXPECT_EQ(rows["deleted files"].why, "none was open");
  EXPECT_EQ(rows["network"].why, "no tcp connection was open; interfaces and routes are not in the archive");
  EXPECT_EQ(rows["changed files"].level, Coverage::Level::none);

  files[kDir + "pages-1.img"].resize(100);
  rows = look(files).rows;
  EXPECT_EQ(rows["memory"].level, Coverage::Level::part);
  EXPECT_EQ(rows["mappings"].level, Coverage::Level::part);

  files = plain();
  add_ghost(files,
            ImageWriter(0x52583605).entry([](Out& out) { out.add_uint32(3, 0100755); }).bytes() + "text");
  EXPECT_THAT(look(files).rows["deleted files"].why, HasSubstr("1 ghost file, "));
  files.erase(kDir + "ghost-file-1.img");
  rows = look(files).rows;
  EXPECT_EQ(rows["deleted files"].level, Coverage::Level::part);
  EXPECT_THAT(rows["deleted files"].why, HasSubstr("the content of 1 more is not there"));
}

// Every prefix of each new image ends in a result or a gap.
TEST(CheckpointKernel, ImagesCutShort) {
  auto files = plain();
  put_core(
      files,
      [](Out& task) {
        add_action(task, 15, 0x401000);
        Out timers(task, 7);
        add_interval(timers, 1, {1, 2, 3, 4});
      },
      [](Out& thread) { thread.add_uint32(11, 2), thread.add_uint32(12, 0); });
  put_files(files, {{8, [](Out& out) {
                       Out watch(out, 5);
                       watch.add_uint64(2, 4711);
                     }}});
  files[kDir + "seccomp.img"] = seccomp_image({std::nullopt});
  for (const std::string name : {"core-7.img", "files.img", "seccomp.img"}) {
    const std::string whole = files[kDir + name];
    for (std::size_t size = 0; size < whole.size(); ++size) {
      constexpr std::size_t kMagics = 8;
      if (name == "files.img" && size == kMagics) continue;  // an image may have no entry
      SCOPED_TRACE(name + " of " + std::to_string(size) + " bytes");
      files[kDir + name] = whole.substr(0, size);
      EXPECT_THAT(look(files).told, HasSubstr(name));
    }
    files[kDir + name] = whole;
  }
}

}  // namespace
}  // namespace ctriage::source
