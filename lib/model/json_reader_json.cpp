// JSON from evidence, by SAX so that every limit is met before memory is spent on what is over it. Two
// readers share the counting: one fills an artifact straight from the events, one builds a document for
// formats that are not ours.
#include "lib/model/json.h"

#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/model/custody.h"
#include "lib/model/json_budget.h"
#include "lib/model/kinds.h"
#include "lib/model/memory.h"
#include "lib/model/sweep.h"
#include "lib/model/transfer.h"

namespace ctriage {
namespace {

using nlohmann::json;

// An artifact in a list costs up to a few hundred bytes for the two of "{}", a scalar at most 32 for one or
// two.
constexpr std::size_t kMaxScalars = 1'000'000;
constexpr std::size_t kMaxObjects = 100'000;
constexpr std::size_t kMaxKeyShown = 80;

// Where the next value goes: an object of ours and what it can take. No `as`: skip the value.
struct Shape;
struct Slot {
  void* at = nullptr;
  const Shape* as = nullptr;
};

// What a member of some type takes; each says false where the value is of the wrong type or out of range.
struct Shape {
  bool (*null)(void*) = [](void*) { return false; };
  bool (*boolean)(void*, bool) = [](void*, bool) { return false; };
  bool (*negative)(void*, std::int64_t) = [](void*, std::int64_t) { return false; };
  bool (*natural)(void*, std::uint64_t) = [](void*, std::uint64_t) { return false; };
  bool (*text)(void*, std::string&) = [](void*, std::string&) { return false; };
  // Begins anew, so that the last of duplicate keys wins; gives the slot whose members or elements follow.
  Slot (*object)(void*) = [](void*) { return Slot{}; };
  Slot (*array)(void*) = [](void*) { return Slot{}; };
  Slot (*member)(void*, std::string_view) = [](void*, std::string_view) { return Slot{}; };
  Slot (*element)(void*) = [](void*) { return Slot{}; };
};

template <class T>
T& as(void* at) {
  return *static_cast<T*>(at);
}

template <class T>
bool set_text(T& into, std::string& text) {
  if constexpr (std::same_as<T, std::string>) {
    into = std::move(text);
  } else if constexpr (std::same_as<T, Bytes>) {
    into.raw = std::move(text);
  } else if constexpr (std::same_as<T, Hex>) {
    if (!text.starts_with("0x")) return false;
    const auto number = parse_number<std::uint64_t>(std::string_view(text).substr(2), 16);
    if (!number) return false;
    into.value = *number;
  } else if constexpr (std::same_as<T, Timestamp>) {
    return parse_rfc3339(text, into);
  } else {
    const auto value = parse_enum<T>(text);
    if (!value) return false;
    into = *value;
  }
  return true;
}

template <class T, bool Encoded>  // Encoded: the "<name>_b64" that stands beside Bytes
constexpr Shape make_shape();
template <class T, bool Encoded = false>
constexpr Shape kShape = make_shape<T, Encoded>();

template <class T>
concept Optional = requires(T& item) {
  item.has_value();
};
template <class T>
concept List = requires(T& item) {
  item.emplace_back();
};
template <class T>
concept MadeOfBytes =
    std::same_as<T, Bytes> || std::same_as<T, std::optional<Bytes>> || std::same_as<T, std::vector<Bytes>>;

template <class T>
Slot member_of(void* at, std::string_view key) {
  Slot found;
  auto visit = [&]<class M>(std::string_view name, M& member, std::string_view) {
    if (key == name) found = {&member, &kShape<M>};
    if constexpr (MadeOfBytes<M>) {
      if (key.size() == name.size() + 4 && key.starts_with(name) && key.ends_with("_b64")) {
        found = {&member, &kShape<M, true>};
      }
    }
  };
  T::fields(as<T>(at), visit);
  return found;
}

template <class T, bool Encoded>
constexpr Shape make_shape() {
  Shape shape;
  if constexpr (Artifact<T>) {
    shape.object = [](void* at) {
      as<T>(at) = T{};
      return Slot{at, &kShape<T>};
    };
    shape.member = member_of<T>;
  } else if constexpr (Optional<T>) {
    using U = typename T::value_type;
    shape.null = [](void* at) {
      as<T>(at).reset();
      return true;
    };
    shape.boolean = [](void* at, bool value) {
      return kShape<U, Encoded>.boolean(&as<T>(at).emplace(), value);
    };
    shape.negative = [](void* at, std::int64_t value) {
      return kShape<U, Encoded>.negative(&as<T>(at).emplace(), value);
    };
    shape.natural = [](void* at, std::uint64_t value) {
      return kShape<U, Encoded>.natural(&as<T>(at).emplace(), value);
    };
    shape.text = [](void* at, std::string& value) {
      return kShape<U, Encoded>.text(&as<T>(at).emplace(), value);
    };
    shape.object = [](void* at) { return kShape<U, Encoded>.object(&as<T>(at).emplace()); };
    shape.array = [](void* at) { return kShape<U, Encoded>.array(&as<T>(at).emplace()); };
  } else if constexpr (std::same_as<T, bool>) {
    shape.boolean = [](void* at, bool value) {
      as<bool>(at) = value;
      return true;
    };
  } else if constexpr (std::integral<T>) {
    shape.negative = [](void* at, std::int64_t value) {
      if (!std::in_range<T>(value)) return false;
      as<T>(at) = static_cast<T>(value);
      return true;
    };
    shape.natural = [](void* at, std::uint64_t value) {
      if (!std::in_range<T>(value)) return false;
      as<T>(at) = static_cast<T>(value);
      return true;
    };
  } else if constexpr (List<T> && !std::same_as<T, std::string>) {
    shape.array = [](void* at) {
      as<T>(at).clear();
      return Slot{at, &kShape<T, Encoded>};
    };
    // The element's place holds until the next one begins, and by then this one is complete.
    shape.element = [](void* at) {
      return Slot{&as<T>(at).emplace_back(), &kShape<typename T::value_type, Encoded>};
    };
  } else if constexpr (Encoded) {
    shape.text = [](void* at, std::string& text) {
      auto bytes = from_base64(text);
      if (!bytes) return false;
      as<T>(at).raw = *std::move(bytes);
      return true;
    };
  } else {
    shape.text = [](void* at, std::string& text) { return set_text(as<T>(at), text); };
  }
  return shape;
}

class ArtifactSax final : public json::json_sax_t, public JsonBudget {
 public:
  explicit ArtifactSax(Slot root) : JsonBudget(kMaxJsonDepth, kMaxScalars, kMaxObjects), root_(root) {}

  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return not_json(position);
  }
  bool binary(json::binary_t&) override { return not_json(0); }  // JSON text has none
  bool null() override {
    return one([](const Slot& slot) { return slot.as->null(slot.at); });
  }
  bool boolean(bool value) override {
    return one([&](const Slot& slot) { return slot.as->boolean(slot.at, value); });
  }
  bool number_integer(std::int64_t value) override {
    return one([&](const Slot& slot) { return slot.as->negative(slot.at, value); });
  }
  bool number_unsigned(std::uint64_t value) override {
    return one([&](const Slot& slot) { return slot.as->natural(slot.at, value); });
  }
  bool number_float(double,
                    const std::string&) override {  // no artifact has a fraction; over 64 bits ends here too
    return one([](const Slot&) { return false; });
  }
  bool string(std::string& value) override {
    return one([&](const Slot& slot) { return slot.as->text(slot.at, value); });
  }
  bool key(std::string& name) override {
    const Slot& parent = open_.back().slot;
    open_.back().next = parent.as == nullptr ? Slot{} : parent.as->member(parent.at, name);
    key_ = std::move(name);
    return true;
  }
  bool start_object(std::size_t) override {
    return open(false, [](const Slot& slot) { return slot.as->object(slot.at); });
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override {
    return open(true, [](const Slot& slot) { return slot.as->array(slot.at); });
  }
  bool end_array() override { return close(); }

 private:
  struct Level {
    Slot slot;  // what is filled here
    bool list = false;
    Slot next;  // of an object: where the value after the key goes
  };

  Slot next() {
    if (open_.empty()) return root_;
    const Level& level = open_.back();
    if (!level.list) return level.next;
    return level.slot.as == nullptr ? Slot{} : level.slot.as->element(level.slot.at);
  }
  bool wrong() {
    if (open_.empty()) return fail(Errc::malformed, "not an object");
    return fail(Errc::malformed, key_.substr(0, kMaxKeyShown) + ": wrong type or out of range");
  }
  template <class Set>
  bool one(const Set& set) {
    if (!scalar()) return false;
    const Slot slot = next();
    return slot.as == nullptr || set(slot) || wrong();
  }
  template <class Begin>
  bool open(bool list, const Begin& begin) {
    if (!enter()) return false;
    const Slot slot = next();
    Level level;
    level.list = list;
    if (slot.as != nullptr) {
      level.slot = begin(slot);
      if (level.slot.as == nullptr) return wrong();
    }
    open_.push_back(level);
    return true;
  }
  bool close() {
    open_.pop_back();
    return leave();
  }

  Slot root_;
  std::string key_;  // for messages
  std::vector<Level> open_;
};

}  // namespace

template <class T>
Result<T> parse_artifact(std::string_view text) {
  if (auto fits = look_at_json(text, kMaxJsonLineBytes); !fits) return std::move(fits).error();
  T item;
  ArtifactSax sax(Slot{&item, &kShape<T>});
  if (!json::sax_parse(text.begin(), text.end(), &sax)) return sax.take_error().within(kKind<T>);
  return item;
}

template Result<Container> parse_artifact<Container>(std::string_view);
template Result<Process> parse_artifact<Process>(std::string_view);
template Result<Thread> parse_artifact<Thread>(std::string_view);
template Result<Mapping> parse_artifact<Mapping>(std::string_view);
template Result<Descriptor> parse_artifact<Descriptor>(std::string_view);
template Result<Socket> parse_artifact<Socket>(std::string_view);
template Result<Mount> parse_artifact<Mount>(std::string_view);
template Result<Layer> parse_artifact<Layer>(std::string_view);
template Result<TreeFile> parse_artifact<TreeFile>(std::string_view);
template Result<FileChange> parse_artifact<FileChange>(std::string_view);
template Result<LogFile> parse_artifact<LogFile>(std::string_view);
template Result<Source> parse_artifact<Source>(std::string_view);
template Result<Finding> parse_artifact<Finding>(std::string_view);
template Result<BundleHeader> parse_artifact<BundleHeader>(std::string_view json);
template Result<PageRange> parse_artifact<PageRange>(std::string_view);
template Result<Pod> parse_artifact<Pod>(std::string_view);
template Result<NodeFact> parse_artifact<NodeFact>(std::string_view);
template Result<CustodyAction> parse_artifact<CustodyAction>(std::string_view);
template Result<GapRecord> parse_artifact<GapRecord>(std::string_view);
// What one process of ours tells another.
template Result<CollectedTarget> parse_artifact<CollectedTarget>(std::string_view);
template Result<SweptTarget> parse_artifact<SweptTarget>(std::string_view);
template Result<PlanResult> parse_artifact<PlanResult>(std::string_view);
template Result<SentItem> parse_artifact<SentItem>(std::string_view);
template Result<Relayed> parse_artifact<Relayed>(std::string_view);
template Result<ExportDestination> parse_artifact<ExportDestination>(std::string_view);

}  // namespace ctriage
