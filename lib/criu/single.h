#pragma once
// What the parsers of this module share.
#include <string>
#include <string_view>
#include <utility>

#include "lib/criu/criu.h"
#include "lib/criu/message.h"

namespace ctriage::criu {

inline Error damaged(std::string_view what) {
  return {Errc::malformed, std::string(what) + ": not a message of protocol buffers"};
}

template <class T>
Result<T> whole(const Message& in, T read, std::string_view what) {
  if (!in.ok()) return damaged(what);
  return read;
}

// The message of an image that has one entry.
inline Result<std::string_view> only_entry(std::string_view file, Kind kind) {
  auto image = ImageReader::open(file, kind);
  if (!image) return std::move(image).error();
  std::string_view message;
  auto more = image->next(message);
  if (!more) return std::move(more).error();
  if (!*more) return Error{Errc::truncated, "a CRIU image without an entry"};
  return message;
}

}  // namespace ctriage::criu
