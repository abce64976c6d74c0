#include "lib/compare/item.h"

#include <algorithm>

#include "lib/core/hash.h"
#include "lib/core/text.h"

namespace ctriage::compare {
namespace {

constexpr std::string_view kMore = "and more";

std::string shortened(std::string value, std::size_t most) {
  if (value.size() <= most) return value;
  const std::string rest = "... (" + with_commas(value.size()) + " bytes, sha256 " + sha256_hex(value) + ")";
  value.resize(most);
  return value + rest;
}

std::string big_endian(std::uint64_t value, unsigned bytes) {
  std::string out;
  for (unsigned i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

}  // namespace

void Item::add(std::string name, std::string value, bool absence_counts) {
  value = shortened(std::move(value), kMaxFieldBytes);
  const std::size_t cost = name.size() + value.size();
  if (kept_bytes_ + cost <= kMaxItemBytes) {
    kept_bytes_ += cost;
    fields.push_back({std::move(name), std::move(value), absence_counts});
    return;
  }
  const std::string digest = sha256_hex((fields.back().name == kMore ? fields.back().value : std::string()) +
                                        '\0' + name + '\0' + value);
  if (fields.back().name == kMore) {
    fields.back().value = digest;
  } else {
    fields.push_back({std::string(kMore), digest, true});
  }
}

void Item::add_known(std::string name, std::string value) {
  if (!value.empty()) add(std::move(name), std::move(value));
}

const std::string* Item::find(std::string_view name) const {
  const auto found = std::ranges::find(fields, name, &Field::name);
  return found == fields.end() ? nullptr : &found->value;
}

std::size_t Item::size_bytes() const {
  constexpr std::size_t kOwn = 160;
  std::size_t size = kOwn + key.size() + what.size();
  for (const auto* list : {&fields, &otherwise}) {
    for (const Field& field : *list) size += sizeof(Field) + field.name.size() + field.value.size();
  }
  return size;
}

std::string key_of(std::uint64_t value) { return big_endian(value, 8); }
std::string key_of(std::int32_t value) {
  return big_endian(static_cast<std::uint32_t>(value) ^ 0x8000'0000U, 4);
}

std::string text_in(ByteCursor& in) {
  const std::size_t size = in.u32();
  return std::string(in.text(size));
}

void write_item(const Item& item, Writer& out) {
  out.text(std::string_view(item.key).substr(0, kMaxKeyBytes));
  out.u32(static_cast<std::uint32_t>(item.pid));
  out.u64(item.start);
  out.u8(item.like_absent ? 1 : 0);
  out.text(std::string_view(item.what).substr(0, kMaxKeyBytes));
  for (const auto* list : {&item.fields, &item.otherwise}) {
    out.u32(static_cast<std::uint32_t>(list->size()));
    for (const Field& field : *list) {
      out.text(field.name);
      out.text(field.value);
      out.u8(field.absence_counts ? 1 : 0);
    }
  }
}

Result<Item> parse_item(ByteCursor& in) {
  Item item;
  item.key = text_in(in);
  item.pid = static_cast<std::int32_t>(in.u32());
  item.start = in.u64();
  item.like_absent = in.u8() != 0;
  item.what = text_in(in);
  if (!in.ok()) return in.error("a thing to compare");
  if (item.key.size() > kMaxKeyBytes || item.what.size() > kMaxKeyBytes)
    return Error{Errc::limit, "a thing to compare is too large"};
  for (auto* list : {&item.fields, &item.otherwise}) {
    const std::uint32_t count = in.u32();
    if (count > kMaxItemFields) return Error{Errc::limit, "a thing to compare has too many fields"};
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
      Field field;
      field.name = text_in(in);
      field.value = text_in(in);
      field.absence_counts = in.u8() != 0;
      list->push_back(std::move(field));
    }
  }
  if (!in.ok()) return in.error("a thing to compare");
  return item;
}

}  // namespace ctriage::compare
