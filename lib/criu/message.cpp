#include "lib/criu/message.h"

#include <protozero/varint.hpp>

namespace ctriage::criu {

using protozero::pbf_wire_type;

template <class F>
void Message::guarded(F&& use) {
  if (!ok_) return;
  try {
    use();
  } catch (const protozero::exception&) {
    ok_ = false;
  }
}

bool Message::next() {
  bool more = false;
  guarded([&] {
    if (pending_) reader_.skip();
    pending_ = false;
    more = reader_.next();
    field_ = more ? reader_.tag() : 0;
    pending_ = more;
  });
  return ok_ && more;
}

std::uint64_t Message::number() {
  std::uint64_t value = 0;
  guarded([&] {
    switch (reader_.wire_type()) {
      case pbf_wire_type::varint:
        value = reader_.get_uint64();
        break;
      case pbf_wire_type::fixed64:
        value = reader_.get_fixed64();
        break;
      case pbf_wire_type::fixed32:
        value = reader_.get_fixed32();
        break;
      default:
        ok_ = false;
    }
    pending_ = false;
  });
  return value;
}

std::int64_t Message::zigzag() { return protozero::decode_zigzag64(number()); }

std::string_view Message::bytes() {
  std::string_view value;
  guarded([&] {
    if (reader_.wire_type() != pbf_wire_type::length_delimited) {
      ok_ = false;
      return;
    }
    const auto view = reader_.get_view();
    value = {view.data(), view.size()};
    pending_ = false;
  });
  return value;
}

template <class T>
void Message::append_all(std::vector<T>& into) {
  if (!ok_) return;
  const auto take = [&](std::uint64_t value) {
    if (into.size() < kMaxRepeatedNumbers) {
      into.push_back(static_cast<T>(value));
    } else {
      ok_ = false;
    }
  };
  if (reader_.wire_type() != pbf_wire_type::length_delimited) return take(number());
  guarded([&] {
    for (const auto value : reader_.get_packed_uint64()) {
      take(value);
      if (!ok_) return;
    }
    pending_ = false;
  });
}

void Message::append(std::vector<std::uint32_t>& into) { append_all(into); }
void Message::append(std::vector<std::uint64_t>& into) { append_all(into); }

}  // namespace ctriage::criu
