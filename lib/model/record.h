#pragma once
// An artifact as rules see it: dotted field names and their values as text. Comes from the fields table like
// everything else, so a rule can name exactly what JSON shows.
#include <concepts>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/fields.h"
#include "lib/model/json.h"
#include "lib/model/kinds.h"

namespace ctriage {

class Record {
 public:
  virtual ~Record() = default;
  [[nodiscard]] virtual std::string_view kind() const = 0;  // "process"
  // The value of "exe.origin" as text: enumerators by name, true and false, whole numbers in decimal, Hex as
  // "0x1f", Timestamp as RFC 3339, Bytes raw. A list gives all its elements, a list of artifacts the field of
  // each. Empty: nothing recorded there, or no such field (has_field tells which).
  [[nodiscard]] virtual std::vector<std::string> values(std::string_view dotted_path) const = 0;
};

namespace record_detail {

template <class T>
concept Optional = requires(T& item) {
  item.has_value();
};
template <class T>
concept List = requires(T& item) {
  item.emplace_back();
}
&&!std::same_as<std::remove_const_t<T>, std::string>;

inline std::string_view head_of(std::string_view path) { return path.substr(0, path.find('.')); }
inline std::string_view tail_of(std::string_view path) {
  const auto dot = path.find('.');
  return dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
}

template <class T>
void collect(const T& item, std::string_view path, std::vector<std::string>& into) {
  if constexpr (Artifact<const T>) {
    auto visit = [&](std::string_view name, const auto& member, std::string_view) {
      if (name == head_of(path)) collect(member, tail_of(path), into);
    };
    if (!path.empty()) T::fields(item, visit);
  } else if constexpr (Optional<const T>) {
    if (item.has_value()) collect(*item, path, into);
  } else if constexpr (List<T>) {
    for (const auto& element : item) collect(element, path, into);
  } else if (path.empty()) {
    if constexpr (std::same_as<T, bool>) {
      into.emplace_back(item ? "true" : "false");
    } else if constexpr (std::integral<T>) {
      into.push_back(std::to_string(item));
    } else if constexpr (NamedEnum<T>) {
      into.emplace_back(to_text(item));
    } else if constexpr (std::same_as<T, Hex>) {
      into.push_back(JsonWriter::hex_text(item));
    } else if constexpr (std::same_as<T, Timestamp>) {
      into.push_back(to_rfc3339(item));
    } else if constexpr (std::same_as<T, Bytes>) {
      into.push_back(item.raw);
    } else {
      into.push_back(item);
    }
  }
}

// Answers from the types alone, so that a rule is refused when it is loaded and not when it first meets an
// artifact.
template <class T>
bool known(std::string_view path) {
  if constexpr (Artifact<T>) {
    bool found = false;
    auto visit = [&]<class M>(std::string_view name, const M&, std::string_view) {
      if (name == head_of(path)) found = known<M>(tail_of(path));
    };
    const T sample{};
    if (!path.empty()) T::fields(sample, visit);
    return found;
  } else if constexpr (Optional<T> || List<T>) {
    return known<typename T::value_type>(path);
  } else {
    return path.empty();
  }
}

// Fields that no artifact stores and rules ask for; they stand in no JSON. values() falls back on them.
//   process: command_line: argv joined by spaces
//   socket:  local_address, local_port, remote_address, remote_port: the two parts of local and remote;
//            connected: it has a peer. Which side began a connection is not recorded.
void derive(const Process& process, std::string_view name, std::vector<std::string>& into);
void derive(const Socket& socket, std::string_view name, std::vector<std::string>& into);
bool is_derived(std::string_view kind, std::string_view name);

}  // namespace record_detail

// Whether artifact T has a field of that dotted name that values() can give; "exe" alone is not one,
// "exe.path" is.
template <Artifact T>
bool has_field(std::string_view dotted_path) {
  return !dotted_path.ends_with('.') &&
         (record_detail::known<T>(dotted_path) || record_detail::is_derived(kKind<T>, dotted_path));
}

// The same for an artifact named as rules do ("process"). False for both an unknown kind and an unknown
// field. Knows the fields of joined artifacts too (JoinedRecord).
bool has_field(std::string_view kind, std::string_view dotted_path);
// Whether rules may name that artifact at all.
bool has_kind(std::string_view kind);

template <Artifact T>
class RecordOf final : public Record {
 public:
  explicit RecordOf(const T& item) : item_(item) {}  // refers to it: not for keeping
  explicit RecordOf(T&&) = delete;
  [[nodiscard]] std::string_view kind() const override { return kKind<T>; }
  [[nodiscard]] std::vector<std::string> values(std::string_view dotted_path) const override {
    std::vector<std::string> found;
    record_detail::collect(item_, dotted_path, found);
    if constexpr (requires { record_detail::derive(item_, dotted_path, found); }) {
      if (found.empty()) record_detail::derive(item_, dotted_path, found);
    }
    return found;
  }

 private:
  const T& item_;
};

// An artifact and those it belongs to, each under a prefix: of a process "parent.exe.path". Which prefixes a
// kind may have is fixed, so that a rule is checked when it is loaded:
//   process      parent (a process), image, container
//   mapping      process, image, container
//   socket       process (the owner), image, container
//   file_change  image, container
//   mount        image, container
// and all of these seen (lib/model/seen.h).
// A prefix that was not joined, as the parent of a process that has none, gives no values.
class JoinedRecord final : public Record {
 public:
  explicit JoinedRecord(const Record& base) : base_(base) {}  // refers to all it is given: not for keeping
  explicit JoinedRecord(Record&&) = delete;
  // Not twice under one prefix. nullptr: nothing is known of it.
  void join(std::string_view prefix, const Record* other);
  [[nodiscard]] std::string_view kind() const override { return base_.kind(); }
  [[nodiscard]] std::vector<std::string> values(std::string_view dotted_path) const override;

 private:
  struct Part {
    std::string_view prefix;
    const Record* record;
  };
  const Record& base_;
  std::vector<Part> parts_;
};

}  // namespace ctriage
