#pragma once
// What other tools look for: hashes of files, and what a finding leaves to be hunted elsewhere.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class HashedAs : std::uint8_t { program, script, library, changed, tree };
constexpr auto enum_names(HashedAs) {
  return std::array<std::string_view, 5>{"program", "script", "library", "changed", "tree"};
}

struct FileHash {
  HashedAs as = HashedAs::program;
  std::string container;
  Bytes path;
  std::string sha256;
  std::optional<std::string> md5;
  std::optional<std::string> sha1;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("as", self.as,
      "program: it runs; script: what an interpreter runs; library: mapped as code and not the image's; "
      "changed: against the image; tree: in a tmpfs or volume");
    v("container", self.container, "container id");
    v("path", self.path, "in the container");
    v("sha256", self.sha256, "of the whole file");
    v("md5", self.md5, "with --md5, of the same bytes");
    v("sha1", self.sha1, "with --sha1, of the same bytes");
  }
};
template <>
inline constexpr std::string_view kKind<FileHash> = "hash";

enum class IndicatorType : std::uint8_t { sha256, ip, ip_port, path };
constexpr auto enum_names(IndicatorType) {
  return std::array<std::string_view, 4>{"sha256", "ip", "ip:port", "path"};
}

struct Indicator {
  IndicatorType type = IndicatorType::sha256;
  Bytes value;
  Bytes context;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("type", self.type, "what the value is; IPv6 with a port is [address]:port");
    v("value", self.value, "exactly");
    v("context", self.context, "where it was seen");
  }
};
template <>
inline constexpr std::string_view kKind<Indicator> = "indicator";

}  // namespace ctriage
