#pragma once
// How an artifact describes itself, once: a static template that hands each member with its JSON name and a
// line of documentation to a visitor. Writing JSON, reading it back, looking a field up for a rule and the
// schema page all come from that one table, so they cannot disagree.
//
//   struct Mapping {
//     Hex start;
//     template <class Self, class V>
//     static void fields(Self& self, V& v) { v("start", self.start, "first address"); }
//   };
//
// A member may be: bool, an integer, double, std::string (our own text, ASCII), Bytes (evidence), Hex,
// Timestamp, an enum with enum_names, another artifact, or std::vector, std::optional of these. An empty
// optional is left out. Bytes that are not UTF-8 are written with U+FFFD and a second key "<name>_b64" beside
// it (for a vector: all elements).
#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ctriage {

struct NoVisitor {
  template <class T>
  void operator()(std::string_view, T&, std::string_view) {}
};

template <class T>
concept Artifact = requires(T& value, NoVisitor& visitor) {
  std::remove_const_t<T>::fields(value, visitor);
};

// enum_names(E) is found by argument-dependent lookup: a std::array of names, enumerators counting from 0.
template <class T>
concept NamedEnum = std::is_enum_v<T> && requires(T value) {
  enum_names(value).size();
};

template <NamedEnum E>
std::string_view to_text(E value) {
  const auto names = enum_names(value);
  const auto index = static_cast<std::size_t>(value);
  return index < names.size() ? names[index] : std::string_view("?");
}

template <NamedEnum E>
std::optional<E> parse_enum(std::string_view text) {
  const auto names = enum_names(E{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<E>(i);
  }
  return std::nullopt;
}

}  // namespace ctriage
