#pragma once
// The one way a function says that it failed for a reason outside our source. Spelled like std::expected
// (C++23).
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ctriage {

enum class Errc : std::uint8_t {
  not_found,    // no such file, process, container
  denied,       // the rights we have do not suffice
  io,           // the system refused for another reason
  truncated,    // the input ends before it should
  malformed,    // the input is not what it claims to be
  unsupported,  // valid, but this version cannot read it
  limit,        // larger, deeper or more than a named limit
  vanished,     // was there when listed, gone when read
  changed,      // became something else while we looked
  timeout,      // the deadline passed, or one read took too long
  stopped,      // the user or the caller asked us to end
  mismatch,     // two things that must agree do not
  full,         // no space where we write
  outside,      // leads out of the place it must stay in
};

struct Error {
  Errc code = Errc::io;
  std::string what;  // what we tried and what we saw: "open etc/shadow: Permission denied"
  int number = 0;    // errno(3) where a system call failed, else 0

  // It was not there, or is not there any more.
  [[nodiscard]] bool is_gone() const { return code == Errc::not_found || code == Errc::vanished; }
  // Puts the caller's context in front: "OCI config: open config.json: Permission denied".
  Error within(std::string_view outer) && {
    what.insert(0, ": ").insert(0, outer);
    return std::move(*this);
  }
};

// An Error from errno(3): the code it means to a caller and the text strerror(3) has for it.
Error system_error(int number, std::string_view tried);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit, as std::expected
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  [[nodiscard]] bool has_value() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Looking into the wrong half throws std::bad_variant_access: a bug of ours, never undefined behaviour.
  T& value() & { return std::get<0>(held_); }
  const T& value() const& { return std::get<0>(held_); }
  T&& value() && { return std::get<0>(std::move(held_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return std::get<1>(held_); }
  const Error& error() const& { return std::get<1>(held_); }
  Error&& error() && { return std::get<1>(std::move(held_)); }

  template <class U>
  T value_or(U&& other) && {
    return has_value() ? std::move(*this).value() : static_cast<T>(std::forward<U>(other));
  }

 private:
  std::variant<T, Error> held_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace ctriage
