#include "lib/views/indicators.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "lib/core/address.h"
#include "lib/model/change_bytes.h"

namespace ctriage::views {
namespace {

bool is_local_v4(std::uint32_t address) {
  constexpr std::array<std::pair<std::uint32_t, unsigned>, 8> kLocal{{{0x00000000U, 8},
                                                                      {0x0a000000U, 8},
                                                                      {0x64400000U, 10},
                                                                      {0x7f000000U, 8},
                                                                      {0xa9fe0000U, 16},
                                                                      {0xac100000U, 12},
                                                                      {0xc0a80000U, 16},
                                                                      {0xe0000000U, 3}}};
  for (const auto& [network, bits] : kLocal) {
    if (address >> (32 - bits) == network >> (32 - bits)) return true;
  }
  return false;
}

std::uint32_t big_endian(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

class FindIndicators {
 public:
  FindIndicators(Snapshot& snapshot, const IndicatorOptions& options, Task& task)
      : snapshot_(snapshot), options_(options), task_(task) {}

  Result<std::vector<Indicator>> find() {
    const Emit<Finding> finding = [&](Finding&& seen) -> Status {
      if (seen.severity < options_.least) return Done{};
      const std::string why = seen.rule + " " + seen.what.raw;
      if (seen.pid) pids_.emplace(std::pair(seen.container, *seen.pid), why);
      if (seen.path) paths_.emplace(std::pair(seen.container, seen.path->raw), why);
      return Done{};
    };
    if (auto listed = snapshot_.list_findings(finding, task_); !listed) return std::move(listed).error();
    std::vector<Container> containers;
    const Emit<Container> keep = [&](Container&& container) -> Status {
      containers.push_back(std::move(container));
      return Done{};
    };
    if (auto listed = snapshot_.list_containers(keep, task_); !listed) return std::move(listed).error();
    for (const Container& container : containers) {
      if (auto looked = look_at(container); !looked) return std::move(looked).error();
    }
    if (left_out_)
      task_.gaps.add({Impact::lost,
                      "iocs",
                      "",
                      {Errc::limit, "over " + std::to_string(kMaxIndicators) + ": the rest is left out"}});
    return std::move(found_);
  }

 private:
  void add(IndicatorType type, std::string value, const std::string& context) {
    if (value.empty() || seen_.contains({type, value})) return;
    left_out_ = left_out_ || found_.size() >= kMaxIndicators;
    if (left_out_) return;
    seen_.emplace(type, value);
    found_.push_back({type, Bytes(std::move(value)), Bytes(context)});
  }
  void add_file(const Bytes& path, const std::optional<std::string>& sha256, bool named,
                const std::string& context) {
    if (sha256) add(IndicatorType::sha256, *sha256, path.raw + ": " + context);
    if (named) add(IndicatorType::path, path.raw, context);
  }

  Status look_at(const Container& container) {
    const std::string& id = container.id;
    const std::string in = "in " + container.name.raw;
    const auto why_of = [&](std::int32_t pid) -> const std::string* {
      const auto found = pids_.find({id, pid});
      return found == pids_.end() ? nullptr : &found->second;
    };
    const Emit<Process> process = [&](Process&& seen) -> Status {
      const std::string* why = why_of(seen.pid);
      // A shell of the image that was misused is in every container of that image.
      const Origin origin = seen.exe.origin;
      const bool foreign = origin != Origin::image && origin != Origin::unknown && origin != Origin::host;
      if (!foreign || (why == nullptr && !options_.all)) return Done{};
      add_file(seen.exe.path, seen.exe.sha256, origin != Origin::memfd, why ? *why : "runs " + in);
      return Done{};
    };
    if (auto listed = snapshot_.list_processes(id, process, task_); !listed) return listed;
    const Emit<Socket> socket = [&](Socket&& seen) -> Status {
      const std::string* why = nullptr;
      for (const std::int32_t pid : seen.pids) why = why ? why : why_of(pid);
      if (why != nullptr || options_.all) add_peer(seen.remote.raw, why ? *why : seen.family + " peer " + in);
      return Done{};
    };
    if (auto listed = snapshot_.list_sockets(id, socket, task_); !listed) return listed;
    const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
      const auto why = paths_.find({id, seen.path.raw});
      const bool named = why != paths_.end();
      if (!seen.after || seen.after->type != FileType::regular || !has_new_bytes(seen)) return Done{};
      if (!named && !(options_.all && seen.program)) return Done{};
      add_file(seen.path, seen.after->sha256, seen.program, named ? why->second : "changed " + in);
      return Done{};
    };
    if (auto listed = snapshot_.list_changes(id, change, task_); !listed) return listed;
    const Emit<Mapping> mapping = [&](Mapping&& seen) -> Status {
      const auto why = paths_.find({id, seen.path.raw});
      const bool foreign = seen.origin && *seen.origin != Origin::image && *seen.origin != Origin::unknown &&
                           *seen.origin != Origin::host;
      if (!foreign || (why == paths_.end() && !options_.all)) return Done{};
      add_file(seen.path, seen.sha256, true, why != paths_.end() ? why->second : "mapped as code " + in);
      return Done{};
    };
    return snapshot_.list_mappings(id, mapping, task_);
  }

  void add_peer(const std::string& remote, const std::string& context) {
    const Endpoint end = split_endpoint(remote);
    const std::string address(end.address);
    const std::string port(end.port);
    if (port.empty()) return;
    std::array<std::uint8_t, 16> raw{};
    const bool four = inet_pton(AF_INET, address.c_str(), raw.data()) == 1;
    if (!four && inet_pton(AF_INET6, address.c_str(), raw.data()) != 1) return;
    const bool none = address == "0.0.0.0" || address == "::" || port == "0" || port == "*";
    if (none || (is_local_address(address) && !options_.all)) return;
    add(IndicatorType::ip, address, context);
    add(IndicatorType::ip_port, (four ? address : "[" + address + "]") + ":" + port, context);
  }

  Snapshot& snapshot_;
  const IndicatorOptions& options_;
  Task& task_;
  std::map<std::pair<std::string, std::int32_t>, std::string> pids_;  // and why
  std::map<std::pair<std::string, std::string>, std::string> paths_;
  std::set<std::pair<IndicatorType, std::string>> seen_;
  std::vector<Indicator> found_;
  bool left_out_ = false;
};

}  // namespace

bool is_local_address(std::string_view address) {
  const std::string text(address);
  std::array<std::uint8_t, 16> raw{};
  if (inet_pton(AF_INET, text.c_str(), raw.data()) == 1) return is_local_v4(big_endian(raw.data()));
  if (inet_pton(AF_INET6, text.c_str(), raw.data()) != 1) return false;
  const bool zeros = std::all_of(raw.begin(), raw.begin() + 10, [](std::uint8_t b) { return b == 0; });
  if (zeros && raw[10] == 0xff && raw[11] == 0xff) return is_local_v4(big_endian(raw.data() + 12));
  const bool tiny = zeros && raw[10] == 0 && raw[11] == 0 && big_endian(raw.data() + 12) <= 1;
  return tiny || (raw[0] & 0xfeU) == 0xfc || (raw[0] == 0xfe && (raw[1] & 0xc0U) == 0x80) || raw[0] == 0xff;
}

Result<std::vector<Indicator>> find_indicators(Snapshot& snapshot, const IndicatorOptions& options,
                                               Task& task) {
  return FindIndicators(snapshot, options, task).find();
}

}  // namespace ctriage::views
