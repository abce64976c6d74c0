#pragma once
// What an ELF file says of itself, elf(5), as the kernel and the loader would read it: by program headers.
// Sections, which neither of them looks at, tell of symbols and of kernel modules only.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage::elf {

enum class FileType : std::uint8_t { program, library, module, object, core };

struct ElfFile {
  FileType type = FileType::object;
  std::string machine;  // as uname(2) names it where it does; machine-N of those we have no name for
  bool is_64 = true;
  bool position_independent = false;  // ET_DYN
  bool has_interpreter = false;       // PT_INTERP
  Bytes interpreter;
  std::vector<Bytes> needed;   // DT_NEEDED in its order
  Bytes soname;                // DT_SONAME
  std::vector<Bytes> rpath;    // DT_RPATH, one directory each; the loader ignores it beside a runpath
  std::vector<Bytes> runpath;  // DT_RUNPATH
  std::optional<std::string> build_id;  // NT_GNU_BUILD_ID, hexadecimal
  bool has_sections = false;            // a section table that lies in the file
  bool has_symbols = false;             // SHT_SYMTAB
  bool packed = false;                  // UPX's mark, or executable bytes like random ones and no sections
};

// Is it ELF at all? The four bytes and a header of a known class and byte order.
bool is_elf(std::span<const std::byte> first);

// Errc::malformed for what is no ELF file, io and the like where reading fails. Whatever lies out of the
// file, or is more than the limits below, is as if it were not there: what else there is, is told.
Result<ElfFile> read_elf(archive::BytesAt& bytes);

constexpr std::size_t kMaxProgramHeaderBytes = 64 << 10;  // the kernel's own limit, fs/binfmt_elf.c
constexpr std::uint64_t kMaxSections = 131'072;           // a kernel module of many functions has thousands
constexpr std::uint64_t kMaxDynamicBytes = 64 << 10;      // entries of PT_DYNAMIC that are read
constexpr std::size_t kMaxNeeded = 512;                   // shared libraries of one file
constexpr std::size_t kMaxElfNoteBytes = 64 << 10;        // of one note segment
constexpr std::size_t kMaxBuildIdBytes = 64;              // a SHA-1 is 20

}  // namespace ctriage::elf
