#include "lib/archive/tar_header.h"

#include <algorithm>
#include <utility>

namespace ctriage::archive {
namespace {

// Fields of a ustar header: pax(1), "ustar Interchange Format". Offset and width in bytes.
struct Field {
  std::size_t offset;
  std::size_t width;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kType{156, 1};
constexpr Field kLink{157, 100};
constexpr Field kMagic{257, 8};  // with the version
constexpr Field kDevMajor{329, 8};
constexpr Field kDevMinor{337, 8};
constexpr Field kPrefix{345, 155};

constexpr Field kSparseMore{482, 1};  // tar(5), "Sparse Files": isextended, realsize
constexpr Field kRealSize{483, 12};

constexpr std::string_view kUstarMagic{"ustar\00000", 8};
constexpr std::string_view kGnuMagic{"ustar  \0", 8};  // tar(5), "GNU Tar Archives": no prefix field

void put_text(TarBlock& block, Field field, std::string_view text) {
  text = text.substr(0, field.width);
  std::transform(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(field.offset),
                 [](char c) { return static_cast<std::byte>(c); });
}

// Digits with leading zeros and a NUL behind.
void put_octal(TarBlock& block, Field field, std::uint64_t value) {
  for (std::size_t i = field.width - 1; i-- > 0;) {
    block[field.offset + i] = static_cast<std::byte>('0' + (value & 7));
    value >>= 3;
  }
}

// tar(5), "Numeric Extensions": base-256, two's complement, the first bit set.
void put_number(TarBlock& block, Field field, std::uint64_t value, bool negative) {
  const std::uint64_t octal_end = std::uint64_t{1} << (3 * (field.width - 1));
  if (!negative && value < octal_end) return put_octal(block, field, value);
  for (std::size_t i = 0; i < field.width; ++i) {
    const std::size_t shift = 8 * (field.width - 1 - i);
    const std::uint64_t byte = shift >= 64 ? (negative ? 0xff : 0) : (value >> shift) & 0xff;
    block[field.offset + i] = static_cast<std::byte>(byte);
  }
  block[field.offset] |= std::byte{0x80};
}

std::uint64_t checksum(std::span<const std::byte> block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kTarBlock; ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.width;
    sum += own ? std::uint64_t{' '} : std::to_integer<std::uint64_t>(block[i]);
  }
  return sum;
}

std::string_view text_of(std::span<const std::byte> block, Field field) {
  const std::string_view whole(reinterpret_cast<const char*>(block.data()) + field.offset, field.width);
  return whole.substr(0, std::min(whole.find('\0'), whole.size()));
}

Error malformed(std::string what) { return Error{Errc::malformed, "tar header: " + std::move(what)}; }

struct Number {
  std::uint64_t magnitude = 0;  // two's complement when negative
  bool negative = false;
};

// Octal digits, blanks before, blanks or NULs behind; or base-256.
Result<Number> parse_number_field(std::span<const std::byte> block, Field field, std::string_view of) {
  const auto bytes = block.subspan(field.offset, field.width);
  const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  Number number;
  if ((at(0) & 0x80) != 0) {
    number.negative = (at(0) & 0x40) != 0;
    const unsigned fill = number.negative ? 0xff : 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const unsigned byte = i == 0 ? (at(0) & 0x7f) | (number.negative ? 0x80 : 0) : at(i);
      if (bytes.size() - i > 8) {
        if (byte != fill) return malformed(std::string(of) + " does not fit 64 bits");
        continue;
      }
      number.magnitude = (number.magnitude << 8) | byte;
    }
    if (number.negative && bytes.size() < 8) number.magnitude |= ~std::uint64_t{0} << (8 * bytes.size());
    return number;
  }
  std::size_t i = 0;
  while (i < bytes.size() && at(i) == ' ') ++i;
  for (; i < bytes.size() && at(i) >= '0' && at(i) <= '7'; ++i) {
    if (number.magnitude >> 61 != 0) return malformed(std::string(of) + " does not fit 64 bits");
    number.magnitude = (number.magnitude << 3) | (at(i) - '0');
  }
  for (; i < bytes.size(); ++i) {
    if (at(i) != ' ' && at(i) != 0) return malformed(std::string(of) + " is not a number");
  }
  return number;
}

}  // namespace

Result<TarBlock> make_tar_header(std::string_view name, std::uint64_t size_bytes,
                                 std::int64_t mtime_seconds) {
  if (name.empty()) return malformed("a member needs a name");
  for (const char c : name) {
    if (c <= ' ' || c > '~') return malformed("a member's name is not printable ASCII");
  }
  std::string_view prefix;
  std::string_view rest = name;
  if (name.size() > kName.width) {
    // The last '/' that leaves at most 155 bytes before it, as GNU tar chooses.
    const std::size_t slash = name.rfind('/', kPrefix.width);
    if (slash != std::string_view::npos && slash > 0) {
      prefix = name.substr(0, slash);
      rest = name.substr(slash + 1);
    }
    if (rest.empty() || rest.size() > kName.width) {
      return Error{Errc::limit, "tar header: the name " + std::string(name) + " does not fit ustar"};
    }
  }
  TarBlock block{};
  put_text(block, kName, rest);
  put_text(block, kPrefix, prefix);
  put_octal(block, kMode, 0600);
  put_octal(block, kUid, 0);
  put_octal(block, kGid, 0);
  put_number(block, kSize, size_bytes, false);
  put_number(block, kMtime, static_cast<std::uint64_t>(mtime_seconds), mtime_seconds < 0);
  put_text(block, kType, "0");
  put_text(block, kMagic, kUstarMagic);
  put_octal(block, kDevMajor, 0);
  put_octal(block, kDevMinor, 0);
  put_octal(block, {kChecksum.offset, kChecksum.width - 1}, checksum(block));  // six digits, NUL, blank
  block[kChecksum.offset + kChecksum.width - 1] = std::byte{' '};
  return block;
}

Result<std::optional<TarHeader>> parse_tar_header(std::span<const std::byte> block) {
  if (block.size() < kTarBlock)
    return Error{Errc::truncated, "tar header: ends after " + std::to_string(block.size()) + " bytes"};
  block = block.first(kTarBlock);
  if (std::all_of(block.begin(), block.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return std::optional<TarHeader>{};
  }
  const std::string_view magic(reinterpret_cast<const char*>(block.data()) + kMagic.offset, kMagic.width);
  if (magic != kUstarMagic && magic != kGnuMagic) return malformed("not ustar");

  const auto sum = parse_number_field(block, kChecksum, "checksum");
  if (!sum) return sum.error();
  if (sum->negative || sum->magnitude != checksum(block)) return malformed("checksum differs");
  const auto mode = parse_number_field(block, kMode, "mode");
  if (!mode) return mode.error();
  const auto size = parse_number_field(block, kSize, "size");
  if (!size) return size.error();
  const auto mtime = parse_number_field(block, kMtime, "mtime");
  if (!mtime) return mtime.error();
  const auto uid = parse_number_field(block, kUid, "uid");
  if (!uid) return uid.error();
  const auto gid = parse_number_field(block, kGid, "gid");
  if (!gid) return gid.error();
  for (const auto& [number, of] : {std::pair{*mode, "mode"}, {*uid, "uid"}, {*gid, "gid"}}) {
    if (number.negative || number.magnitude > UINT32_MAX) return malformed(std::string(of) + " out of range");
  }
  if (size->negative) return malformed("size is negative");
  const auto seconds = static_cast<std::int64_t>(mtime->magnitude);
  if ((seconds < 0) != mtime->negative) return malformed("mtime does not fit 64 bits");

  TarHeader header;
  const std::string_view prefix = magic == kUstarMagic ? text_of(block, kPrefix) : std::string_view{};
  if (!prefix.empty()) header.name.append(prefix).append("/");
  header.name.append(text_of(block, kName));
  header.size_bytes = size->magnitude;
  header.mtime_seconds = seconds;
  header.mode = static_cast<std::uint32_t>(mode->magnitude);
  header.uid = static_cast<std::uint32_t>(uid->magnitude);
  header.gid = static_cast<std::uint32_t>(gid->magnitude);
  header.link = text_of(block, kLink);
  header.type = static_cast<char>(block[kType.offset]);
  if (header.type == 'S') {
    const auto real = parse_number_field(block, kRealSize, "real size");
    if (!real) return real.error();
    if (real->negative) return malformed("real size is negative");
    header.real_size_bytes = real->magnitude;
    header.map_goes_on = block[kSparseMore.offset] != std::byte{0};
  }
  if (header.type == '\0') header.type = '0';  // as old archives spell a regular file
  return std::optional<TarHeader>(std::move(header));
}

}  // namespace ctriage::archive
