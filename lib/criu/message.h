#pragma once
// One message of protocol buffers version 2, field by field, from hostile bytes: what throws in protozero
// ends here.
#include <cstdint>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::criu {

// Of one repeated number: of groups and threads there are at most 65,536. More breaks the message.
constexpr std::size_t kMaxRepeatedNumbers = 1 << 17;

// Sticky, as ByteCursor: after the first field that is not what it must be, next() says false and ok() too.
class Message {
 public:
  explicit Message(std::string_view bytes) : reader_(bytes.data(), bytes.size()) {}

  // The next field; one that nobody asked the value of is passed over.
  bool next();
  [[nodiscard]] std::uint32_t field() const { return field_; }
  // The field's value; a wrong wire type breaks the message and gives zero or nothing.
  std::uint64_t number();  // uint, bool, enum, fixed; a negative int in two's complement
  std::uint32_t number32() { return static_cast<std::uint32_t>(number()); }
  std::int64_t zigzag();                          // sint
  std::string_view bytes();                       // bytes, string, message
  void append(std::vector<std::uint32_t>& into);  // repeated, packed or one by one
  void append(std::vector<std::uint64_t>& into);
  [[nodiscard]] bool ok() const { return ok_; }

  // Its value into `into`, as the type there says, where this is field `number`.
  template <class T>
  void take(std::uint32_t number, T& into) {
    if (field_ != number) return;
    if constexpr (std::is_same_v<T, std::string>) {
      into = bytes();
    } else if constexpr (std::is_same_v<T, bool>) {
      into = this->number() != 0;
    } else {
      into = static_cast<T>(this->number());
    }
  }
  template <class T>
  void take(std::uint32_t number, std::vector<T>& into) {
    if (field_ == number) append(into);
  }
  template <class T>
  void take(std::uint32_t number, std::optional<T>& into) {
    if (field_ == number) take(number, into.emplace());
  }

 private:
  template <class F>
  void guarded(F&& use);
  template <class T>
  void append_all(std::vector<T>& into);

  protozero::pbf_reader reader_;
  std::uint32_t field_ = 0;
  bool pending_ = false;
  bool ok_ = true;
};

}  // namespace ctriage::criu
