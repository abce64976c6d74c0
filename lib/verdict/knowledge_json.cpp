//   os-tools.json: {"version": 1, "groups": {GROUP: [NAME, ...]}, "multicall": [NAME, ...],
//                   "just_in_time": [NAME, ...], "kernel_threads": [BEGINNING, ...]}
//   places.json:   {"version": 1, "places": [{"is": PLACE, "globs": [GLOB, ...]}, ...],
//                   "reasons": [{"is": REASON, "globs": [GLOB, ...]}, ...]}
#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/model/json_limits.h"
#include "lib/verdict/knowledge.h"

namespace ctriage::verdict {
namespace {

using nlohmann::json;

constexpr JsonLimits kDataLimits{.bytes = 1 << 20, .depth = 8, .elements = 20'000};

Status take_names(const json& list, std::string_view where, const std::function<void(std::string)>& take) {
  const Error bad{Errc::malformed, std::string(where) + ": not a list of names"};
  if (!list.is_array()) return bad;
  for (const json& name : list) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty()) return bad;
    take(name.get<std::string>());
  }
  return Done{};
}

Status take_globs(const json& list, std::string_view where,
                  std::vector<std::pair<std::string, std::string>>& into) {
  const Error bad{Errc::malformed, std::string(where) + ": not a list of {\"is\", \"globs\"}"};
  if (!list.is_array()) return bad;
  for (const json& entry : list) {
    if (!entry.is_object() || entry.size() != 2 || !entry.contains("globs")) return bad;
    const json is = entry.value("is", json());
    if (!is.is_string()) return bad;
    const std::string answer = is.get<std::string>();
    auto taken = take_names(entry["globs"], where,
                            [&](std::string glob) { into.emplace_back(std::move(glob), answer); });
    if (!taken) return taken;
  }
  return Done{};
}

Status check(const Result<json>& document, std::string_view name) {
  if (!document) return Error(document.error()).within(name);
  if (document->is_object() && document->value("version", json()) == json(1)) return Done{};
  return Error{Errc::unsupported, std::string(name) + ": not version 1"};
}

}  // namespace

Result<Knowledge> Knowledge::parse(std::string_view os_tools, std::string_view places) {
  auto tools = parse_limited(os_tools, kDataLimits);
  if (auto fine = check(tools, "os-tools.json"); !fine) return std::move(fine).error();
  auto paths = parse_limited(places, kDataLimits);
  if (auto fine = check(paths, "places.json"); !fine) return std::move(fine).error();

  Knowledge known;
  const json groups = tools->value("groups", json());
  if (!groups.is_object()) return Error{Errc::malformed, "os-tools.json: groups: not an object"};
  for (const auto& [group, names] : groups.items()) {
    auto taken = take_names(names, "os-tools.json: groups." + group, [&, &group = group](std::string name) {
      known.tools_.emplace_back(std::move(name), group);
    });
    if (!taken) return std::move(taken).error();
  }
  std::ranges::sort(known.tools_);
  const auto twice = std::ranges::adjacent_find(known.tools_, {}, &Names::value_type::first);
  if (twice != known.tools_.end())
    return Error{Errc::malformed, "os-tools.json: " + twice->first + ": in two groups"};
  const auto list = [&tools](const char* key, std::vector<std::string>& into) {
    return take_names(tools->value(key, json()), std::string("os-tools.json: ") + key,
                      [&into](std::string name) { into.push_back(std::move(name)); });
  };
  if (auto taken = list("multicall", known.multicall_); !taken) return std::move(taken).error();
  if (auto taken = list("just_in_time", known.just_in_time_); !taken) return std::move(taken).error();
  if (auto taken = list("kernel_threads", known.kernel_threads_); !taken) return std::move(taken).error();
  if (auto taken = take_globs(paths->value("places", json()), "places.json: places", known.places_); !taken)
    return std::move(taken).error();
  if (auto taken = take_globs(paths->value("reasons", json()), "places.json: reasons", known.reasons_);
      !taken)
    return std::move(taken).error();
  return known;
}

}  // namespace ctriage::verdict
