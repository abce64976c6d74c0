#include "lib/source/objects.h"

#include "lib/source/bundle/source.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/ended.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

Status visit_objects(Snapshot& snapshot, const ObjectQuery& query, ObjectVisitor& visitor, Task& task) {
  if (auto* checkpoint = dynamic_cast<CheckpointSnapshot*>(&snapshot))
    return checkpoint->visit_objects(query, visitor, task);
  if (auto* bundle = dynamic_cast<BundleSnapshot*>(&snapshot))
    return bundle->visit_objects(query, visitor, task);
  if (auto* live = dynamic_cast<LiveSnapshot*>(&snapshot))
    return visit_live_objects(*live, query, visitor, task);
  if (auto* ended = dynamic_cast<EndedSnapshot*>(&snapshot))
    return visit_ended_objects(*ended, query, visitor, task);
  return Error{Errc::unsupported, "nothing is extracted from this kind of source"};
}

}  // namespace ctriage::source
