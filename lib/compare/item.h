#pragma once
// One thing of a list as the comparison sees it: what makes it the same thing in both sources, and the fields
// that are compared. Made beside the source, sent to who compares.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/cursor.h"
#include "lib/core/result.h"
#include "lib/model/difference.h"

namespace ctriage::compare {

constexpr std::size_t kMaxFieldBytes = 4'096;  // of a value that is kept; a longer one is told by its digest
constexpr std::size_t kMaxItemBytes = 256 << 10;  // of all values of one thing; the rest is one digest
constexpr std::size_t kMaxKeyBytes = 64 << 10;    // of a key, and of what is said of a thing
constexpr std::size_t kMaxItemFields = 65'536;    // of one thing that is received

struct Field {
  std::string name;
  std::string value;
  bool absence_counts = false;  // that the other has none is a difference; else it cannot know it
  auto operator<=>(const Field&) const = default;
};

struct Item {
  std::string key;  // lists are in its bytewise order
  std::int32_t pid = 0;
  std::uint64_t start = 0;   // of a process, ticks after boot; of a mapping its address. 0: not known
  bool like_absent = false;  // one that only one source has is no difference: copied up and the same
  std::string what;
  std::vector<Field> fields;
  std::vector<Field> otherwise;  // of a file: those of the image's, which is there where no change is listed

  void add(std::string name, std::string value, bool absence_counts = false);
  // Where there is nothing it is not known.
  void add_known(std::string name, std::string value);
  [[nodiscard]] const std::string* find(std::string_view name) const;
  [[nodiscard]] std::size_t size_bytes() const;
  // Of one key the items that are the same come at the same place.
  auto operator<=>(const Item&) const = default;

 private:
  std::size_t kept_bytes_ = 0;
};

// Bytes that sort as the numbers do.
std::string key_of(std::uint64_t value);
std::string key_of(std::int32_t value);

// Numbers in little-endian order, texts with their length before them.
class Writer {
 public:
  void u8(std::uint8_t value) { number(value, 1); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::string take() { return std::exchange(bytes_, {}); }

 private:
  void number(std::uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  std::string bytes_;
};

void write_item(const Item& item, Writer& out);
// Errc::malformed for what write_item would not write.
Result<Item> parse_item(ByteCursor& in);
std::string text_in(ByteCursor& in);

}  // namespace ctriage::compare
