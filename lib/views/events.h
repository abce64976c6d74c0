#pragma once
// What a source can say of when: processes, execs, the times of changed files, image layers, logs, the node,
// containers, custody, findings.
#include <string>
#include <vector>

#include "lib/model/event.h"
#include "lib/model/snapshot.h"

namespace ctriage::views {

struct FileAt {                      // a file and where it lies
  EventKind kind = EventKind::file;  // or node
  std::string container;
  Bytes path;
  FileState file;
  std::string what;     // "added", "in /tmp"
  bool is_new = false;  // the image does not have it
};
// The times of one file, one event for each that differs. Of a file that the image does not have, a birth
// after the modification is said: the bytes were brought with their time, or the time was set; so is a
// modification after the last change of the inode, which nothing but a set time makes.
std::vector<Event> events_of_file(const FileAt& found);

// In the order of the lists, not of time. `each_file`: where it is not empty, files go there whole and are no
// events. What cannot be read is a gap; an error only of the emits, or when the task must end.
Status list_events(Snapshot& snapshot, const Emit<Event>& emit, const Emit<FileAt>& each_file, Task& task);

}  // namespace ctriage::views
