#include "lib/elf/core.h"

#include <elf.h>

#include <algorithm>

namespace ctriage::elf {
namespace {

// Where the machines differ. Both are little-endian and have the same head of struct elf_prstatus: signal
// numbers and masks in 32 bytes, four ids of 4 bytes, four times of 16 bytes, then the registers.
struct Layout {
  std::uint16_t machine;
  std::size_t status_bytes;              // of struct elf_prstatus
  std::array<std::uint8_t, 6> argument;  // the place of a register among the general registers, by 8 bytes
  std::uint8_t number;
  std::uint8_t stack_pointer;
  std::uint8_t instruction_pointer;
  std::uint8_t registers;  // pr_fpvalid follows them
};
constexpr Layout kX86 = {EM_X86_64, 336, {14, 13, 12, 7, 9, 8}, 15, 19, 16, 27};  // struct user_regs_struct
constexpr Layout kArm = {EM_AARCH64, 392, {0, 1, 2, 3, 4, 5}, 8, 31, 32, 34};     // struct user_pt_regs
constexpr std::size_t kPendingOffset = 16;
constexpr std::size_t kBlockedOffset = 24;
constexpr std::size_t kIdsOffset = 32;
constexpr std::size_t kRegistersOffset = 112;
constexpr std::size_t kSignalBytes = 128;  // siginfo_t

const Layout& layout_of(Machine machine) { return machine == Machine::x86_64 ? kX86 : kArm; }

void put(std::string& out, std::uint64_t value, unsigned bytes) {
  for (unsigned shift = 0; shift < 8 * bytes; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}

void put_at(std::string& out, std::size_t offset, std::uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) out[offset + i] = static_cast<char>(value >> (8 * i) & 0xff);
}

void put_ids(std::string& out, std::initializer_list<std::int32_t> ids) {
  for (const std::int32_t id : ids) put(out, static_cast<std::uint32_t>(id), 4);
}

void put_text(std::string& out, std::string_view text, std::size_t room) {
  const std::string_view kept = text.substr(0, room - 1);
  out.append(kept).append(room - kept.size(), '\0');
}

void pad(std::string& out, std::size_t boundary) {
  out.resize((out.size() + boundary - 1) / boundary * boundary, '\0');
}

std::uint64_t rounded(std::uint64_t value, std::uint64_t boundary) {
  return (value + boundary - 1) / boundary * boundary;
}

struct ProgramHeader {
  std::uint32_t type = PT_LOAD;
  std::uint32_t flags = 0;
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t align = 0;
};

void put_header(std::string& out, const ProgramHeader& header) {
  put(out, header.type, 4);
  put(out, header.flags, 4);
  put(out, header.offset, 8);
  put(out, header.address, 8);
  put(out, header.address, 8);  // p_paddr: volatility3 maps by it, others pass it over
  put(out, header.file_bytes, 8);
  put(out, header.memory_bytes, 8);
  put(out, header.align, 8);
}

struct Places {
  std::uint64_t headers = 0;  // phdrs, that of the notes included
  bool many = false;          // more than fit into e_phnum
  std::uint64_t notes = 0;
  std::uint64_t data = 0;
};

Places places_of(std::uint64_t segments, std::uint64_t notes_bytes, std::uint64_t page_bytes) {
  Places places;
  places.headers = segments + 1;
  places.many = places.headers >= PN_XNUM;
  places.notes = sizeof(Elf64_Ehdr) + places.headers * sizeof(Elf64_Phdr) +
                 (places.many ? sizeof(Elf64_Shdr) : std::uint64_t{0});
  places.data = rounded(places.notes + notes_bytes, page_bytes);
  return places;
}

std::string file_header(const Places& places, std::uint16_t machine) {
  const std::uint64_t section = sizeof(Elf64_Ehdr) + places.headers * sizeof(Elf64_Phdr);
  std::string out = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE};
  out.resize(EI_NIDENT, '\0');
  put(out, ET_CORE, 2);
  put(out, machine, 2);
  put(out, EV_CURRENT, 4);
  put(out, 0, 8);  // e_entry
  put(out, sizeof(Elf64_Ehdr), 8);
  put(out, places.many ? section : 0, 8);
  put(out, 0, 4);  // e_flags
  put(out, sizeof(Elf64_Ehdr), 2);
  put(out, sizeof(Elf64_Phdr), 2);
  put(out, places.many ? PN_XNUM : places.headers, 2);
  put(out, places.many ? sizeof(Elf64_Shdr) : std::size_t{0}, 2);
  put(out, places.many ? 1 : 0, 2);
  put(out, SHN_UNDEF, 2);
  return out;
}

std::string section_header(const Places& places) {  // elf(5), e_phnum: sh_info of the first has the number
  std::string out(sizeof(Elf64_Shdr), '\0');
  put_at(out, offsetof(Elf64_Shdr, sh_size), 1, 8);
  put_at(out, offsetof(Elf64_Shdr, sh_info), places.headers, 4);
  return out;
}

Status write_text(ByteSink& out, std::string_view text) {
  return out.write(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

Machine native_machine() {
#if defined(__x86_64__)
  return Machine::x86_64;
#elif defined(__aarch64__)
  return Machine::aarch64;
#else
#error "cores are written for x86-64 and aarch64"
#endif
}

void Notes::add(std::uint32_t type, std::string_view desc, std::string_view name) {
  put(bytes_, name.size() + 1, 4);
  put(bytes_, desc.size(), 4);
  put(bytes_, type, 4);
  bytes_.append(name).append(1, '\0');
  pad(bytes_, 4);
  bytes_.append(desc);
  pad(bytes_, 4);
}

void Notes::add_process(const ProcessNote& process) {
  constexpr std::string_view kStates = "RSDTZW";  // their numbers in pr_state, fs/binfmt_elf.c fill_psinfo
  const std::size_t state = kStates.find(process.state);
  std::string desc;
  put(desc, state == std::string_view::npos ? 0 : state, 1);
  desc += process.state;
  put(desc, process.state == 'Z' ? 1 : 0, 1);
  put(desc, 0, 5);  // pr_nice, and the gap before pr_flag
  put(desc, process.flags, 8);
  put(desc, process.uid, 4);
  put(desc, process.gid, 4);
  put_ids(desc, {process.pid, process.ppid, process.pgrp, process.session});
  put_text(desc, process.name, 16);
  put_text(desc, process.arguments, 80);
  add(NT_PRPSINFO, desc);
}

void Notes::add_thread(const ThreadNote& thread) {
  const Layout& layout = layout_of(machine_);
  std::string desc(kIdsOffset, '\0');
  put_ids(desc, {thread.tid, thread.ppid, thread.pgrp, thread.session});
  desc.resize(layout.status_bytes, '\0');
  put_at(desc, kPendingOffset, thread.pending_signals, 8);
  put_at(desc, kBlockedOffset, thread.blocked_signals, 8);
  const auto set = [&](std::size_t place, std::uint64_t value) {
    put_at(desc, kRegistersOffset + place * 8, value, 8);
  };
  if (thread.sets) {
    const RegisterSets& sets = *thread.sets;
    for (std::size_t i = 0; i < std::min<std::size_t>(sets.general.size(), layout.registers); ++i)
      set(i, sets.general[i]);
    put_at(desc, kRegistersOffset + std::size_t{layout.registers} * 8, sets.floating.empty() ? 0 : 1, 4);
  } else if (thread.registers) {
    for (std::size_t i = 0; i < layout.argument.size(); ++i)
      set(layout.argument[i], thread.registers->arguments[i]);
    // orig_rax, x8; -1 is what the kernel has there outside of a call.
    set(layout.number, thread.registers->number.value_or(UINT64_MAX));
    set(layout.stack_pointer, thread.registers->stack_pointer);
    set(layout.instruction_pointer, thread.registers->instruction_pointer);
  }
  add(NT_PRSTATUS, desc);
  if (!thread.sets) return;
  if (!thread.sets->floating.empty()) add(NT_PRFPREG, thread.sets->floating);
  if (!thread.sets->extended.empty()) add(NT_X86_XSTATE, thread.sets->extended, kLinux);
  if (thread.sets->tls) {
    std::string tls;
    put(tls, *thread.sets->tls, 8);
    add(NT_ARM_TLS, tls, kLinux);
  }
}

void Notes::add_auxv(std::string_view bytes) { add(NT_AUXV, bytes); }

void Notes::add_signal() { add(NT_SIGINFO, std::string(kSignalBytes, '\0')); }

// count, page size, start, end and offset in pages of each, then their names, each with a NUL.
Status Notes::add_files(const std::function<void(const std::function<void(const FileNote&)>&)>& each,
                        std::uint64_t page_bytes) {
  std::uint64_t count = 0;
  std::uint64_t size = 16;
  each([&](const FileNote& file) {
    ++count;
    size += 24 + file.path.size() + 1;
  });
  if (size > kMaxFileNoteBytes)
    return Error{Errc::limit, std::to_string(count) + " mapped files are more than 16 MiB of names"};
  std::string desc;
  std::string names;
  put(desc, count, 8);
  put(desc, page_bytes, 8);
  each([&](const FileNote& file) {
    put(desc, file.start, 8);
    put(desc, file.end, 8);
    put(desc, file.offset_bytes / page_bytes, 8);
    names.append(file.path).append(1, '\0');
  });
  add(NT_FILE, desc + names);
  return Done{};
}

Result<std::uint64_t> write_head(const Notes& notes, const EachSegment& each, std::uint64_t page_bytes,
                                 ByteSink& out) {
  constexpr std::size_t kBlockBytes = 64 << 10;
  std::uint64_t segments = 0;
  each([&](const Segment&) { ++segments; });
  const Places places = places_of(segments, notes.bytes().size(), page_bytes);

  std::string block = file_header(places, layout_of(notes.machine()).machine);
  ProgramHeader of_notes;
  of_notes.type = PT_NOTE;
  of_notes.offset = places.notes;
  of_notes.file_bytes = notes.bytes().size();
  of_notes.align = 4;
  put_header(block, of_notes);
  std::uint64_t offset = places.data;
  Status written = Done{};
  each([&](const Segment& segment) {
    if (!written) return;
    ProgramHeader header;
    header.flags =
        (segment.readable ? PF_R : 0U) | (segment.writable ? PF_W : 0U) | (segment.executable ? PF_X : 0U);
    header.offset = offset;
    header.address = segment.start;
    header.file_bytes = segment.has_data ? segment.size_bytes : 0;
    header.memory_bytes = segment.size_bytes;
    header.align = page_bytes;
    put_header(block, header);
    offset += header.file_bytes;
    if (block.size() < kBlockBytes) return;
    written = write_text(out, block);
    block.clear();
  });
  if (!written) return std::move(written).error();
  if (places.many) block += section_header(places);
  block += notes.bytes();
  block.append(static_cast<std::size_t>(places.data - places.notes - notes.bytes().size()), '\0');
  if (auto done = write_text(out, block); !done) return std::move(done).error();
  return places.data;
}

}  // namespace ctriage::elf
