#include "lib/model/record.h"

#include <algorithm>
#include <array>

#include "lib/model/seen.h"

namespace ctriage {
namespace {

struct Kind {
  std::string_view name;
  bool (*has_field)(std::string_view);
};

template <Artifact T>
constexpr Kind kind_of() {
  return {kKind<T>, [](std::string_view path) { return has_field<T>(path); }};
}

constexpr std::array kKinds{
    kind_of<Container>(),  kind_of<Process>(), kind_of<Thread>(),   kind_of<Mapping>(),
    kind_of<Descriptor>(), kind_of<Socket>(),  kind_of<Mount>(),    kind_of<Layer>(),
    kind_of<FileChange>(), kind_of<LogFile>(), kind_of<TreeFile>(), kind_of<NodeFact>(),
    kind_of<ImageFacts>(),
};

struct Joined {
  std::string_view prefix;
  std::array<std::string_view, 5> kinds;  // the artifacts it is joined to
  bool (*has_field)(std::string_view);
};

constexpr std::array kOfContainer{kKind<Process>, kKind<Mapping>, kKind<Socket>, kKind<Mount>,
                                  kKind<FileChange>};
constexpr std::array kJoined{
    Joined{"parent", {kKind<Process>}, kind_of<Process>().has_field},
    Joined{"process", {kKind<Mapping>, kKind<Socket>}, kind_of<Process>().has_field},
    Joined{"image", kOfContainer, kind_of<ImageFacts>().has_field},
    Joined{"container", kOfContainer, kind_of<Container>().has_field},
    Joined{"seen", kOfContainer, [](std::string_view path) { return has_field<Seen>(path); }},
};

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

}  // namespace

bool has_kind(std::string_view kind) { return find_kind(kind) != nullptr; }

bool has_field(std::string_view kind, std::string_view dotted_path) {
  const Kind* found = find_kind(kind);
  if (found == nullptr) return false;
  if (found->has_field(dotted_path)) return true;
  const auto is_joined = [&](const Joined& joined) {
    return joined.prefix == record_detail::head_of(dotted_path) &&
           std::ranges::find(joined.kinds, kind) != joined.kinds.end() &&
           joined.has_field(record_detail::tail_of(dotted_path));
  };
  return std::ranges::any_of(kJoined, is_joined);
}

}  // namespace ctriage
