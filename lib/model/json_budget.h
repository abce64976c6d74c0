#pragma once
// What a SAX reader of hostile JSON may still spend, and the first error it met.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lib/core/result.h"

namespace ctriage {

// The callbacks say what json_sax expects: false ends the parse.
class JsonBudget {
 public:
  [[nodiscard]] Error take_error() {
    return error_ ? *std::move(error_) : Error{Errc::malformed, "not JSON"};
  }

 protected:
  JsonBudget(std::size_t depth, std::size_t scalars, std::size_t nodes)
      : depth_left_(depth), scalars_left_(scalars), nodes_left_(nodes) {}
  ~JsonBudget() = default;

  bool fail(Errc code, std::string what) {
    if (!error_) error_ = Error{code, std::move(what)};
    return false;
  }
  bool not_json(std::size_t at_byte) {
    return fail(Errc::malformed, "not JSON at byte " + std::to_string(at_byte));
  }
  bool enter() {  // an object or a list
    if (depth_left_ == 0) return fail(Errc::limit, "nested too deep");
    if (nodes_left_ == 0) return fail(Errc::limit, "too many objects and lists");
    --depth_left_;
    --nodes_left_;
    return true;
  }
  bool leave() {
    ++depth_left_;
    return true;
  }
  bool scalar() {
    if (scalars_left_ == 0) return fail(Errc::limit, "too many values");
    --scalars_left_;
    return true;
  }

 private:
  std::optional<Error> error_;
  std::size_t depth_left_;
  std::size_t scalars_left_;
  std::size_t nodes_left_;
};

// json.hpp takes a NUL byte for the end of its input, so what follows one would never be looked at.
inline Status look_at_json(std::string_view text, std::size_t most) {
  if (text.size() > most) {
    return Error{Errc::limit,
                 "JSON of " + std::to_string(text.size()) + " bytes, at most " + std::to_string(most)};
  }
  const auto nul = text.find('\0');
  if (nul != std::string_view::npos)
    return Error{Errc::malformed, "not JSON at byte " + std::to_string(nul + 1)};
  return Done{};
}

}  // namespace ctriage
