// Group "state": who the pod is, what its containers may do, and who was let in through the runtime.
#include "lib/collect/collection.h"
#include "lib/model/kinds.h"

namespace ctriage::collect {

Status take_posture(Collection& in) {
  Pod pod;
  for (const source::LiveContainer& live : in.snapshot.containers()) {
    if (live.container.pod && pod.name.empty()) {
      pod.ns = live.container.pod->ns;
      pod.name = live.container.pod->name;
      pod.uid = live.container.pod->uid;
      pod.sandbox_id = live.container.pod->sandbox_id;
    }
  }
  const Emit<Posture> add = [&](Posture&& posture) -> Status {
    pod.containers.push_back(std::move(posture));
    return Done{};
  };
  if (auto listed = in.snapshot.list_postures(add, in.task); !listed) return listed;
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
