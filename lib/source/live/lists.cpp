// Lists of a live node that are of the pod or the node, or of what lies beside the layers.
#include "lib/archive/bytes_at.h"
#include "lib/core/sys.h"
#include "lib/source/ended.h"
#include "lib/source/live/live.h"
#include "lib/source/live/node_facts.h"
#include "lib/source/live/posture.h"
#include "lib/source/live/trees.h"

namespace ctriage::source {

Result<std::unique_ptr<ByteSource>> LiveSnapshot::open_log(const LogFile& log, Task& task) {
  LiveContainer* live = find(log.container);
  if (live == nullptr) return Error{Errc::not_found, log.container + ": no such container in " + name_};
  for (const HeldLog& held : live->logs) {
    if (held.log.path != log.path) continue;
    auto own = sys::duplicate(held.file.get(), log.path.raw);
    auto bytes = own ? archive::bytes_of_file(*std::move(own), log.path.raw)
                     : Result<std::unique_ptr<archive::BytesAt>>(own.error());
    if (!bytes) return std::move(bytes).error();
    return archive::in_order(*std::move(bytes), 0, log.size_bytes, task);
  }
  return Error{Errc::not_found, log.path.raw + ": not a log of " + live->container.name.raw};
}

Status LiveSnapshot::list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) {
  LiveContainer* live = find(container);
  if (live == nullptr) return Error{Errc::not_found, container + ": no such container in " + name_};
  // Whatever was asked before: what is open already stays so, and tells nothing twice.
  if (!live->ended) (void)hold(task);
  if (!volumes_found_) find_volumes(task);
  if (!trees_told_.insert(container).second) {
    Again again(task);
    return source::list_trees(*this, *live, emit, again.task());
  }
  return source::list_trees(*this, *live, emit, task);
}

Status LiveSnapshot::list_postures(const Emit<Posture>& emit, Task& task) {
  auto of_node = any_runs() ? proc::read_mounts(node_->proc, node_->host, task)
                            : Result<std::vector<Mount>>(std::vector<Mount>());
  if (!of_node) {
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({Impact::lost, "container.posture", "the node's mount table", of_node.error()});
    of_node = std::vector<Mount>();
  }
  for (const LiveContainer& live : containers_) {
    if (live.ended) {
      task.gaps.add({Impact::note, "container.posture", live.container.id,
                     Error{Errc::vanished,
                           "has ended: what it was to be allowed stands in container.json and spec.json"}});
      continue;
    }
    if (auto status = emit(read_posture(*node_, live, *of_node, task)); !status) return status;
  }
  return Done{};
}

Status LiveSnapshot::list_node_facts(const Emit<NodeFact>& emit, Task& task) {
  const Emit<NewerFile> fact = [&](NewerFile&& found) { return emit(std::move(found.fact)); };
  return source::list_node_facts(*node_, containers_, fact, task);
}

}  // namespace ctriage::source
