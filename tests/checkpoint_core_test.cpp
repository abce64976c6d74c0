// Cores of processes in checkpoints that no real archive has, and the registers in an image. What gdb says of
// real ones: tests/integration/test_checkpoint_dump.py.
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <filesystem>
#include <fstream>

#include "lib/source/checkpoint/core.h"
#include "lib/source/choose.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint32_t kCoreMagic = 0x55053847;
constexpr std::uint32_t kPresent = 4;

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string x86_core(std::uint64_t first, std::uint32_t mode = 1, bool with_xsave = true) {
  return ImageWriter(kCoreMagic)
      .entry([&](Out& out) {
        out.add_uint32(1, 1);
        {
          Out info(out, 2);
          info.add_uint64(1, 0);
          {
            Out general(info, 2);
            for (std::uint32_t field = 1; field <= 27; ++field) general.add_uint64(field, first + field);
            general.add_uint32(28, mode);
          }
          Out floating(info, 3);
          for (std::uint32_t field = 1; field <= 8; ++field) floating.add_uint64(field, 0x100 + field);
          for (std::uint32_t i = 0; i < 32; ++i) floating.add_uint32(9, 0x2000 + i);
          for (std::uint32_t i = 0; i < 64; ++i) floating.add_uint32(10, 0x3000 + i);
          if (with_xsave) {
            Out xsave(floating, 13);
            xsave.add_uint64(1, 0x2a7);
            for (std::uint32_t i = 0; i < 64; ++i) xsave.add_uint32(2, 0x4000 + i);
            for (std::uint64_t i = 0; i < 8; ++i) xsave.add_uint64(5, 0x5000 + i);
            for (std::uint64_t i = 0; i < 64; ++i) xsave.add_uint64(6, 0x6000 + i);
            for (std::uint64_t i = 0; i < 128; ++i) xsave.add_uint64(7, 0x7000 + i);
            xsave.add_uint32(8, 0x8000);
            xsave.add_uint32(8, 0);
          }
        }
        {
          Out task(out, 3);
          task.add_uint32(1, 1);
          task.add_uint32(4, 0x400100);
          task.add_uint64(5, 0x11);
          task.add_string(6, "made");
        }
        Out thread(out, 5);
        thread.add_uint64(6, 0x22);
        Out pending(thread, 9);
        Out info(pending, 1);
        info.add_bytes(1, std::string("\x0a\0\0\0rest of siginfo_t", 20));
      })
      .bytes();
}

std::string aarch64_core() {
  return ImageWriter(kCoreMagic)
      .entry([](Out& out) {
        out.add_uint32(1, 3);
        {
          Out info(out, 8);
          info.add_uint64(1, 0);
          info.add_uint64(2, 0x7175);
          {
            Out general(info, 3);
            for (std::uint64_t i = 0; i < 31; ++i) general.add_uint64(1, 0x1000 + i);
            general.add_uint64(2, 0xffff'0000);
            general.add_uint64(3, 0x40'1000);
            general.add_uint64(4, 0x6000'0000);
          }
          Out floating(info, 4);
          for (std::uint64_t i = 0; i < 64; ++i) floating.add_uint64(1, 0x9000 + i);
          floating.add_uint32(2, 5);
          floating.add_uint32(3, 6);
        }
        Out task(out, 3);
        task.add_uint32(1, 1);
        task.add_string(6, "made");
      })
      .bytes();
}

TEST(CriuRegisters, OfX86) {
  const auto state = criu::parse_thread_state(x86_core(0x1000));
  ASSERT_TRUE(state) << state.error().what;
  EXPECT_EQ(state->task_flags, 0x400100U);
  EXPECT_EQ(state->blocked_signals, 0x22U);       // the thread's, not the task's
  EXPECT_EQ(state->pending_signals, 1ULL << 9U);  // SIGUSR1
  ASSERT_TRUE(state->registers);
  const criu::Registers& registers = *state->registers;
  EXPECT_FALSE(registers.compat);
  ASSERT_EQ(registers.general.size() * 8, sizeof(user_regs_struct));
  user_regs_struct general{};
  std::memcpy(&general, registers.general.data(), sizeof general);
  EXPECT_EQ(general.r15, 0x1001U);
  EXPECT_EQ(general.rip, 0x1011U);
  EXPECT_EQ(general.rsp, 0x1014U);
  EXPECT_EQ(general.fs_base, 0x1016U);
  EXPECT_EQ(general.gs, 0x101bU);
  ASSERT_EQ(registers.floating.size(), sizeof(user_fpregs_struct));
  const auto floating = at<user_fpregs_struct>(registers.floating, 0);
  EXPECT_EQ(floating.cwd, 0x101U);
  EXPECT_EQ(floating.ftw, 0x103U);
  EXPECT_EQ(floating.rip, 0x105U);
  EXPECT_EQ(floating.mxcsr, 0x107U);
  EXPECT_EQ(floating.st_space[31], 0x201fU);
  EXPECT_EQ(floating.xmm_space[63], 0x303fU);
  // Intel's manual, volume 1, 13.4: the standard form, with the offsets that gdb has built in.
  ASSERT_EQ(registers.extended.size(), 2696U);
  EXPECT_EQ(registers.extended.substr(0, 464), registers.floating.substr(0, 464));
  EXPECT_EQ(at<std::uint64_t>(registers.extended, 464), 0x2e7U);
  EXPECT_EQ(at<std::uint64_t>(registers.extended, 512), 0x2a7U);
  EXPECT_EQ(at<std::uint32_t>(registers.extended, 576 + 252), 0x403fU);
  EXPECT_EQ(at<std::uint64_t>(registers.extended, 1088 + 56), 0x5007U);
  EXPECT_EQ(at<std::uint64_t>(registers.extended, 1152 + 504), 0x603fU);
  EXPECT_EQ(at<std::uint64_t>(registers.extended, 1664 + 1016), 0x707fU);
  EXPECT_EQ(at<std::uint32_t>(registers.extended, 2688), 0x8000U);

  const auto plain = criu::parse_thread_state(x86_core(0, 2, false));
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->registers->compat);
  EXPECT_TRUE(plain->registers->extended.empty());
}

TEST(CriuRegisters, OfAarch64) {
  const auto state = criu::parse_thread_state(aarch64_core());
  ASSERT_TRUE(state) << state.error().what;
  ASSERT_TRUE(state->registers);
  const criu::Registers& registers = *state->registers;
  ASSERT_EQ(registers.general.size(), 34U);
  EXPECT_EQ(registers.general[30], 0x101eU);
  EXPECT_EQ(registers.general[31], 0xffff'0000U);
  EXPECT_EQ(registers.general[32], 0x40'1000U);
  EXPECT_EQ(registers.general[33], 0x6000'0000U);
  ASSERT_EQ(registers.floating.size(), 528U);
  EXPECT_EQ(at<std::uint64_t>(registers.floating, 504), 0x903fU);
  EXPECT_EQ(at<std::uint32_t>(registers.floating, 512), 5U);
  EXPECT_EQ(registers.tls, 0x7175U);
  EXPECT_TRUE(registers.extended.empty());
}

TEST(CriuRegisters, EveryPrefixAndEveryByte) {
  for (const std::string& whole : {x86_core(1), aarch64_core()}) {
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_FALSE(criu::parse_thread_state(whole.substr(0, size))) << size;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const unsigned flip : {0x01U, 0x07U, 0x80U, 0xffU}) {
        std::string changed = whole;
        changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ flip);
        const auto state = criu::parse_thread_state(changed);
        if (!state || !state->registers) continue;
        EXPECT_LE(state->registers->general.size(), 34U);
        EXPECT_LE(state->registers->extended.size(), 2696U);
      }
    }
  }
}

TEST(CriuRegisters, NoneIsNotZeros) {
  const auto nothing =
      criu::parse_thread_state(ImageWriter(kCoreMagic).entry([](Out& out) { out.add_uint32(1, 1); }).bytes());
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->registers);
  const auto other =
      criu::parse_thread_state(ImageWriter(kCoreMagic).entry([](Out& out) { out.add_uint32(1, 8); }).bytes());
  ASSERT_TRUE(other);
  EXPECT_EQ(other->machine, 8U);
}

struct Made {
  std::string core;
  std::vector<PageRange> ranges;
  DumpedProcess process;
  std::string told;
  std::uint64_t lost = 0;
  std::optional<Error> refused;

  // Of PT_LOADs: by address.
  [[nodiscard]] std::string read(std::uint64_t address, std::size_t size) const {
    const auto header = at<Elf64_Ehdr>(core, 0);
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
      const auto each = at<Elf64_Phdr>(core, header.e_phoff + i * sizeof(Elf64_Phdr));
      if (each.p_type != PT_LOAD || address < each.p_vaddr || address - each.p_vaddr >= each.p_filesz)
        continue;
      return core.substr(each.p_offset + (address - each.p_vaddr), size);
    }
    return "not in the core";
  }
  [[nodiscard]] std::string state_at(std::uint64_t address) const {
    for (const PageRange& range : ranges) {
      if (range.start.value <= address && address < range.end.value)
        return std::string(enum_names(PageState{})[static_cast<std::size_t>(range.state)]) +
               (range.reason ? ": " + *range.reason : "");
    }
    return "in no range";
  }
};

struct CoreSink final : ByteSink {
  std::string& bytes;
  explicit CoreSink(std::string& into) : bytes(into) {}
  Status write(std::span<const std::byte> more) override {
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return Done{};
  }
};

// Cores of these processes, with shared objects once if there are several.
std::vector<Made> make_cores(const std::map<std::string, std::string>& files,
                             const std::vector<std::int32_t>& pids) {
  CheckpointTestTask test;
  std::vector<Made> all(pids.size());
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  EXPECT_TRUE(snapshot);
  if (!snapshot) return all;
  std::string container;
  EXPECT_TRUE((*snapshot)->list_containers(
      [&](Container&& each) {
        container = each.id;
        return Status(Done{});
      },
      test.task));
  CheckpointTasks& tasks = **(*snapshot)->tasks_of(container);
  memory::SharedPages shared;
  for (std::size_t i = 0; i < pids.size(); ++i) {
    Made& made = all[i];
    CheckpointTestTask own;
    auto core = CheckpointCore::plan(tasks, pids[i], pids.size() > 1 ? &shared : nullptr, own.task);
    if (core) {
      CoreSink sink(made.core);
      const auto head = (*core)->write_head(sink, own.task);
      if (!head) made.refused = head.error();
      if (head) {
        made.core.resize((*core)->size_bytes());
        std::vector<CheckpointCore*> cores{core->get()};
        std::vector<CheckpointCore::WriteAt> writes{
            [&made](std::uint64_t offset, std::span<const std::byte> bytes) -> Status {
              EXPECT_LE(offset + bytes.size(), made.core.size());
              std::memcpy(made.core.data() + offset, bytes.data(), bytes.size());
              return Done{};
            }};
        EXPECT_TRUE(fill_cores(tasks, cores, writes, own.task));
        EXPECT_TRUE((*core)->tell(
            [&made](PageRange&& range) {
              made.ranges.push_back(std::move(range));
              return Status(Done{});
            },
            own.task));
        made.process = (*core)->process();
      }
    } else {
      made.refused = core.error();
    }
    made.told = own.told();
    made.lost = own.gaps.count(Impact::lost);
  }
  return all;
}

const auto page_entry = [](std::uint64_t address, std::uint64_t pages, std::uint32_t flags) {
  return [=](Out& out) {
    out.add_uint64(1, address);
    out.add_uint32(4, flags);
    out.add_uint64(5, pages);
  };
};

TEST(CheckpointCore, OfAnotherMachineWithLargePages) {
  constexpr std::size_t kPage = 64 << 10;
  auto files = make_images(
      "", [](ImageWriter& map) { map.entry(page_entry(kArgAddress, 1, kPresent)); },
      std::string("made\0up\0", 8) + std::string(kPage - 8, 'x'), kPage);
  files["core-7.img"] = aarch64_core();
  const auto made = make_cores(files, {7}).front();
  ASSERT_FALSE(made.refused) << made.refused->what;
  EXPECT_EQ(made.lost, 0U) << made.told;
  const auto header = at<Elf64_Ehdr>(made.core, 0);
  EXPECT_EQ(header.e_machine, EM_AARCH64);
  EXPECT_EQ(made.read(kArgAddress, 8), std::string("made\0up\0", 8));
  EXPECT_EQ(made.process.threads_with_registers, 1U);
  EXPECT_EQ(made.process.data_bytes, kPage);
  EXPECT_EQ(made.process.mapped_bytes, 16 * kPage);
  EXPECT_EQ(made.state_at(kArgAddress), "data");
  EXPECT_EQ(made.state_at(kArgAddress + kPage), "hole");
  const auto load = at<Elf64_Phdr>(made.core, header.e_phoff + sizeof(Elf64_Phdr));
  EXPECT_EQ(load.p_align, kPage);
  EXPECT_EQ(load.p_offset % kPage, 0U);
  EXPECT_TRUE(made.ranges.front().frozen);
}

TEST(CheckpointCore, OnlyTheFirstPagesAreInTheDirectoryBefore) {
  auto files = make_images(
      "checkpoint/",
      [](ImageWriter& map) {
        map.entry(page_entry(kArgAddress, 1, kPresent));
        map.entry(page_entry(kArgAddress + 0x1000, 2, 1));  // in the parent
        map.entry(page_entry(kArgAddress + 0x5000, 1, 2));  // lazy
      },
      std::string("made\0up\0", 8) + std::string(4088, 'x'));
  files["checkpoint/core-7.img"] = x86_core(0x1000);
  files["checkpoint/parent -> ../before"] = "";
  files["before/inventory.img"] = files["checkpoint/inventory.img"];
  ImageWriter before(0x56084025);
  before.entry([](Out& out) { out.add_uint32(1, 9); });
  before.entry(page_entry(kArgAddress, 2, kPresent));  // only the first of the two that are asked for
  files["before/pagemap-7.img"] = before.bytes();
  files["before/pages-9.img"] = std::string(4096, 'o') + std::string(4096, 'p');
  const auto made = make_cores(files, {7}).front();
  ASSERT_FALSE(made.refused) << made.refused->what;
  EXPECT_EQ(made.read(kArgAddress + 0x1000, 4096), std::string(4096, 'p'));
  EXPECT_EQ(made.read(kArgAddress + 0x2000, 4096), std::string(4096, '\0'));
  EXPECT_EQ(made.read(kArgAddress + 0x5000, 4096), std::string(4096, '\0'));
  EXPECT_EQ(made.state_at(kArgAddress), "data");
  EXPECT_EQ(made.state_at(kArgAddress + 0x1fff), "data");
  EXPECT_THAT(made.state_at(kArgAddress + 0x2000), HasSubstr("unreadable: before/: a page that should be"));
  EXPECT_EQ(made.state_at(kArgAddress + 0x3000), "hole");
  EXPECT_THAT(made.state_at(kArgAddress + 0x5000),
              HasSubstr("unreadable: pages that were left on the other"));
  EXPECT_EQ(made.process.data_bytes, 0x2000U);
  EXPECT_EQ(made.process.lost_bytes, 0x2000U);
  EXPECT_EQ(made.lost, 1U) << made.told;
}

// Two processes that map an anonymous shared object, one of them at an offset.
std::map<std::string, std::string> two_that_share() {
  auto files = make_images(
      "", [](ImageWriter& map) { map.entry(page_entry(kArgAddress, 1, kPresent)); },
      std::string("made\0up\0", 8) + std::string(4088, 'x'));
  files["core-7.img"] = x86_core(0x1000);
  files["core-8.img"] = x86_core(0x2000);
  ImageWriter tree(0x50273030);
  for (const std::uint32_t pid : {7U, 8U}) {
    tree.entry([&](Out& out) {
      out.add_uint32(1, pid);
      out.add_uint32(2, pid == 7 ? 0 : 7);
      out.add_uint32(3, 7);
      out.add_uint32(4, 7);
      out.add_uint32(5, pid);
    });
    files["mm-" + std::to_string(pid) + ".img"] =
        ImageWriter(0x57492820)
            .entry([&](Out& out) {
              out.add_uint64(8, kArgAddress);
              out.add_uint64(9, kArgAddress + 8);
              out.add_uint32(12, 1);
              out.add_uint64(13, 6);
              out.add_uint64(13, 4096);
              const auto vma = [&](std::uint64_t start, std::uint64_t pages, std::uint64_t offset,
                                   std::uint64_t object, std::uint32_t flags, std::uint32_t status) {
                Out one(out, 14);
                one.add_uint64(1, start);
                one.add_uint64(2, start + pages * 4096);
                one.add_uint64(3, offset);
                one.add_uint64(4, object);
                one.add_uint32(5, 3);
                one.add_uint32(6, flags);
                one.add_uint32(7, status);
              };
              vma(kArgAddress, 2, 0, 0, 0x22, 1U << 9U);
              vma(0x8000'0000, pid == 7 ? 4 : 3, pid == 7 ? 0 : 4096, 5, 0x21, 1U << 8U);
              vma(0x9000'0000, 1, 0, 77, 0x21, 1U << 8U);  // whose image is not there
              vma(0xa000'0000, 4, 0x3000, 1, 0x2, 1U << 6U);
              vma(0xffff'ffff'ff60'0000, 1, 0, 0, 0x22, 1U << 2U);
            })
            .bytes();
  }
  files["pstree.img"] = tree.bytes();
  files["ids-8.img"] = files["ids-7.img"];
  files["fs-8.img"] = files["fs-7.img"];
  ImageWriter eight(0x56084025);
  eight.entry([](Out& out) { out.add_uint32(1, 2); });
  eight.entry(page_entry(kArgAddress, 1, kPresent));
  eight.entry(page_entry(0xa000'1000, 1, kPresent));  // a page of the file that was changed
  files["pagemap-8.img"] = eight.bytes();
  files["pages-2.img"] = std::string("made\0up\0", 8) + std::string(4088, 'x') + std::string(4096, 'c');
  ImageWriter object(0x56084025);
  object.entry([](Out& out) { out.add_uint32(1, 3); });
  object.entry(page_entry(0, 2, kPresent));
  object.entry(page_entry(0x3000, 1, kPresent));
  files["pagemap-shmem-5.img"] = object.bytes();
  files["pages-3.img"] = std::string(4096, 'A') + std::string(4096, 'B') + std::string(4096, 'D');
  return files;
}

TEST(CheckpointCore, SharedObjectsAreInEachOrOnce) {
  const auto files = two_that_share();
  const auto alone = make_cores(files, {8}).front();
  ASSERT_FALSE(alone.refused) << alone.refused->what;
  EXPECT_EQ(alone.read(0x8000'0000, 4096), std::string(4096, 'B'));  // at an offset of one page
  EXPECT_EQ(alone.state_at(0x8000'1000), "hole");                    // zeros in the object
  EXPECT_EQ(alone.read(0x8000'2000, 4096), std::string(4096, 'D'));
  EXPECT_EQ(alone.read(0xa000'1000, 4096), std::string(4096, 'c'));
  EXPECT_THAT(alone.state_at(0xa000'0000), HasSubstr("file: "));
  EXPECT_THAT(alone.state_at(0x9000'0000), HasSubstr("unreadable: "));
  EXPECT_THAT(alone.state_at(0xffff'ffff'ff60'0000), HasSubstr("device: "));
  EXPECT_EQ(alone.lost, 1U) << alone.told;

  const auto both = make_cores(files, {7, 8});
  EXPECT_EQ(both[0].read(0x8000'0000, 4096), std::string(4096, 'A'));
  EXPECT_EQ(both[0].read(0x8000'1000, 4096), std::string(4096, 'B'));
  EXPECT_EQ(both[1].read(0x8000'0000, 4096), "not in the core");
  const auto shared = std::ranges::find(both[1].ranges, PageState::shared, &PageRange::state);
  ASSERT_NE(shared, both[1].ranges.end());
  EXPECT_EQ(shared->shared_with, 7);
  EXPECT_EQ(shared->inode.value, 5U);
}

TEST(CheckpointCore, WhatCannotBeWrittenIsRefused) {
  auto files = two_that_share();
  EXPECT_EQ(make_cores(files, {99}).front().refused->code, Errc::not_found);
  files["core-8.img"] = ImageWriter(kCoreMagic)
                            .entry([](Out& out) {
                              out.add_uint32(1, 8);  // riscv64
                              Out task(out, 3);
                              task.add_uint32(1, 1);
                              task.add_string(6, "made");
                            })
                            .bytes();
  const auto other = make_cores(files, {8}).front();
  ASSERT_TRUE(other.refused);
  EXPECT_EQ(other.refused->code, Errc::unsupported);
  EXPECT_THAT(other.refused->what, HasSubstr("riscv64"));

  files = two_that_share();
  ImageWriter beyond(0x56084025);
  beyond.entry([](Out& out) { out.add_uint32(1, 2); });
  beyond.entry(page_entry(0x1000, 2, kPresent));  // in no mapping
  files["pagemap-8.img"] = beyond.bytes();
  files["pages-2.img"] = std::string(8192, 'y');
  const auto outside = make_cores(files, {8}).front();
  EXPECT_THAT(outside.told, HasSubstr("8.0 KiB of pages lie in no mapping"));
}

TEST(PidChoice, NumberOrNumberInAContainer) {
  const struct {
    const char* typed;
    std::int32_t pid;
    const char* container;
  } good[] = {{"17", 17, ""}, {"17@app", 17, "app"}, {"1@a@b", 1, "a@b"}, {"2147483647", 2'147'483'647, ""}};
  for (const auto& c : good) {
    SCOPED_TRACE(c.typed);
    const auto choice = parse_pid_choice(c.typed);
    ASSERT_TRUE(choice);
    EXPECT_EQ(choice->pid, c.pid);
    EXPECT_EQ(choice->container, c.container);
  }
  for (const char* typed : {"", "0", "-1", "x", "17@", "@app", "17 ", "2147483648", "1x@app"}) {
    SCOPED_TRACE(typed);
    EXPECT_FALSE(parse_pid_choice(typed));
  }
}

}  // namespace
}  // namespace ctriage::source
