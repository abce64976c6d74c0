#include <nlohmann/json.hpp>
#include <utility>

#include "lib/model/json_limits.h"
#include "lib/runtime/members.h"
#include "lib/runtime/records.h"

namespace ctriage::runtime {
namespace {

using nlohmann::json;

Result<json> object_of(std::string_view text, std::string_view what) {
  auto document = parse_limited(text);
  if (!document) return std::move(document).error().within(what);
  if (!document->is_object()) return Error{Errc::malformed, std::string(what) + ": not an object"};
  return *std::move(document);
}

void read_exit_code(Members& members, const json* from, const char* key, Container& into) {
  const auto code = members.integer(from, key);
  if (code && (*code < INT32_MIN || *code > INT32_MAX)) members.wrong(key);
  if (code && into.finished_at) into.exit_code = static_cast<std::int32_t>(*code);
}

Status done(const Members& members, std::string_view what, Container&& read, Container& into) {
  if (members.error()) return Error(*members.error()).within(what);
  into = std::move(read);
  return Done{};
}

std::optional<Timestamp> unix_nanoseconds(Members& members, const json* from, const char* key) {
  constexpr std::int64_t kPerSecond = 1'000'000'000;
  const auto value = members.integer(from, key);
  if (!value || *value <= 0) return std::nullopt;
  return Timestamp{*value / kPerSecond, static_cast<std::uint32_t>(*value % kPerSecond)};
}

}  // namespace

Status parse_crio_state(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "CRI-O's state.json";
  const auto state = object_of(text, kWhat);
  if (!state) return state.error();
  Container read = into;
  Members members;
  read.started_at = members.time(&*state, "started");
  read.finished_at = members.time(&*state, "finished");
  read_exit_code(members, &*state, "exitCode", read);
  read.state = read.started_at ? ContainerState::exited : ContainerState::created;
  return done(members, kWhat, std::move(read), into);
}

Status parse_cri_status(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "CRI status";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Container read = into;
  Members members;
  const json* status = &*document;
  if (document->contains("Status")) status = members.object(status, "Status");  // {Version, Status} of old
  read.started_at = unix_nanoseconds(members, status, "StartedAt");
  read.finished_at = unix_nanoseconds(members, status, "FinishedAt");
  read_exit_code(members, status, "ExitCode", read);
  read.state = read.started_at ? ContainerState::exited : ContainerState::created;
  return done(members, kWhat, std::move(read), into);
}

Status parse_cri_metadata(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "CRI metadata";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Container read = into;
  Members members;
  const json* about = members.object(&*document, "Metadata");
  const json* name = members.object(members.object(about, "Config"), "metadata");
  const auto attempt = members.integer(name, "attempt");
  if (attempt && (*attempt < 0 || *attempt > UINT32_MAX)) members.wrong("attempt");
  if (attempt && !members.error()) read.attempt = static_cast<std::uint32_t>(*attempt);
  return done(members, kWhat, std::move(read), into);
}

// libpod/define/containerstate.go: 0 unknown, 1 configured, 2 created, 3 running, 4 stopped, 5 paused,
// 6 exited, 7 removing, 8 stopping. What its database calls running may have ended since.
Status parse_podman_state(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "Podman's state";
  constexpr std::int64_t kCreated = 2;
  const auto state = object_of(text, kWhat);
  if (!state) return state.error();
  Container read = into;
  Members members;
  const auto number = members.integer(&*state, "state").value_or(0);
  read.started_at = members.time(&*state, "startedTime");
  read.finished_at = members.time(&*state, "finishedTime");
  read_exit_code(members, &*state, "exitCode", read);
  read.state = number <= kCreated ? ContainerState::created : ContainerState::exited;
  return done(members, kWhat, std::move(read), into);
}

Status parse_podman_config(std::string_view text, Container& into) {
  constexpr std::string_view kWhat = "Podman's configuration";
  const auto config = object_of(text, kWhat);
  if (!config) return config.error();
  Container read = into;
  Members members;
  const std::string id = members.text_or_none(&*config, "id");
  if (!members.error() && id != into.id) return Error{Errc::mismatch, std::string(kWhat) + ": is of " + id};
  if (const auto* name = members.text(&*config, "name")) read.name = Bytes(*name);
  if (const auto* image = members.text(&*config, "rootfsImageName")) read.image = Bytes(*image);
  if (const auto* image = members.text(&*config, "rootfsImageID")) read.image_id = Bytes(*image);
  if (const auto created = members.time(&*config, "createdTime")) read.created_at = created;
  read.labels = members.pairs(&*config, "labels");
  return done(members, kWhat, std::move(read), into);
}

}  // namespace ctriage::runtime
