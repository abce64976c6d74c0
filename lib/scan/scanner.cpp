#include "lib/scan/scanner.h"

#include <yara.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "lib/core/text.h"

namespace ctriage::scan {
namespace {

struct Placed {  // from here on the bytes of the piece lie in that area
  std::size_t offset = 0;
  MemoryArea area;
};

std::string bounded(const char* text) {
  return text == nullptr ? std::string() : std::string(text, strnlen(text, kMaxMetaBytes));
}

std::vector<YaraMeta> metas_of(YR_RULE* rule) {
  std::vector<YaraMeta> metas;
  YR_META* meta = nullptr;
  yr_rule_metas_foreach(rule, meta) {
    if (metas.size() >= kMaxMeta) break;
    std::string value = meta->type == META_TYPE_STRING    ? bounded(meta->string)
                        : meta->type == META_TYPE_BOOLEAN ? (meta->integer != 0 ? "true" : "false")
                                                          : std::to_string(meta->integer);
    metas.push_back({bounded(meta->identifier), Bytes(std::move(value))});
  }
  return metas;
}

std::string lowered(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

}  // namespace

struct YaraScanner::State {
  State(YaraOptions wanted, Emit<YaraMatch> to, Task& of)
      : options(wanted), emit(std::move(to)), task(of), bytes(wanted.piece_bytes) {}
  ~State() {
    if (scanner != nullptr) yr_scanner_destroy(scanner);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  static int on_message(YR_SCAN_CONTEXT* context, int message, void* data, void* self) {
    auto& state = *static_cast<State*>(self);
    if (message == CALLBACK_MSG_TOO_MANY_MATCHES) {
      const auto* string = static_cast<const YR_STRING*>(data);
      state.lose("string " + bounded(string->identifier) + ": too many matches, the first million count",
                 Errc::limit);
    }
    if (message == CALLBACK_MSG_RULE_MATCHING) state.matched(context, static_cast<YR_RULE*>(data));
    return state.refused ? CALLBACK_CONTINUE : CALLBACK_ABORT;
  }

  [[nodiscard]] const MemoryArea& area_at(std::size_t offset) const {
    const auto behind = std::ranges::upper_bound(areas, offset, {}, &Placed::offset);
    return behind == areas.begin() ? areas.front().area : std::prev(behind)->area;
  }
  [[nodiscard]] std::optional<Hex> address_of(const MemoryArea& in, std::size_t offset) const {
    if (!in.address) return std::nullopt;
    return Hex{*in.address + (run_start + offset - in.start)};
  }
  [[nodiscard]] std::optional<std::uint64_t> offset_of(const MemoryArea& in, std::size_t offset) const {
    if (!in.has_offset) return std::nullopt;
    return in.offset_bytes + (run_start + offset - in.start);
  }
  [[nodiscard]] std::string name() const {
    const MemoryArea& first = area_at(0);
    std::string text = first.pid != 0 ? "pid " + std::to_string(first.pid) + " " : std::string();
    if (first.address) text += "at " + to_hex_text(*first.address + (run_start - first.start)) + " ";
    return text + first.path.raw;
  }
  static std::string to_hex_text(std::uint64_t value) {
    std::string text = "0x";
    bool any = false;
    for (int shift = 60; shift >= 0; shift -= 4) {
      const auto digit = static_cast<std::size_t>(value >> static_cast<unsigned>(shift) & 0xfU);
      any = any || digit != 0 || shift == 0;
      if (any) text += "0123456789abcdef"[digit];
    }
    return text;
  }

  void lose(std::string why, Errc code) {
    task.gaps.add({Impact::lost, "scan.yara", name(), {code, std::move(why)}});
  }

  void matched(YR_SCAN_CONTEXT* context, YR_RULE* rule) {
    struct Place {
      std::size_t offset;
      std::size_t size;
      std::string_view data;
      const char* id;
    };
    std::vector<Place> places;
    std::uint64_t count = 0;
    bool fresh = false;  // something of it is not of what the last piece had, too
    bool any_string = false;
    YR_STRING* string = nullptr;
    yr_rule_strings_foreach(rule, string) {
      std::size_t of_this = 0;
      // libyara lays them out without regard to alignment: copied, not looked at where they lie.
      YR_MATCH match{};
      for (const void* at = context->matches[string->idx].head; at != nullptr; at = match.next) {
        std::memcpy(&match, at, sizeof match);
        any_string = true;
        ++count;
        const auto offset = static_cast<std::size_t>(match.base + match.offset);
        const auto length = static_cast<std::size_t>(match.match_length);
        fresh = fresh || offset + length > known_before;
        if (of_this++ < kMaxOfOneString && !match.is_private)
          places.push_back({offset,
                            length,
                            {reinterpret_cast<const char*>(match.data),
                             static_cast<std::size_t>(std::max(match.data_length, 0))},
                            string->identifier});
      }
    }
    // Rules that look for no string say the same of every piece.
    if (known_before > 0 && !(any_string && fresh)) return;
    std::ranges::stable_sort(places, {}, [](const Place& place) { return place.offset; });
    if (places.size() > kMaxMatchStrings) places.resize(kMaxMatchStrings);

    YaraMatch found;
    found.rule = bounded(rule->identifier);
    found.file = bounded(rule->ns->name);
    found.meta = metas_of(rule);
    for (const YaraMeta& meta : found.meta) {
      const auto severity = parse_enum<Severity>(lowered(meta.value.raw));
      if (lowered(meta.name) == "severity" && severity) found.severity = *severity;
    }
    const char* tag = nullptr;
    yr_rule_tags_foreach(rule, tag) {
      if (found.tags.size() < kMaxTags) found.tags.push_back(bounded(tag));
    }
    const std::size_t at = places.empty() ? 0 : places.front().offset;
    const MemoryArea& place_in = area_at(at);
    found.container = place_in.container;
    if (place_in.pid != 0) found.pid = place_in.pid;
    if (place_in.container_pid != 0) found.container_pid = place_in.container_pid;
    found.kind = place_in.kind;
    found.protection = place_in.protection;
    found.path = place_in.path;
    found.address = address_of(place_in, at);
    found.offset_bytes = offset_of(place_in, at);
    found.string_count = count;
    for (const Place& place : places) {
      const MemoryArea& in = area_at(place.offset);
      found.strings.push_back({bounded(place.id), address_of(in, place.offset), offset_of(in, place.offset),
                               place.size, Bytes(std::string(place.data.substr(0, kMaxStringBytes)))});
    }
    ++counts[{found.file, found.rule}];
    if (auto done = emit(std::move(found)); !done) refused = std::move(done);
  }

  // What is gathered, and then forgotten but for its end.
  Status look(bool goes_on) {
    if (size > known_before) {
      if (auto go_on = task.check(); !go_on) return go_on;
      define("filepath", areas.front().area.path.raw);
      const std::string& path = areas.front().area.path.raw;
      const std::string file = path.substr(path.rfind('/') + 1);
      const auto dot = file.rfind('.');
      define("filename", file);
      define("extension", dot == std::string::npos ? std::string() : file.substr(dot));
      yr_scanner_set_timeout(scanner, options.piece_timeout_s);
      const int code =
          yr_scanner_scan_mem(scanner, reinterpret_cast<const std::uint8_t*>(bytes.data()), size);
      if (!refused) return refused;
      if (code == ERROR_SCAN_TIMEOUT) {
        lose("not done within " + std::to_string(options.piece_timeout_s) + " s: --object-timeout",
             Errc::timeout);
      } else if (code != ERROR_SUCCESS) {
        lose("libyara gave it up: error " + std::to_string(code), Errc::io);
      }
    }
    if (!goes_on) {
      size = 0;
      known_before = 0;
      pieces = 0;
      areas.clear();
      return Done{};
    }
    if (pieces++ == 0 && !areas.front().area.address) {
      task.gaps.add({Impact::degraded,
                     "scan.yara",
                     name(),
                     {Errc::limit, "has over " + human_size(options.piece_bytes) +
                                       ": looked at in pieces, each as a file of its own"}});
    }
    const std::size_t keep = std::min(options.overlap_bytes, size / 2);
    const std::size_t from = size - keep;
    std::memmove(bytes.data(), bytes.data() + from, keep);
    MemoryArea at_cut = area_at(from);
    std::erase_if(areas, [&](const Placed& each) { return each.offset <= from; });
    for (Placed& each : areas) each.offset -= from;
    areas.insert(areas.begin(), {0, std::move(at_cut)});
    run_start += from;
    size = keep;
    known_before = keep;
    return Done{};
  }
  void define(const char* name, const std::string& value) {
    (void)yr_scanner_define_string_variable(scanner, name, value.c_str());
  }

  YaraOptions options;
  Emit<YaraMatch> emit;
  Task& task;
  YR_SCANNER* scanner = nullptr;
  std::vector<std::byte> bytes;
  std::size_t size = 0;
  std::size_t known_before = 0;  // bytes at its beginning that the piece before had, too
  std::size_t pieces = 0;        // of this run that were looked at
  std::uint64_t run_start = 0;   // of what is at the beginning of `bytes`
  std::vector<Placed> areas;
  std::optional<MemoryArea> area;  // entered last
  Status refused = Done{};
  std::map<std::pair<std::string, std::string>, std::uint64_t> counts;
};

YaraScanner::YaraScanner(std::unique_ptr<State> state) : state_(std::move(state)) {}
YaraScanner::~YaraScanner() = default;

Result<std::unique_ptr<YaraScanner>> YaraScanner::create(const Rules& rules, YaraOptions options,
                                                         Emit<YaraMatch> emit, Task& task) {
  auto state = std::make_unique<State>(options, std::move(emit), task);
  if (yr_scanner_create(rules.get(), &state->scanner) != ERROR_SUCCESS)
    return Error{Errc::io, "libyara: no scanner"};
  yr_scanner_set_callback(state->scanner, State::on_message, state.get());
  // Its handlers of SIGBUS and SIGSEGV are for mapped files: ours are in memory.
  yr_scanner_set_flags(state->scanner, SCAN_FLAGS_NO_TRYCATCH | SCAN_FLAGS_REPORT_RULES_MATCHING);
  return std::unique_ptr<YaraScanner>(new YaraScanner(std::move(state)));
}

Status YaraScanner::enter(MemoryArea&& area) {
  State& state = *state_;
  if (state.area && state.area->space != area.space) {
    if (auto done = state.look(false); !done) return done;
  }
  state.area = std::move(area);
  // Mappings without a byte leave no trace.
  if (!state.areas.empty() && state.areas.back().offset == state.size) state.areas.pop_back();
  state.areas.push_back({state.size, *state.area});
  return Done{};
}

std::span<std::byte> YaraScanner::room() { return std::span(state_->bytes).subspan(state_->size); }

Status YaraScanner::filled(std::uint64_t address, std::size_t count) {
  State& state = *state_;
  if (count == 0) return Done{};
  if (state.size > 0 && address != state.run_start + state.size) {
    const std::size_t behind = state.size;
    if (auto done = state.look(false); !done) return done;
    std::memmove(state.bytes.data(), state.bytes.data() + behind, count);
    state.areas.push_back({0, *state.area});
  }
  if (state.size == 0) state.run_start = address;
  state.size += count;
  searched_ += count;
  state.task.passed(count);
  return state.size < state.bytes.size() ? Status(Done{}) : state.look(true);
}

Status YaraScanner::finish() { return state_->look(false); }

std::vector<PatternCount> YaraScanner::counts() const {
  std::vector<PatternCount> all;
  for (const auto& [rule, count] : state_->counts) all.push_back({Bytes(rule.second), count});
  std::ranges::stable_sort(all, std::greater<>(), &PatternCount::matches);
  return all;
}

}  // namespace ctriage::scan
