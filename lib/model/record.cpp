#include "lib/model/record.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "lib/core/address.h"
#include "lib/model/seen.h"
#include "lib/model/sweep.h"

namespace ctriage {
namespace {

struct Kind {
  std::string_view name;
  bool (*has_field)(std::string_view);
};

template <Artifact T>
constexpr Kind kind_of() {
  return {kKind<T>, [](std::string_view path) { return has_field<T>(path); }};
}

constexpr std::array kKinds{
    kind_of<Container>(),  kind_of<Process>(), kind_of<Thread>(),   kind_of<Mapping>(),
    kind_of<Descriptor>(), kind_of<Socket>(),  kind_of<Mount>(),    kind_of<Layer>(),
    kind_of<FileChange>(), kind_of<LogFile>(), kind_of<TreeFile>(), kind_of<NodeFact>(),
    kind_of<ImageFacts>(), kind_of<Replica>(), kind_of<Seen>(),     kind_of<Posture>(),
};

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

struct Join {
  std::string_view kind;
  std::string_view prefix;
  std::string_view joined;
};
constexpr std::array kJoins{
    Join{kKind<Process>, "parent", kKind<Process>},
    Join{kKind<Process>, "image", kKind<ImageFacts>},
    Join{kKind<Process>, "container", kKind<Container>},
    Join{kKind<Mapping>, "process", kKind<Process>},
    Join{kKind<Mapping>, "image", kKind<ImageFacts>},
    Join{kKind<Mapping>, "container", kKind<Container>},
    Join{kKind<Socket>, "process", kKind<Process>},
    Join{kKind<Socket>, "image", kKind<ImageFacts>},
    Join{kKind<Socket>, "container", kKind<Container>},
    Join{kKind<FileChange>, "image", kKind<ImageFacts>},
    Join{kKind<FileChange>, "container", kKind<Container>},
    Join{kKind<Mount>, "image", kKind<ImageFacts>},
    Join{kKind<Mount>, "container", kKind<Container>},
    Join{kKind<Process>, "seen", kKind<Seen>},
    Join{kKind<Mapping>, "seen", kKind<Seen>},
    Join{kKind<Socket>, "seen", kKind<Seen>},
    Join{kKind<Mount>, "seen", kKind<Seen>},
    Join{kKind<FileChange>, "seen", kKind<Seen>},
    Join{kKind<NodeFact>, "seen", kKind<Seen>},
    Join{kKind<Posture>, "seen", kKind<Seen>},
};

// Of unix sockets it is a path, which is no endpoint.
std::optional<Endpoint> endpoint_of(std::string_view text) {
  const Endpoint end = split_endpoint(text);
  return end.port.empty() ? std::nullopt : std::optional(end);
}

}  // namespace

namespace record_detail {

void derive(const Process& process, std::string_view name, std::vector<std::string>& into) {
  if (name != "command_line" || process.argv.empty()) return;
  std::string line;
  for (const Bytes& argument : process.argv) {
    if (!line.empty()) line += ' ';
    line += argument.raw;
  }
  into.push_back(std::move(line));
}

void derive(const Socket& socket, std::string_view name, std::vector<std::string>& into) {
  if (!socket.family.starts_with("tcp") && !socket.family.starts_with("udp")) return;
  const auto local = endpoint_of(socket.local.raw);
  const auto remote = endpoint_of(socket.remote.raw);
  const bool connected = remote && !remote->port.empty() && remote->port != "0" && remote->port != "*";
  if (name == "connected") into.emplace_back(connected ? "true" : "false");
  if (name == "local_address" && local) into.emplace_back(local->address);
  if (name == "local_port" && local) into.emplace_back(local->port);
  if (name == "remote_address" && connected) into.emplace_back(remote->address);
  if (name == "remote_port" && connected) into.emplace_back(remote->port);
}

bool is_derived(std::string_view kind, std::string_view name) {
  if (kind == kKind<Process>) return name == "command_line";
  constexpr std::array<std::string_view, 5> kOfSockets{"connected", "local_address", "local_port",
                                                       "remote_address", "remote_port"};
  return kind == kKind<Socket> && std::ranges::find(kOfSockets, name) != kOfSockets.end();
}

}  // namespace record_detail

bool has_kind(std::string_view kind) { return find_kind(kind) != nullptr; }

bool has_field(std::string_view kind, std::string_view dotted_path) {
  const Kind* found = find_kind(kind);
  if (found == nullptr) return false;
  if (found->has_field(dotted_path)) return true;
  return std::ranges::any_of(kJoins, [&](const Join& join) {
    return join.kind == kind && record_detail::head_of(dotted_path) == join.prefix &&
           find_kind(join.joined)->has_field(record_detail::tail_of(dotted_path));
  });
}

void JoinedRecord::join(std::string_view prefix, const Record* other) {
  if (other != nullptr) parts_.push_back({prefix, other});
}

std::vector<std::string> JoinedRecord::values(std::string_view dotted_path) const {
  const auto tail = record_detail::tail_of(dotted_path);
  for (const Part& part : parts_) {
    if (!tail.empty() && part.prefix == record_detail::head_of(dotted_path)) return part.record->values(tail);
  }
  return base_.values(dotted_path);
}

}  // namespace ctriage
