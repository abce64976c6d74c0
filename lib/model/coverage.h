#pragma once
// Which kinds of evidence a source has, and how much of each.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

enum class Facet : std::uint8_t {
  containers,
  processes,
  threads,
  mappings,
  descriptors,
  sockets,
  mounts,
  layers,
  changes,
  logs,
  findings,
  gaps,
};
constexpr auto enum_names(Facet) {
  return std::array<std::string_view, 12>{"containers",  "processes", "threads",  "mappings",
                                          "descriptors", "sockets",   "mounts",   "layers",
                                          "changes",     "logs",      "findings", "gaps"};
}

struct Coverage {
  enum class Level : std::uint8_t { none, part, whole } level = Level::none;
  std::string why;
};
constexpr auto enum_names(Coverage::Level) {
  return std::array<std::string_view, 3>{"none", "part", "whole"};
}

struct CompletenessRow {  // a line of "how complete is this"
  std::string what;
  Coverage coverage;
};

struct CoverageRecord {  // what Snapshot::covers() says of one facet, as views write it
  Facet facet = Facet::containers;
  Coverage::Level level = Coverage::Level::none;
  Bytes why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("facet", self.facet, "which list");
    v("level", self.level, "none: not known, which is not empty; part: what is there is not all of it");
    v("why", self.why, "why it is not whole");
  }
};

}  // namespace ctriage
