#pragma once
// What is hunted for: a line each, of a file that somebody sent. Hostile like any other input.
//
//   LINE: INDICATOR | TYPE,VALUE[,anything]      empty lines and those that begin with '#' are none
//   TYPE: sha256 | ip | ip:port | path | string  as `iocs --as csv` writes it; its first line is the header
//         "type,value,context". VALUE may stand in quotes, "" for one of them, RFC 4180; in it \\, \n, \t,
//         \xHH and \u{HEX} are what they stand for, and a quote before = + - or @ is none of it.
//   INDICATOR without a type, and without a comma: 64 hexadecimal digits are a SHA-256, what parses as an
//   IPv4 or IPv6 address (with
//         a port: 1.2.3.4:80, [::1]:80) an address, what begins with '/' a path, all else a text.
#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/model/sweep.h"

namespace ctriage::sweep {

constexpr std::size_t kMaxIndicators = 200'000;
constexpr std::size_t kMaxIndicatorBytes = 16 << 20;  // of the file
constexpr std::size_t kMaxTexts = 4'096;              // texts: each is looked for in all memory

class Indicators {
 public:
  // Errors name the line: Errc::malformed, limit.
  static Result<Indicators> parse(std::string_view file);

  // The indicator, as the file has it, that these are of.
  [[nodiscard]] const std::string* find_sha256(std::string_view hexadecimal) const;
  [[nodiscard]] const std::string* find_path(std::string_view path) const;
  // "203.0.113.7:443", "[2001:db8::1]:443" as sockets have it: by address and port, or by the address alone.
  [[nodiscard]] const std::string* find_address(std::string_view with_port) const;
  [[nodiscard]] const std::set<std::string>& texts() const { return texts_; }
  [[nodiscard]] std::size_t size() const;

 private:
  using Known =
      std::map<std::string, std::string, std::less<>>;  // in one form for all, and as it was written
  Status add(std::optional<IndicatorKind> kind, const std::string& value);
  static const std::string* find(const Known& known, std::string_view value);

  Known hashes_;
  Known addresses_;
  Known paths_;
  std::set<std::string> texts_;
};

}  // namespace ctriage::sweep
