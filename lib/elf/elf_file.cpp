#include "lib/elf/elf_file.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string_view>

#include "lib/core/cursor.h"
#include "lib/core/hash.h"

namespace ctriage::elf {
namespace {

using archive::BytesAt;

constexpr std::size_t kMaxPathBytes = 4'096;            // PATH_MAX
constexpr std::uint64_t kDfPie = 0x08000000;            // DF_1_PIE
constexpr std::size_t kMarkBytes = 1'024;               // where UPX has its mark: behind the program headers
constexpr std::size_t kSampleBytes = 16 << 10;          // of an executable segment, at four places
constexpr double kRandomBits = 7.2;                     // of entropy a byte; machine code has 5.5 to 6.6
constexpr std::uint64_t kSectionBlockBytes = 64 << 10;  // of the section table, read at a time
constexpr std::uint32_t kFewSampledBytes = 4'096;       // fewer say nothing

struct Header {
  std::uint16_t type = 0;
  std::uint16_t machine = 0;
  std::uint64_t entry = 0;
  std::uint64_t program_headers = 0;
  std::uint64_t section_headers = 0;
  std::uint16_t program_header_count = 0;
  std::uint64_t section_count = 0;
  std::uint64_t names_section = 0;
};
struct Program {
  std::uint32_t type = 0;
  std::uint32_t flags = 0;
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint64_t size = 0;  // in the file
};
struct Section {
  std::uint32_t name = 0;
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint32_t link = 0;
};

std::string machine_name(std::uint16_t machine, bool is_64, bool little) {
  switch (machine) {
    case EM_X86_64:
      return is_64 ? "x86_64" : "x32";
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "aarch64";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return is_64 ? "riscv64" : "riscv32";
    case EM_PPC64:
      return little ? "ppc64le" : "ppc64";
    case EM_PPC:
      return "ppc";
    case EM_S390:
      return is_64 ? "s390x" : "s390";
    case EM_MIPS:
      return std::string(is_64 ? "mips64" : "mips") + (little ? "el" : "");
    case 258:
      return "loongarch64";  // EM_LOONGARCH, not in every elf.h
    case EM_SPARC:
      return "sparc";
    case EM_SPARCV9:
      return "sparc64";
    case EM_IA_64:
      return "ia64";
    case EM_68K:
      return "m68k";
    case EM_SH:
      return "sh4";
    case EM_PARISC:
      return "parisc";
    case EM_BPF:
      return "bpf";
    default:
      return "machine-" + std::to_string(machine);
  }
}

double entropy_bits(const std::array<std::uint32_t, 256>& counts, std::uint32_t total) {
  double bits = 0;
  for (const std::uint32_t count : counts) {
    if (count == 0) continue;
    const double part = static_cast<double>(count) / static_cast<double>(total);
    bits -= part * std::log2(part);
  }
  return bits;
}

class Reader {
 public:
  Reader(BytesAt& bytes, std::string_view ident)
      : bytes_(bytes),
        is_64_(ident[EI_CLASS] == ELFCLASS64),
        order_(ident[EI_DATA] == ELFDATA2LSB ? std::endian::little : std::endian::big) {}

  Result<ElfFile> read();

 private:
  // Those that there are; what cannot be read is not there, but the first failure is kept.
  std::string take(std::uint64_t offset, std::uint64_t count);
  std::string text_at(std::uint64_t offset);
  std::uint64_t word(ByteCursor& in) const { return is_64_ ? in.u64() : in.u32(); }
  [[nodiscard]] ByteCursor cursor(std::string_view raw) const {
    return ByteCursor(std::as_bytes(std::span(raw.data(), raw.size())), order_);
  }
  bool read_header();
  void read_programs();
  void read_dynamic();
  void read_notes(std::uint64_t offset, std::uint64_t size);
  void read_sections();
  [[nodiscard]] Section parse_section(ByteCursor& in) const;
  [[nodiscard]] std::optional<std::uint64_t> offset_of(std::uint64_t address) const;
  void split_path(std::string_view text, std::vector<Bytes>& into) const;
  void tell_type();
  [[nodiscard]] bool looks_packed();

  BytesAt& bytes_;
  bool is_64_;
  std::endian order_;
  Header header_;
  std::vector<Program> programs_;
  std::uint64_t flags_ = 0;  // DT_FLAGS_1
  bool is_module_ = false;
  ElfFile file_;
  std::optional<Error> failure_;
};

std::string Reader::take(std::uint64_t offset, std::uint64_t count) {
  std::string raw(static_cast<std::size_t>(count), '\0');
  auto got = bytes_.read_at(offset, std::as_writable_bytes(std::span(raw)));
  if (!got && !failure_) failure_ = got.error();
  raw.resize(got ? *got : 0);
  return raw;
}

std::string Reader::text_at(std::uint64_t offset) {
  std::string raw = take(offset, kMaxPathBytes);
  const std::size_t end = raw.find('\0');
  return end == std::string::npos ? std::string() : raw.substr(0, end);
}

bool Reader::read_header() {
  const std::string raw = take(EI_NIDENT, sizeof(Elf64_Ehdr) - EI_NIDENT);
  ByteCursor in = cursor(raw);
  header_.type = in.u16();
  header_.machine = in.u16();
  in.u32();  // version
  header_.entry = word(in);
  header_.program_headers = word(in);
  header_.section_headers = word(in);
  in.u32();  // flags
  in.u16();  // size of this header
  const std::uint16_t program_size = in.u16();
  header_.program_header_count = in.u16();
  const std::uint16_t section_size = in.u16();
  header_.section_count = in.u16();
  header_.names_section = in.u16();
  if (!in.ok()) return false;
  // The kernel runs no file whose program headers are of another size.
  if (program_size != (is_64_ ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr))) header_.program_header_count = 0;
  if (section_size != (is_64_ ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr))) header_.section_headers = 0;
  return true;
}

void Reader::read_programs() {
  const std::size_t each = is_64_ ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
  const std::size_t most = std::min(kMaxProgramHeaderBytes, each * header_.program_header_count);
  const std::string raw = take(header_.program_headers, most);
  ByteCursor in = cursor(raw);
  while (in.left() >= each) {
    Program program;
    program.type = in.u32();
    if (is_64_) program.flags = in.u32();
    program.offset = word(in);
    program.address = word(in);
    word(in);  // physical address
    program.size = word(in);
    word(in);  // size in memory
    if (!is_64_) program.flags = in.u32();
    word(in);  // alignment
    programs_.push_back(program);
  }
}

std::optional<std::uint64_t> Reader::offset_of(std::uint64_t address) const {
  for (const Program& program : programs_)
    if (program.type == PT_LOAD && address >= program.address && address - program.address < program.size)
      return program.offset + (address - program.address);
  return std::nullopt;
}

void Reader::split_path(std::string_view text, std::vector<Bytes>& into) const {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(':'), text.size());
    if (end != 0) into.emplace_back(std::string(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void Reader::read_dynamic() {
  const auto found =
      std::find_if(programs_.begin(), programs_.end(), [](const Program& p) { return p.type == PT_DYNAMIC; });
  if (found == programs_.end()) return;
  const std::string raw = take(found->offset, std::min(found->size, kMaxDynamicBytes));
  ByteCursor in = cursor(raw);
  std::vector<std::uint64_t> needed;
  std::optional<std::uint64_t> strings;
  std::optional<std::uint64_t> soname;
  std::optional<std::uint64_t> rpath;
  std::optional<std::uint64_t> runpath;
  while (true) {
    const std::uint64_t tag = word(in);
    const std::uint64_t value = word(in);
    if (!in.ok() || tag == DT_NULL) break;
    if (tag == DT_NEEDED && needed.size() < kMaxNeeded) needed.push_back(value);
    if (tag == DT_STRTAB) strings = offset_of(value);
    if (tag == DT_SONAME) soname = value;
    if (tag == DT_RPATH) rpath = value;
    if (tag == DT_RUNPATH) runpath = value;
    if (tag == DT_FLAGS_1) flags_ = value;
  }
  if (!strings) return;
  std::size_t kept = 0;
  for (const std::uint64_t name : needed) {
    std::string text = text_at(*strings + name);
    kept += text.size();
    if (kept > kMaxDynamicBytes) break;
    if (!text.empty()) file_.needed.emplace_back(std::move(text));
  }
  if (soname) file_.soname.raw = text_at(*strings + *soname);
  if (rpath) split_path(text_at(*strings + *rpath), file_.rpath);
  if (runpath) split_path(text_at(*strings + *runpath), file_.runpath);
}

void Reader::read_notes(std::uint64_t offset, std::uint64_t size) {
  if (file_.build_id) return;
  const std::string raw = take(offset, std::min<std::uint64_t>(size, kMaxElfNoteBytes));
  ByteCursor in = cursor(raw);
  while (in.ok() && !in.at_end()) {
    const std::uint32_t name_size = in.u32();
    const std::uint32_t desc_size = in.u32();
    const std::uint32_t type = in.u32();
    const std::string_view name = in.text(name_size);
    in.align(4);
    const auto desc = in.take(desc_size);
    if (!in.ok()) return;
    if (type == NT_GNU_BUILD_ID && name == std::string_view("GNU\0", 4) && !desc.empty() &&
        desc.size() <= kMaxBuildIdBytes) {
      file_.build_id = to_hex(desc);
      return;
    }
    in.align(4);
  }
}

Section Reader::parse_section(ByteCursor& in) const {
  Section section;
  section.name = in.u32();
  section.type = in.u32();
  word(in);  // flags
  word(in);  // address
  section.offset = word(in);
  section.size = word(in);
  section.link = in.u32();
  in.u32();  // info
  word(in);  // alignment
  word(in);  // size of an entry
  return section;
}

void Reader::read_sections() {
  if (header_.section_headers == 0) return;
  const std::uint64_t each = is_64_ ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
  const std::uint64_t in_block = kSectionBlockBytes / each;
  std::string raw =
      take(header_.section_headers, each * std::clamp<std::uint64_t>(header_.section_count, 1, in_block));
  if (raw.size() < each) return;
  file_.has_sections = true;
  ByteCursor first = cursor(raw);
  const Section extended = parse_section(first);  // has what does not fit into 16 bits
  if (header_.section_count == 0) header_.section_count = extended.size;
  if (header_.names_section == SHN_XINDEX) header_.names_section = extended.link;
  header_.section_count = std::min(header_.section_count, kMaxSections);

  std::uint64_t names = 0;
  if (header_.names_section < header_.section_count) {
    const std::string header = take(header_.section_headers + header_.names_section * each, each);
    ByteCursor in = cursor(header);
    names = parse_section(in).offset;
  }
  for (std::uint64_t done = 0; done < header_.section_count; done += in_block) {
    const std::uint64_t count = std::min(in_block, header_.section_count - done);
    if (done > 0 || raw.size() < count * each)
      raw = take(header_.section_headers + done * each, count * each);
    ByteCursor in = cursor(raw);
    while (in.left() >= each) {
      const Section section = parse_section(in);
      if (section.type == SHT_SYMTAB) file_.has_symbols = true;
      if (section.type == SHT_NOTE && programs_.empty()) read_notes(section.offset, section.size);
      if (header_.type != ET_REL || is_module_ || section.type != SHT_PROGBITS || names == 0) continue;
      const std::string name = take(names + section.name, 32);
      is_module_ = name.starts_with(std::string_view(".modinfo\0", 9)) ||
                   name.starts_with(std::string_view(".gnu.linkonce.this_module\0", 26));
    }
    if (raw.size() < count * each) return;
  }
}

// A program says so by DF_1_PIE. Without, from before binutils 2.26 or made by hand, a file with a soname is
// a library (libc.so.6 has an interpreter as well), one with an interpreter is not, nor one that begins
// somewhere and has nothing for a loader.
void Reader::tell_type() {
  switch (header_.type) {
    case ET_EXEC:
      file_.type = FileType::program;
      return;
    case ET_REL:
      file_.type = is_module_ ? FileType::module : FileType::object;
      return;
    case ET_CORE:
      file_.type = FileType::core;
      return;
    case ET_DYN:
      break;
    default:
      file_.type = FileType::object;
      return;
  }
  file_.position_independent = true;
  const bool has_dynamic =
      std::any_of(programs_.begin(), programs_.end(), [](const Program& p) { return p.type == PT_DYNAMIC; });
  const bool program = (flags_ & kDfPie) != 0 || (file_.soname.empty() && file_.has_interpreter) ||
                       (!has_dynamic && header_.entry != 0);
  file_.type = program ? FileType::program : FileType::library;
}

bool Reader::looks_packed() {
  if (header_.type != ET_EXEC && header_.type != ET_DYN) return false;
  if (take(0, kMarkBytes).find("UPX!") != std::string::npos) return true;
  if (file_.has_sections) return false;
  for (const Program& program : programs_) {
    if (program.type != PT_LOAD || (program.flags & PF_X) == 0) continue;
    std::array<std::uint32_t, 256> counts{};
    std::uint32_t total = 0;
    constexpr std::uint64_t kPlaces = 4;
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      const std::uint64_t quarter = program.size / kPlaces;
      for (const char byte :
           take(program.offset + place * quarter, std::min<std::uint64_t>(quarter, kSampleBytes))) {
        ++counts[static_cast<unsigned char>(byte)];
        ++total;
      }
    }
    if (total >= kFewSampledBytes && entropy_bits(counts, total) > kRandomBits) return true;
  }
  return false;
}

Result<ElfFile> Reader::read() {
  if (!read_header()) {
    if (failure_) return *failure_;
    return Error{Errc::malformed, "ELF header: cut short"};
  }
  file_.is_64 = is_64_;
  file_.machine = machine_name(header_.machine, is_64_, order_ == std::endian::little);
  read_programs();
  for (const Program& program : programs_) {
    if (program.type == PT_NOTE) read_notes(program.offset, program.size);
    if (program.type != PT_INTERP || file_.has_interpreter) continue;
    file_.has_interpreter = true;
    file_.interpreter.raw = take(program.offset, std::min<std::uint64_t>(program.size, kMaxPathBytes));
    file_.interpreter.raw.resize(std::min(file_.interpreter.raw.find('\0'), file_.interpreter.raw.size()));
  }
  read_dynamic();
  read_sections();
  tell_type();
  file_.packed = looks_packed();
  return std::move(file_);
}

}  // namespace

bool is_elf(std::span<const std::byte> first) {
  const std::string_view head = to_text(first);
  return head.size() >= EI_NIDENT && head.starts_with(ELFMAG) &&
         (head[EI_CLASS] == ELFCLASS32 || head[EI_CLASS] == ELFCLASS64) &&
         (head[EI_DATA] == ELFDATA2LSB || head[EI_DATA] == ELFDATA2MSB);
}

Result<ElfFile> read_elf(BytesAt& bytes) {
  std::array<std::byte, EI_NIDENT> ident{};
  auto got = bytes.read_at(0, ident);
  if (!got) return std::move(got).error();
  if (!is_elf(std::span(ident).first(*got))) return Error{Errc::malformed, "no ELF file"};
  return Reader(bytes, to_text(ident)).read();
}

}  // namespace ctriage::elf
