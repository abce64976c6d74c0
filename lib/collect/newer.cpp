// Group "node": what on the node a container that broke out may have left: lib/source/live/node_facts.h.
#include "lib/collect/collection.h"
#include "lib/source/live/node_facts.h"

namespace ctriage::collect {

Status take_newer(Collection& in) {
  const std::string path = "node/newer.jsonl";
  auto stream = in.out.open(path, bundle::Encoding::jsonl, "the node's files");
  if (!stream) return std::move(stream).error();
  const Emit<source::NewerFile> take = [&](source::NewerFile&& found) -> Status {
    if (found.bytes) {
      const std::string& from = found.fact.path.raw;
      found.fact.stream = "node/newer/" + found.fact.group + "/" + bundle::member_name(from.substr(1));
      if (auto status = in.out.add(*found.fact.stream, *found.bytes, from); !status) return status;
    }
    return in.write(**stream, found.fact);
  };
  const Status taken = source::list_node_facts(in.snapshot.node(), in.snapshot.containers(), take, in.task);
  if (!taken) return in.ended_early(**stream, "node.newer", path, taken.error());
  return (*stream)->finish(bundle::Outcome::collected, "");
}

}  // namespace ctriage::collect
