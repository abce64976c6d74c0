#include "lib/elf/content.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "lib/core/cursor.h"
#include "lib/elf/elf_file.h"

namespace ctriage::elf {
namespace {

using archive::BytesAt;
using namespace std::string_view_literals;

constexpr std::size_t kFirstBytes = 4'096;     // enough for all but ELF and zip
constexpr std::size_t kScriptLineBytes = 256;  // BINPRM_BUF_SIZE, what the kernel looks at
constexpr std::size_t kMaxZipEntries = 64;     // looked at for a manifest or a class
constexpr std::size_t kMaxZipNameBytes = 512;

Content content_of(const ElfFile& file) {
  Content content;
  switch (file.type) {
    case FileType::program:
      content.kind = ContentKind::elf_program;
      break;
    case FileType::library:
      content.kind = ContentKind::elf_library;
      break;
    case FileType::module:
      content.kind = ContentKind::elf_module;
      break;
    case FileType::object:
      content.kind = ContentKind::elf_object;
      break;
    case FileType::core:
      content.kind = ContentKind::elf_core;
      break;
  }
  content.runnable = file.type != FileType::object && file.type != FileType::core;
  content.machine = file.machine;
  if (file.type == FileType::program) {
    const bool dynamic = file.has_interpreter;
    if (file.position_independent)
      content.linkage = dynamic ? "pie" : "static-pie";
    else
      content.linkage = dynamic ? "dynamic" : "static";
  }
  content.interpreter = file.interpreter;
  content.needed = file.needed;
  content.soname = file.soname;
  content.build_id = file.build_id;
  content.stripped = !file.has_symbols && file.type != FileType::core;
  content.packed = file.packed;
  return content;
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
    text.remove_suffix(1);
  return text;
}

// execve(2) "Interpreter scripts": #! blanks, interpreter, blanks, one argument up to the end of the line.
std::optional<Content> parse_script(std::string_view head) {
  if (!head.starts_with("#!"sv)) return std::nullopt;
  std::string_view line = head.substr(2, kScriptLineBytes - 2);
  line = trim_blanks(line.substr(0, std::min(line.find_first_of("\n\0"sv), line.size())));
  if (line.empty()) return std::nullopt;
  Content content;
  content.kind = ContentKind::script;
  content.runnable = true;
  const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
  content.interpreter.raw = line.substr(0, end);
  content.interpreter_argument.raw = trim_blanks(line.substr(end));
  return content;
}

bool is_class_file(std::string_view head) {  // JVMS 4.1; a fat Mach-O has a small count where the version is
  if (!head.starts_with("\xca\xfe\xba\xbe"sv)) return false;
  ByteCursor in(std::as_bytes(std::span(head.data(), head.size())), std::endian::big);
  in.u32();
  in.u16();
  const std::uint16_t major = in.u16();
  return in.ok() && major >= 45 && major < 256;
}

// A version of the interpreter and "\r\n", then flags or times, then a code object of marshal: at 8 in 2.x,
// 12 from 3.3, 16 from 3.7 on (PEP 552).
bool is_python_bytecode(std::string_view head) {
  if (head.size() < 9 || head[2] != '\r' || head[3] != '\n') return false;
  const unsigned version = static_cast<unsigned char>(head[0]) | unsigned{static_cast<unsigned char>(head[1])}
                                                                     << 8;
  const bool three = version >= 3'000 && version < 4'000;
  const bool two = version >= 50'823 && version < 62'300;
  const auto is_code = [&](std::size_t at) { return head.size() > at && (head[at] & '\x7f') == 'c'; };
  return (two && is_code(8)) || (three && (is_code(8) || is_code(12) || is_code(16)));
}

// The local headers at the beginning, APPNOTE 4.3.7: jar(1) has the manifest first.
Result<bool> is_java_archive(BytesAt& bytes) {
  std::uint64_t offset = 0;
  for (std::size_t entry = 0; entry < kMaxZipEntries; ++entry) {
    std::array<std::byte, 30 + kMaxZipNameBytes> raw{};
    auto got = bytes.read_at(offset, raw);
    if (!got) return std::move(got).error();
    ByteCursor in{std::span(raw).first(*got)};
    if (in.u32() != 0x04034b50) return false;
    in.u16();
    const bool size_follows = (in.u16() & 8) != 0;
    in.take(10);  // method, time, date, checksum
    const std::uint32_t packed_bytes = in.u32();
    in.u32();
    const std::uint16_t name_bytes = in.u16();
    const std::uint16_t extra_bytes = in.u16();
    const std::string_view name = in.text(name_bytes);
    if (!in.ok()) return false;
    if (name == "META-INF/MANIFEST.MF"sv || name.ends_with(".class"sv)) return true;
    if (size_follows && packed_bytes == 0) return false;
    offset += 30U + name_bytes + extra_bytes + packed_bytes;
  }
  return false;
}

Result<bool> is_pe(BytesAt& bytes, std::string_view head) {  // PE format, "Signature": its offset is at 0x3c
  if (!head.starts_with("MZ"sv) || head.size() < 64) return false;
  ByteCursor in(std::as_bytes(std::span(head.data(), head.size())));
  in.take(0x3c);
  std::array<std::byte, 4> signature{};
  auto got = bytes.read_at(in.u32(), signature);
  if (!got) return std::move(got).error();
  return to_text(std::span(signature).first(*got)) == "PE\0\0"sv;
}

bool is_compressed_module(std::string_view head, std::string_view name) {
  using archive::Compression;
  const auto compression = archive::find_compression(std::as_bytes(std::span(head.data(), head.size())));
  return (name.ends_with(".ko.xz"sv) && compression == Compression::xz) ||
         (name.ends_with(".ko.zst"sv) && compression == Compression::zstd) ||
         (name.ends_with(".ko.gz"sv) && compression == Compression::gzip);
}

Content runnable(ContentKind kind) {
  Content content;
  content.kind = kind;
  content.runnable = true;
  return content;
}

Content plain(ContentKind kind) {
  Content content;
  content.kind = kind;
  return content;
}

// What was kept of a source that was read in order. What was not is not in the file, to a reader.
class KeptParts final : public BytesAt {
 public:
  struct Part {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::string raw{};
  };
  explicit KeptParts(std::vector<Part> parts) : parts_(std::move(parts)) {}
  void feed(std::uint64_t offset, std::string_view block) {
    for (Part& part : parts_) {
      const std::uint64_t next = part.offset + part.raw.size();
      if (part.raw.size() == part.size || next < offset || next - offset >= block.size()) continue;
      const std::string_view rest = block.substr(static_cast<std::size_t>(next - offset));
      part.raw.append(rest.substr(0, static_cast<std::size_t>(part.size - part.raw.size())));
    }
  }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    std::size_t most = 0;
    for (const Part& part : parts_) {
      if (offset < part.offset || offset - part.offset >= part.raw.size()) continue;
      const std::size_t at = static_cast<std::size_t>(offset - part.offset);
      const std::size_t count = std::min(into.size(), part.raw.size() - at);
      if (count <= most) continue;
      std::memcpy(into.data(), part.raw.data() + at, count);
      most = count;
    }
    return most;
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }

 private:
  std::vector<Part> parts_;
};

Result<std::size_t> fill(ByteSource& in, std::span<std::byte> into) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    auto got = in.read(into.subspan(filled));
    if (!got) return got;
    if (*got == 0) break;
    filled += *got;
  }
  return filled;
}

// Remembers where a reader wanted bytes that are not at hand.
class AskedFor final : public BytesAt {
 public:
  explicit AskedFor(BytesAt& head, std::uint64_t from) : head_(head), from_(from) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    const std::uint64_t end = offset + into.size();
    if (end > from_ && end > offset && into.size() <= left_) {
      left_ -= into.size();
      asked_.push_back({std::max(offset, from_), end - std::max(offset, from_)});
    }
    return head_.read_at(offset, into);
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }
  [[nodiscard]] std::vector<KeptParts::Part> take() { return std::move(asked_); }

 private:
  BytesAt& head_;
  std::uint64_t from_;
  std::size_t left_ = kContentKeptBytes - kContentHeadBytes;
  std::vector<KeptParts::Part> asked_;
};

}  // namespace

Result<std::size_t> MemoryBytes::read_at(std::uint64_t offset, std::span<std::byte> into) {
  if (offset >= bytes_.size()) return std::size_t{0};
  const auto rest = bytes_.subspan(static_cast<std::size_t>(offset));
  const std::size_t count = std::min(into.size(), rest.size());
  if (count > 0) std::memcpy(into.data(), rest.data(), count);
  return count;
}

Result<Content> read_content(BytesAt& bytes, std::string_view name) {
  std::array<std::byte, kFirstBytes> first{};
  auto got = bytes.read_at(0, first);
  if (!got) return std::move(got).error();
  const std::string_view head = to_text(std::span(first).first(*got));
  if (head.empty()) return plain(ContentKind::empty);
  if (is_elf(std::span(first).first(*got))) {
    auto file = read_elf(bytes);
    if (file) return content_of(*file);
    if (file.error().code != Errc::malformed) return std::move(file).error();
    return plain(ContentKind::data);
  }
  if (auto script = parse_script(head)) return *std::move(script);
  if (head.starts_with("PK\x03\x04"sv)) {
    auto java = is_java_archive(bytes);
    if (!java) return std::move(java).error();
    return *java ? runnable(ContentKind::java_archive) : plain(ContentKind::data);
  }
  auto pe = is_pe(bytes, head);
  if (!pe) return std::move(pe).error();
  if (*pe) return runnable(ContentKind::pe);
  if (is_class_file(head)) return runnable(ContentKind::java_class);
  if (is_python_bytecode(head)) return runnable(ContentKind::python_bytecode);
  // WebAssembly core specification 5.5.16: version 1; 13 is a component.
  if (head.starts_with("\0asm\x01\0\0\0"sv) || head.starts_with("\0asm\x0d\0\x01\0"sv))
    return runnable(ContentKind::wasm);
  if (is_compressed_module(head, name)) return runnable(ContentKind::elf_module);
  return plain(ContentKind::data);
}

Result<Content> read_content(ByteSource& in, std::string_view name) {
  std::string head(kFirstBytes, '\0');  // most files are no more than this, or not of a kind that needs more
  auto got = fill(in, std::as_writable_bytes(std::span(head)));
  if (!got) return std::move(got).error();
  head.resize(*got);
  if (head.size() == kFirstBytes) {
    head.resize(kContentHeadBytes);
    got = fill(in, std::as_writable_bytes(std::span(head)).subspan(kFirstBytes));
    if (!got) return std::move(got).error();
    head.resize(kFirstBytes + *got);
  }
  MemoryBytes kept(std::as_bytes(std::span(head)));
  AskedFor asking(kept, head.size());
  auto content = read_content(asking, name);
  std::vector<KeptParts::Part> asked = asking.take();
  if (!content) return content;

  std::uint64_t offset = head.size();
  asked.push_back({0, offset, std::move(head)});
  KeptParts parts(std::move(asked));
  std::string block(64 << 10, '\0');
  while (true) {
    auto next = in.read(std::as_writable_bytes(std::span(block)));
    if (!next) return std::move(next).error();
    if (*next == 0) break;
    parts.feed(offset, std::string_view(block).substr(0, *next));
    offset += *next;
  }
  return read_content(parts, name);
}

Content parse_content(std::span<const std::byte> bytes, std::string_view name) {
  MemoryBytes memory(bytes);
  auto content = read_content(memory, name);
  return content ? *std::move(content) : Content{};
}

Bytes program_of_script(const Content& content) {
  const std::string_view interpreter = content.interpreter.view();
  if (interpreter.substr(interpreter.rfind('/') + 1) != "env"sv) return content.interpreter;
  std::string_view rest = content.interpreter_argument.view();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find_first_of(" \t"), rest.size());
    std::string_view word = rest.substr(0, end);
    rest = trim_blanks(rest.substr(end));
    if (word == "-u"sv || word == "--unset"sv || word == "-C"sv || word == "--chdir"sv) {  // with a value
      rest = trim_blanks(rest.substr(std::min(rest.find_first_of(" \t"), rest.size())));
      continue;
    }
    if (word.starts_with("-S"sv)) word.remove_prefix(2);
    if (word.starts_with("--split-string="sv)) word.remove_prefix(15);
    if (word.empty() || word.front() == '-' || word.find('=') != std::string_view::npos) continue;
    return Bytes(std::string(word));
  }
  return {};
}

}  // namespace ctriage::elf
