#include "lib/model/record.h"

#include <array>

#include "lib/model/sweep.h"

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
    kind_of<ImageFacts>(), kind_of<Replica>(),
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
  return found != nullptr && found->has_field(dotted_path);
}

}  // namespace ctriage
