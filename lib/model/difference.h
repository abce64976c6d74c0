#pragma once
// What two sources do not have in common: the answer of `diff A B`.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/container.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

// In the order they are compared and shown.
enum class ComparedKind : std::uint8_t {
  container,
  process,
  mapping,
  descriptor,
  socket,
  file,
  mount,
  layer,
  memory
};
constexpr auto enum_names(ComparedKind) {
  return std::array<std::string_view, 9>{"container", "process", "mapping", "descriptor", "socket",
                                         "file",      "mount",   "layer",   "memory"};
}

enum class DifferenceChange : std::uint8_t { gone, added, changed };
constexpr auto enum_names(DifferenceChange) {
  return std::array<std::string_view, 3>{"gone", "added", "changed"};
}

struct DifferingField {
  std::string field;
  std::optional<Bytes> before;
  std::optional<Bytes> after;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("field", self.field, "what differs; \"env NAME\" for a variable of the environment");
    v("before", self.before,
      "as A has it; of argv the arguments, each but the last ended by a NUL; of more than 4,096 bytes the "
      "first, their number and the SHA-256");
    v("after", self.after, "as B has it");
  }
};

struct Difference {
  std::string container;
  Bytes container_name;
  ComparedKind kind = ComparedKind::container;
  DifferenceChange change = DifferenceChange::changed;
  std::optional<std::int32_t> pid;
  Bytes what;
  std::vector<DifferingField> differs;
  std::optional<Hex> address;
  std::optional<std::uint64_t> pages_compared;
  std::optional<std::uint64_t> pages_different;
  std::optional<Bytes> unsure;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "its id in A, in B where A has no such container");
    v("container_name", self.container_name, "its name there");
    v("kind", self.kind, "what differs; file: against the image of each; memory: page contents");
    v("change", self.change, "gone: only A has it; added: only B has it");
    v("pid", self.pid, "as the container sees it; negative: the node's, where two have one number");
    v("what", self.what, "which: a path, a command, a socket's addresses");
    v("differs", self.differs,
      "of what changed the fields that do, of what is gone or added what there is to say");
    v("address", self.address, "of a mapping its first; of memory that of the first page that differs");
    v("pages_compared", self.pages_compared, "of memory: pages of the mapping that both have");
    v("pages_different", self.pages_different, "of these, with other bytes");
    v("unsure", self.unsure, "why it may be no difference: the list of the other source is not whole");
  }
};

struct ComparedContainer {
  std::string before;
  std::string after;
  Bytes name;
  std::optional<Bytes> warning;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("before", self.before, "its id in A");
    v("after", self.after, "its id in B");
    v("name", self.name, "its name in A");
    v("warning", self.warning, "why these may be two containers, and what that means for the comparison");
  }
};

struct ComparedList {
  ComparedKind kind = ComparedKind::container;
  Bytes container;
  bool compared = false;
  Bytes why;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  std::uint64_t gone = 0;
  std::uint64_t added = 0;
  std::uint64_t changed = 0;
  std::uint64_t unsure = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "which list");
    v("container", self.container, "its name; empty: of all that were compared");
    v("compared", self.compared, "both sources have it, and it was asked for");
    v("why", self.why, "why it was not compared, or is not whole");
    v("before", self.before, "how many A has; of memory pages");
    v("after", self.after, "how many B has");
    v("gone", self.gone, "only A has them; pages of memory that only one has are no differences");
    v("added", self.added, "only B has them");
    v("changed", self.changed, "both have them, not alike; of memory pages");
    v("unsure", self.unsure, "of gone and added those that may be none");
  }
};

struct Comparison {
  Source before;
  Source after;
  std::vector<ComparedContainer> containers;
  std::vector<ComparedList> compared;
};

template <>
inline constexpr std::string_view kKind<Difference> = "difference";
template <>
inline constexpr std::string_view kKind<DifferingField> = "differing_field";
template <>
inline constexpr std::string_view kKind<ComparedContainer> = "compared_container";
template <>
inline constexpr std::string_view kKind<ComparedList> = "compared_list";

}  // namespace ctriage
