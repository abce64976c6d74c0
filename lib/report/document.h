#pragma once
// A view as JSON, streamed: what has been written leaves the buffer at once.
#include <string>
#include <string_view>

#include "lib/model/json.h"
#include "lib/model/kinds.h"
#include "lib/report/report.h"

namespace ctriage::report {

// What a command says at its end, in one piece.
template <class T>
std::string document(const T& artifact) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.member_value("schema", schema_of<T>());
  writer.members(artifact);
  writer.end_object();
  return out += '\n';
}

// One document or one artifact per line, by the same calls.
class Document {
 public:
  Document(Format format, const Out& out) : format_(format), out_(out), json_(buffer_) {}

  void begin(std::string_view schema) {
    if (format_ == Format::jsonl) return;
    json_.begin_object();
    json_.member_value("schema", std::string(schema));
  }
  Status end() {
    if (format_ != Format::jsonl) {
      json_.end_object();
      buffer_ += '\n';
    }
    return flush();
  }
  template <class T>
  Status one(std::string_view name, const T& item) {
    if (format_ == Format::jsonl) return line(item);
    json_.member_value(name, item);
    return relieve();
  }
  // `list` is handed what takes one artifact.
  template <class T, class List>
  Status many(std::string_view name, const List& list) {
    if (format_ == Format::jsonl) {
      return list([this](const T& item) { return line(item); });
    }
    json_.key(name);
    json_.begin_array();
    auto done = list([this](const T& item) {
      json_.value(item);
      return relieve();
    });
    if (!done) return done;
    json_.end_array();
    return Done{};
  }

 private:
  static constexpr std::size_t kFlushBytes = 64 << 10;

  template <class T>
  Status line(const T& item) {
    json_.begin_object();
    json_.member_value("schema", schema_of<T>());
    json_.members(item);
    json_.end_object();
    buffer_ += '\n';
    return flush();
  }
  // The writer looks at the last character to place its commas, so that one stays.
  Status relieve() {
    if (buffer_.size() < kFlushBytes) return Done{};
    auto done = out_(std::string_view(buffer_).substr(0, buffer_.size() - 1));
    buffer_.erase(0, buffer_.size() - 1);
    return done;
  }
  Status flush() {
    auto done = out_(buffer_);
    buffer_.clear();
    return done;
  }

  Format format_;
  const Out& out_;
  std::string buffer_;
  JsonWriter json_;
};

}  // namespace ctriage::report
