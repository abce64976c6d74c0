#pragma once
// What a file is by its bytes: Content of lib/model/content.h. Nothing of it is believed but what the kernel,
// a loader or a virtual machine would go by itself.
#include <cstdint>
#include <span>
#include <string_view>

#include "lib/archive/bytes_at.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"
#include "lib/core/values.h"
#include "lib/model/content.h"

namespace ctriage::elf {

// `name` is the file's, for what bytes alone do not tell: a compressed kernel module is one by its name
// (x.ko.xz). Damaged files are told as far as they can be: ELF with nothing in it, or `data`. An error only
// where reading fails; then the kind is unknown.
Result<Content> read_content(archive::BytesAt& bytes, std::string_view name = {});

// The same from a source that is read in order, to its end: the first kContentHeadBytes are kept, then what
// the program headers and the header of the sections name, kContentKeptBytes in all. What lies elsewhere is
// missing: names of libraries in a file whose string table is far from its beginning.
Result<Content> read_content(ByteSource& in, std::string_view name = {});
constexpr std::size_t kContentHeadBytes = 1 << 20;
constexpr std::size_t kContentKeptBytes = 2 << 20;

// All bytes are in memory: a caller's span.
Content parse_content(std::span<const std::byte> bytes, std::string_view name = {});

// The program a script runs: what #! names, or what env(1) would start where that is named:
// "#!/usr/bin/env -S LANG=C python3 -u" is python3. Empty where there is none.
Bytes program_of_script(const Content& content);

// Bytes in memory, which stay with the caller, by their offset.
class MemoryBytes final : public archive::BytesAt {
 public:
  explicit MemoryBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override;
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace ctriage::elf
