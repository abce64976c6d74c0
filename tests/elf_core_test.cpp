#include <elf.h>
#include <gtest/gtest.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <cstring>

#include "lib/elf/core.h"

namespace ctriage::elf {
namespace {

struct StringSink final : ByteSink {
  std::string bytes;
  std::size_t room = SIZE_MAX;
  Status write(std::span<const std::byte> more) override {
    if (more.size() > room - bytes.size()) return Error{Errc::full, "full"};
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return Done{};
  }
};

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

constexpr std::uint64_t kPage = 4096;

struct Note {
  std::uint32_t type = 0;
  std::string desc;
};

std::vector<Note> notes_of(std::string_view bytes) {
  std::vector<Note> notes;
  while (!bytes.empty()) {
    const auto header = at<Elf64_Nhdr>(std::string(bytes.substr(0, sizeof(Elf64_Nhdr))), 0);
    EXPECT_EQ(bytes.substr(sizeof header, 5), std::string_view("CORE\0", 5));
    const std::size_t desc = sizeof header + 8;
    notes.push_back({header.n_type, std::string(bytes.substr(desc, header.n_descsz))});
    bytes.remove_prefix(desc + (header.n_descsz + 3) / 4 * 4);
  }
  return notes;
}

#if defined(__x86_64__)
// The structures of the C library are the oracle.
TEST(ElfCore, NotesAreTheKernelsStructures) {
  Notes notes(Machine::x86_64);
  notes.add_process(
      {'S', 0x400100, 1000, 1001, 7, 6, 5, 4, "a name of 22 characters", std::string(200, 'x')});
  CallRegisters registers{{202}, {1, 2, 3, 4, 5, 6}, 0x7ffc0, 0x40100};
  notes.add_thread({7, 6, 5, 4, registers});
  notes.add_thread({8, 6, 5, 4, {}});
  notes.add_auxv("sixteen bytes...");
  notes.add_signal();
  const auto found = notes_of(notes.bytes());
  ASSERT_EQ(found.size(), 5U);

  ASSERT_EQ(found[0].type, static_cast<std::uint32_t>(NT_PRPSINFO));
  ASSERT_EQ(found[0].desc.size(), sizeof(elf_prpsinfo));
  const auto process = at<elf_prpsinfo>(found[0].desc, 0);
  EXPECT_EQ(process.pr_state, 1);
  EXPECT_EQ(process.pr_sname, 'S');
  EXPECT_EQ(process.pr_zomb, 0);
  EXPECT_EQ(process.pr_flag, 0x400100U);
  EXPECT_EQ(process.pr_uid, 1000U);
  EXPECT_EQ(process.pr_gid, 1001U);
  EXPECT_EQ(process.pr_pid, 7);
  EXPECT_EQ(process.pr_ppid, 6);
  EXPECT_EQ(process.pr_pgrp, 5);
  EXPECT_EQ(process.pr_sid, 4);
  EXPECT_STREQ(process.pr_fname, "a name of 22 ch");
  EXPECT_EQ(std::string(process.pr_psargs), std::string(79, 'x'));

  ASSERT_EQ(found[1].type, static_cast<std::uint32_t>(NT_PRSTATUS));
  ASSERT_EQ(found[1].desc.size(), sizeof(elf_prstatus));
  const auto thread = at<elf_prstatus>(found[1].desc, 0);
  EXPECT_EQ(thread.pr_cursig, 0);
  EXPECT_EQ(thread.pr_pid, 7);
  EXPECT_EQ(thread.pr_sid, 4);
  user_regs_struct general{};
  static_assert(sizeof general == sizeof thread.pr_reg);
  std::memcpy(&general, thread.pr_reg, sizeof general);
  EXPECT_EQ(general.orig_rax, 202U);
  EXPECT_EQ(general.rdi, 1U);
  EXPECT_EQ(general.rsi, 2U);
  EXPECT_EQ(general.rdx, 3U);
  EXPECT_EQ(general.r10, 4U);
  EXPECT_EQ(general.r8, 5U);
  EXPECT_EQ(general.r9, 6U);
  EXPECT_EQ(general.rsp, 0x7ffc0U);
  EXPECT_EQ(general.rip, 0x40100U);
  EXPECT_EQ(general.rbp, 0U);
  const auto other = at<elf_prstatus>(found[2].desc, 0);
  EXPECT_EQ(other.pr_pid, 8);
  user_regs_struct none{};
  std::memcpy(&none, other.pr_reg, sizeof none);
  EXPECT_EQ(none.orig_rax, 0U);
  EXPECT_EQ(none.rip, 0U);
  EXPECT_EQ(found[3].desc, "sixteen bytes...");
  EXPECT_EQ(found[4].desc.size(), sizeof(siginfo_t));
}
#endif

TEST(ElfCore, AnotherMachineIsATable) {
  Notes notes(Machine::aarch64);
  notes.add_thread({1, 0, 0, 0, CallRegisters{{98}, {1, 2, 3, 4, 5, 6}, 0xffff0, 0x10000}});
  const auto found = notes_of(notes.bytes());
  ASSERT_EQ(found.size(), 1U);
  ASSERT_EQ(found[0].desc.size(), 392U);  // 112 + 34 registers + pr_fpvalid, padded
  const auto word = [&](std::size_t place) { return at<std::uint64_t>(found[0].desc, 112 + place * 8); };
  EXPECT_EQ(word(0), 1U);
  EXPECT_EQ(word(5), 6U);
  EXPECT_EQ(word(8), 98U);
  EXPECT_EQ(word(31), 0xffff0U);
  EXPECT_EQ(word(32), 0x10000U);
  StringSink out;
  ASSERT_TRUE(write_head(
      notes, [](const TakeSegment&) {}, kPage, out));
  EXPECT_EQ(at<Elf64_Ehdr>(out.bytes, 0).e_machine, EM_AARCH64);
}

TEST(ElfCore, FilesOrNone) {
  Notes notes(Machine::x86_64);
  const auto two = [](const std::function<void(const FileNote&)>& take) {
    take({0x1000, 0x3000, 0x2000, "/bin/a b"});
    take({0x8000, 0x9000, 0, "/lib/c"});
  };
  ASSERT_TRUE(notes.add_files(two, kPage));
  const auto found = notes_of(notes.bytes());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].type, static_cast<std::uint32_t>(NT_FILE));
  const std::uint64_t expected[] = {2, kPage, 0x1000, 0x3000, 2, 0x8000, 0x9000, 0};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(at<std::uint64_t>(found[0].desc, i * 8), expected[i]) << i;
  EXPECT_EQ(found[0].desc.substr(64), std::string("/bin/a b\0/lib/c\0", 16));

  const std::string before(notes.bytes());
  const std::string name(4096, 'n');
  const auto many = [&](const std::function<void(const FileNote&)>& take) {
    for (int i = 0; i < 5000; ++i) take({0, 0, 0, name});
  };
  const auto refused = notes.add_files(many, kPage);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::limit);
  EXPECT_EQ(notes.bytes(), before);
}

EachSegment segments(std::uint64_t count) {
  return [count](const TakeSegment& take) {
    for (std::uint64_t i = 0; i < count; ++i) {
      take({0x10000 + i * 2 * kPage, kPage * (1 + i % 2), i % 2 == 0, true, i % 3 == 0, i % 5 == 0});
    }
  };
}

TEST(ElfCore, HeadersTellWhereTheDataWillLie) {
  for (const std::uint64_t count : {0U, 1U, 2U, 65'533U, 65'534U, 65'535U, 262'144U}) {
    SCOPED_TRACE(count);
    Notes notes(Machine::x86_64);
    notes.add_thread({1, 0, 0, 0, {}});
    StringSink out;
    const auto data = write_head(notes, segments(count), kPage, out);
    ASSERT_TRUE(data);
    EXPECT_EQ(*data, out.bytes.size());
    EXPECT_EQ(*data % kPage, 0U);
    const auto header = at<Elf64_Ehdr>(out.bytes, 0);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(header.e_ident), 4), ELFMAG);
    EXPECT_EQ(header.e_ident[EI_CLASS], ELFCLASS64);
    EXPECT_EQ(header.e_type, ET_CORE);
    EXPECT_EQ(header.e_phoff, sizeof header);
    std::uint64_t headers = header.e_phnum;
    if (count + 1 >= PN_XNUM) {
      EXPECT_EQ(header.e_phnum, PN_XNUM);
      ASSERT_EQ(header.e_shnum, 1);
      EXPECT_EQ(header.e_shentsize, sizeof(Elf64_Shdr));
      const auto section = at<Elf64_Shdr>(out.bytes, header.e_shoff);
      EXPECT_EQ(section.sh_type, static_cast<std::uint32_t>(SHT_NULL));
      headers = section.sh_info;
    } else {
      EXPECT_EQ(header.e_shoff, 0U);
    }
    ASSERT_EQ(headers, count + 1);
    const auto of_notes = at<Elf64_Phdr>(out.bytes, sizeof header);
    EXPECT_EQ(of_notes.p_type, static_cast<std::uint32_t>(PT_NOTE));
    EXPECT_EQ(out.bytes.substr(of_notes.p_offset, of_notes.p_filesz), notes.bytes());
    std::uint64_t offset = *data;
    std::uint64_t index = 0;
    segments(count)([&](const Segment& segment) {
      const auto load = at<Elf64_Phdr>(out.bytes, sizeof header + ++index * sizeof(Elf64_Phdr));
      ASSERT_EQ(load.p_type, static_cast<std::uint32_t>(PT_LOAD));
      ASSERT_EQ(load.p_vaddr, segment.start);
      ASSERT_EQ(load.p_paddr, segment.start);
      ASSERT_EQ(load.p_memsz, segment.size_bytes);
      ASSERT_EQ(load.p_filesz, segment.has_data ? segment.size_bytes : 0);
      ASSERT_EQ(load.p_offset, offset);
      ASSERT_EQ(load.p_offset % kPage, load.p_vaddr % kPage);
      ASSERT_EQ((load.p_flags & PF_R) != 0, segment.readable);
      ASSERT_EQ((load.p_flags & PF_W) != 0, segment.writable);
      ASSERT_EQ((load.p_flags & PF_X) != 0, segment.executable);
      offset += load.p_filesz;
    });
  }
}

TEST(ElfCore, AFullDiskEndsIt) {
  Notes notes(Machine::x86_64);
  notes.add_thread({1, 0, 0, 0, {}});
  for (const std::size_t room : {0U, 100'000U}) {
    StringSink out;
    out.room = room;
    const auto data = write_head(notes, segments(10'000), kPage, out);
    ASSERT_FALSE(data);
    EXPECT_EQ(data.error().code, Errc::full);
  }
}

}  // namespace
}  // namespace ctriage::elf
