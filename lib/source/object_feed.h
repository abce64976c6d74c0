#pragma once
// Objects on their way from a source to their visitor. What cannot be read makes an object incomplete; what
// the visitor refuses, or a stop, ends all. Not for other modules.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/object.h"

namespace ctriage::source {

class ObjectFeed {
 public:
  ObjectFeed(ObjectVisitor& to, const Task& task);
  Status begin(ExtractedObject&& object);
  // `size` bytes of `from` at `at` as those of the object at `offset`. An offset behind which there are bytes
  // already is a miss.
  Status copy(archive::BytesAt& from, std::uint64_t at, std::uint64_t size, std::uint64_t offset);
  Status copy(std::span<const std::byte> bytes, std::uint64_t offset);
  // Why it will not be whole; the first reason stays.
  void miss(Error why);
  [[nodiscard]] bool missed() const { return missing_.has_value(); }
  Status end(std::uint64_t size_bytes);

 private:
  ObjectVisitor& to_;
  const Task& task_;
  std::vector<std::byte> block_;
  std::uint64_t next_ = 0;
  std::optional<Error> missing_;
};

struct LayerObjects {
  ExtractedObject like;    // container, kind, what
  std::string below = {};  // before each name
  bool whiteouts = false;  // names that begin with .wh. say what is gone: not objects
  std::map<std::string, std::string> partial = {};  // by path: why its bytes are not all of them
};
// The members of a tar, not compressed. An error is that of the visitor or a stop; what is wrong with the tar
// goes into `damage`.
Status feed_layer(ByteSource& tar, const LayerObjects& layer, ObjectVisitor& visitor, const Task& task,
                  std::optional<Error>& damage);

}  // namespace ctriage::source
