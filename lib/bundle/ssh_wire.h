#pragma once
// Strings, integers and Base64 as SSH puts them, RFC 4251 section 5: big-endian lengths before bytes.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/bundle/crypt.h"
#include "lib/core/cursor.h"

namespace ctriage::bundle {

class SshReader {
 public:
  explicit SshReader(std::string_view bytes) : in_(bytes_in(bytes), std::endian::big) {}
  std::uint8_t byte() { return in_.u8(); }
  std::uint32_t number() { return in_.u32(); }
  std::string_view string() {
    const std::uint32_t size = in_.u32();
    return in_.text(size);
  }
  // A positive integer's bytes without the zero that keeps it positive; a negative one or a needless zero is
  // no integer of ours.
  std::string_view integer();
  std::string_view rest() { return in_.text(in_.left()); }
  bool starts(std::string_view magic) { return in_.text(magic.size()) == magic; }
  [[nodiscard]] bool ok() const { return in_.ok() && good_; }
  [[nodiscard]] bool done() const { return ok() && in_.at_end(); }

 private:
  ByteCursor in_;
  bool good_ = true;
};

std::string ssh_number(std::uint32_t value);
std::string ssh_string(std::string_view bytes);
std::string ssh_integer(std::string_view bytes);  // of the bytes of a positive one

// Between two lines that mark it, e.g. "SSH SIGNATURE": what the Base64 between means, or nothing.
std::optional<std::string> from_armor(std::string_view label, std::string_view text);
std::string to_armor(std::string_view label, std::string_view bytes);

}  // namespace ctriage::bundle
