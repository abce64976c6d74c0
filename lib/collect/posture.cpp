// Group "state": who the pod is, what its containers may do, and who was let in through the runtime.
#include "lib/source/posture.h"

#include "lib/collect/collection.h"
#include "lib/model/kinds.h"

namespace ctriage::collect {

Status take_posture(Collection& in) {
  const source::Node& node = in.snapshot.node();
  auto of_node = in.snapshot.any_runs() ? proc::read_mounts(node.proc, node.host, in.task)
                                        : Result<std::vector<Mount>>(std::vector<Mount>());
  if (!of_node) {
    if (auto go_on = in.task.check(); !go_on) return go_on;
    in.task.gaps.add({Impact::lost, "container.posture", "the node's mount table", of_node.error()});
    of_node = std::vector<Mount>();
  }
  Pod pod;
  for (const source::LiveContainer& live : in.snapshot.containers()) {
    if (live.container.pod && pod.name.empty()) {
      pod.ns = live.container.pod->ns;
      pod.name = live.container.pod->name;
      pod.uid = live.container.pod->uid;
      pod.sandbox_id = live.container.pod->sandbox_id;
    }
    if (live.ended) {
      in.task.gaps.add(
          {Impact::note, "container.posture", live.container.id,
           Error{Errc::vanished,
                 "has ended: what it was to be allowed stands in container.json and spec.json"}});
      continue;
    }
    pod.containers.push_back(source::read_posture(node, live, *of_node, in.task));
  }
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.key("schema");
  writer.text(schema_of<Pod>());
  writer.members(pod);
  writer.end_object();
  return in.out.add("pod/pod.json", out + "\n", "OCI annotations, procfs");
}

}  // namespace ctriage::collect
