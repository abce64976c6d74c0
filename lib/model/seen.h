#pragma once
// What is noticed about an artifact when it is held against the others of its source: rules name it as
// `seen.*`. lib/verdict/SEMANTICS.md says what each trait means. It is made anew for every verdict and never
// written down.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct Seen {
  std::string place;
  std::vector<std::string> traits;
  std::string tool_group;
  std::string cache;
  std::uint64_t count = 1;
  std::uint64_t size_bytes = 0;
  Bytes proof;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("place", self.place,
      "of a file: what a path like this is for: cron, accounts, ... (rules/places.json)");
    v("traits", self.traits, "what was noticed, one word each");
    v("tool_group", self.tool_group, "of an OS tool: shell, downloader, ... (rules/os-tools.json)");
    v("cache", self.cache, "why a change of this path would need no look, were it plain data");
    v("count", self.count, "how many artifacts like this one it stands for");
    v("size_bytes", self.size_bytes, "of the largest of them");
    v("proof", self.proof, "what it was told from, in few words");
  }
};

template <>
inline constexpr std::string_view kKind<Seen> = "seen";

}  // namespace ctriage
