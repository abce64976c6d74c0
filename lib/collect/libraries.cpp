// Group "files": libraries that members have mapped and the image does not have, and all that a suspicious
// program has mapped, once each by their SHA-256.
#include <algorithm>
#include <set>

#include "lib/collect/collection.h"
#include "lib/source/live/programs.h"

namespace ctriage::collect {
namespace {

using source::Library;
using source::LibraryId;
using source::LiveContainer;

class TakeLibraries {
 public:
  explicit TakeLibraries(Collection& in) : in_(in) {
    for (const MemoryMember& member : in.memory.members) {
      if (runs_foreign_program(member)) suspicious_.insert({member.container, member.pid});
    }
  }

  Status take_of(std::size_t place, LiveContainer& live) {
    for (const auto& [id, users] : in_.libraries[place]) {
      const auto known = live.libraries.find(id);
      if (known == live.libraries.end()) continue;
      const Library& library = known->second;
      const bool is_image = library.origin == Origin::image;
      if (is_image && std::ranges::none_of(users, [&](std::int32_t pid) {
            return suspicious_.contains({place, pid});
          }))
        continue;
      if (!is_image && !library.sha256) continue;  // could not be read, which was told
      auto taken = take(live, id, library);
      if (!taken) return taken;
    }
    return Done{};
  }

 private:
  Status take(LiveContainer& live, const LibraryId& id, const Library& library) {
    std::string digest = library.sha256.value_or("");
    if (digest.empty()) {
      auto bytes = in_.snapshot.open_library(live, id, in_.task);
      auto hashed = bytes ? source::hash_source(**bytes) : Result<std::string>(std::move(bytes).error());
      if (!hashed) return lose(id, std::move(hashed).error());
      digest = *std::move(hashed);
    }
    if (in_.programs.contains({live.container.id, digest}) ||
        !taken_.insert({live.container.id, digest}).second)
      return Done{};
    const std::string path = in_.bulk_path(in_.path_of(live, "executables/" + digest));
    auto stream = in_.out.open(path, in_.bulk_encoding(),
                               "/proc/" + std::to_string(library.pid) + "/map_files " + id.path);
    if (!stream) return std::move(stream).error();
    auto bytes = in_.snapshot.open_library(live, id, in_.task);
    auto copied = bytes ? copy_file(**bytes, library.size_bytes, id.path, **stream)
                        : Result<Digest>(std::move(bytes).error());
    if (copied && to_hex(*copied) != digest)
      copied = Error{Errc::changed, "its bytes have changed since it was hashed"};
    if (!copied) return in_.ended_early(**stream, "process.library", path, copied.error());
    ++in_.counts.libraries;
    return (*stream)->finish(bundle::Outcome::collected, "");
  }

  Status lose(const LibraryId& id, Error error) {
    if (ends_the_run(error)) return error;
    in_.task.gaps.add({Impact::lost, "process.library", id.path, std::move(error)});
    return Done{};
  }

  Collection& in_;
  std::set<std::pair<std::size_t, std::int32_t>> suspicious_;
  std::set<std::pair<std::string, std::string>> taken_;
};

}  // namespace

Status take_libraries(Collection& in) {
  TakeLibraries taking(in);
  std::size_t place = 0;
  for (LiveContainer& live : in.snapshot.containers()) {
    if (auto taken = taking.take_of(place++, live); !taken) return taken;
  }
  return Done{};
}

}  // namespace ctriage::collect
