#pragma once
// What of a source has bytes and no file that could be copied: deleted files, memfds, tmpfs, queues and the
// like. lib/extract/SEMANTICS.md says what each kind of source has.
#include "lib/core/task.h"
#include "lib/model/object.h"
#include "lib/model/snapshot.h"

namespace ctriage::source {

class LiveSnapshot;
class EndedSnapshot;

// One object after the other; of a compressed checkpoint in the order of the archive. What could not be read
// is a gap or an object that is not complete, what this source cannot have a note; an error of the visitor
// ends it. Errc::unsupported where this source has none of it, not_found: no such process.
Status visit_objects(Snapshot& snapshot, const ObjectQuery& query, ObjectVisitor& visitor, Task& task);

// The halves of it.
Status visit_live_objects(LiveSnapshot& live, const ObjectQuery& query, ObjectVisitor& visitor, Task& task);
Status visit_ended_objects(EndedSnapshot& ended, const ObjectQuery& query, ObjectVisitor& visitor,
                           Task& task);

}  // namespace ctriage::source
