#pragma once
// What has bytes in the images of one container and beside them, for extract. lib/criu/FORMAT.md says which
// image has what. Not for other modules.
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/model/object.h"
#include "lib/source/checkpoint/layout.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {

class ObjectFeed;

struct ObjectWork {  // what lies in one file of a store: store_order.h
  CheckpointStore* store = nullptr;
  std::string name;
  // An error is that of the visitor or a stop; what cannot be read is a gap.
  std::function<Status(ObjectVisitor& to)> walk;
};

class CheckpointObjects {
 public:
  // All of it must outlive what plan() gives; `tasks` null: there are no images.
  CheckpointObjects(const CheckpointPart& part, CheckpointTasks* tasks, const ObjectQuery& query, Task& task)
      : part_(part), tasks_(tasks), query_(query), task_(task) {}
  // Reads what it needs to know who has what. An error is a stop.
  Status plan(std::vector<ObjectWork>& into);

 private:
  using FileKey = CheckpointTasks::FileKey;
  using Pids = std::set<std::int32_t>;
  struct Ghost {
    std::string image;
    std::vector<std::uint32_t> files;  // ids of those that had a name each
  };
  struct Queued {  // for one receiver
    std::vector<ObjectPacket> packets;
    std::vector<std::uint64_t> places;  // of each in the image
    std::uint64_t size_bytes = 0;
    std::uint64_t left_out = 0;
  };

  Status find_owners();
  void own(Pids& pids, std::uint32_t pid);
  void own_mappings(const CheckpointTask& about);
  [[nodiscard]] bool wanted(const Pids& pids) const { return query_.pid == 0 || pids.contains(query_.pid); }
  [[nodiscard]] ExtractedObject object(ObjectKind kind, std::string what, const Pids& pids) const;
  void lose(const std::string& name, Error error);
  // What cannot be read is a gap; the error of a stop.
  Status unread(const std::string& name, Error error);
  void note(const char* artifact, std::string why);
  [[nodiscard]] const Socket* socket_of(std::uint64_t inode) const;
  void name_connection(const criu::FileEntry& entry, ExtractedObject& into) const;
  // Images of this directory whose names begin and end so.
  [[nodiscard]] std::vector<std::string> images(std::string_view prefix, std::string_view suffix) const;
  void add(std::vector<ObjectWork>& into, const std::string& image,
           std::function<Status(ObjectVisitor& to)> walk);

  void plan_ghosts(std::vector<ObjectWork>& into);
  Status walk_ghost(const Ghost& ghost, ObjectVisitor& to);
  void plan_shared(std::vector<ObjectWork>& into);
  Status walk_shared(ExtractedObject object, std::uint32_t id, std::uint64_t size_bytes, ObjectVisitor& to);
  [[nodiscard]] std::string pages_of(const std::string& of);
  void plan_code(std::vector<ObjectWork>& into);
  Status walk_code(const CheckpointTask& about, ObjectVisitor& to);

  void plan_queues(std::vector<ObjectWork>& into);
  Status walk_pipes(const std::string& image, bool fifos, ObjectVisitor& to);
  static Status feed_packets(ExtractedObject&& made, const Queued& queue, archive::BytesAt& image,
                             ObjectFeed& feed);
  Status walk_packets(ObjectVisitor& to);
  Status walk_tcp(const std::string& image, ObjectVisitor& to);
  void plan_ipc(std::vector<ObjectWork>& into);
  Status walk_segments(const std::string& image, ObjectVisitor& to);
  Status walk_messages(const std::string& image, ObjectVisitor& to);

  void plan_tar(std::vector<ObjectWork>& into, CheckpointStore& store, const std::string& path,
                ObjectKind kind, std::string below, bool whiteouts);

  const CheckpointPart& part_;
  CheckpointTasks* tasks_;
  const ObjectQuery& query_;
  Task& task_;
  std::map<FileKey, Pids> owners_;
  std::map<FileKey, Pids> runners_;
  std::map<std::uint32_t, Pids> sharers_;         // of shared memory, System V too, by CRIU's number
  std::map<std::uint32_t, std::uint64_t> spans_;  // of shared memory: as far as it is mapped
  std::size_t owner_room_ = 0;
  std::uint32_t page_bytes_ = 0;
};

}  // namespace ctriage::source
