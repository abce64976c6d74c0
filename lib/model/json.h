#pragma once
// Artifacts to JSON and back. Writing is ours and streams (no document in memory, pure ASCII, keys in the
// order of the table); reading is nlohmann_json behind limits, in json_reader_json.cpp.
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/text.h"
#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

// Writes one JSON value after another into a string. The caller keeps begin and end in balance.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name) {
    separate();
    append_json_string(out_, name);
    out_ += ':';
    after_key_ = true;
  }
  void text(std::string_view value) {
    separate();
    append_json_string(out_, value);
  }
  void literal(std::string_view ascii) {  // a number, true, false, null
    separate();
    out_ += ascii;
  }

  template <class T>
  void value(const T& item) {
    if constexpr (std::same_as<T, bool>) {
      literal(item ? "true" : "false");
    } else if constexpr (std::integral<T> || std::floating_point<T>) {
      literal(std::to_string(item));
    } else if constexpr (NamedEnum<T>) {
      text(to_text(item));
    } else if constexpr (std::same_as<T, Timestamp>) {
      text(to_rfc3339(item));
    } else if constexpr (std::same_as<T, Hex>) {
      text(hex_text(item));
    } else if constexpr (std::same_as<T, Bytes>) {
      text(item.raw);
    } else if constexpr (Artifact<const T>) {
      begin_object();
      members(item);
      end_object();
    } else if constexpr (requires { item.has_value(); }) {
      value(*item);
    } else if constexpr (requires { item.begin(); } && !std::convertible_to<T, std::string_view>) {
      begin_array();
      for (const auto& element : item) value(element);
      end_array();
    } else {
      text(item);
    }
  }

  // The members of an artifact into an object the caller opened.
  template <class T>
  void members(const T& item) {
    auto each = [this](std::string_view name, const auto& member, std::string_view) {
      this->member_value(name, member);
    };
    T::fields(item, each);
  }

  template <class T>
  void member_value(std::string_view name, const T& member) {
    if constexpr (requires { member.has_value(); }) {
      if (member.has_value()) member_value(name, *member);
    } else {
      key(name);
      value(member);
      if constexpr (std::same_as<T, Bytes>) {
        if (!is_utf8(member.raw)) {
          key(std::string(name) + "_b64");
          text(to_base64(member.raw));
        }
      } else if constexpr (std::same_as<T, std::vector<Bytes>>) {
        bool plain = true;
        for (const Bytes& element : member) plain = plain && is_utf8(element.raw);
        if (!plain) {
          key(std::string(name) + "_b64");
          begin_array();
          for (const Bytes& element : member) text(to_base64(element.raw));
          end_array();
        }
      }
    }
  }

  static std::string hex_text(Hex value);

 private:
  void separate() {
    if (after_key_) {
      after_key_ = false;
    } else if (!out_.empty() && out_.back() != '{' && out_.back() != '[' && out_.back() != '\n' &&
               depth_ > 0) {
      out_ += ',';
    }
  }
  void open(char bracket) {
    separate();
    out_ += bracket;
    ++depth_;
  }
  void close(char bracket) {
    out_ += bracket;
    --depth_;
  }

  std::string& out_;
  int depth_ = 0;
  bool after_key_ = false;
};

// One artifact as one line of JSON, without its line end.
template <Artifact T>
std::string to_json(const T& item) {
  std::string out;
  JsonWriter writer(out);
  writer.value(item);
  return out;
}

// Reads one JSON object written by to_json. Unknown keys are skipped (newer writers), missing ones keep their
// default, a value of the wrong type is Errc::malformed. Explicitly instantiated for every artifact in
// json_reader_json.cpp.
template <class T>
Result<T> parse_artifact(std::string_view json);

}  // namespace ctriage
