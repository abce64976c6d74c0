#include "lib/report/timeline.h"

#include <fmt/format.h>

#include "lib/model/json.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string name_of(const std::string& container, const ContainerNames& names) {
  const auto found = names.find(container);
  return found == names.end() ? container.substr(0, 12) : found->second;
}

std::string text_line(const Event& event, const ContainerNames& names) {
  std::string line = fmt::format("{}  {:<9} {:<16} {:<12} ", to_rfc3339(event.at), to_text(event.kind),
                                 safe(event.what), safe(name_of(event.container, names)));
  if (event.pid) line += fmt::format("pid {} ", *event.pid);
  line += safe(event.message.view());
  if (event.sha256) line += "  sha256 " + safe(event.sha256->substr(0, 12));
  return line + '\n';
}

std::string csv_line(const Event& event, const ContainerNames& names) {
  return fmt::format("{},{},{},{},{},{},{},{}\n", to_rfc3339(event.at), to_text(event.kind),
                     csv_field(event.what), csv_field(name_of(event.container, names)),
                     event.pid ? std::to_string(*event.pid) : "",
                     csv_field(event.path ? event.path->raw : ""), csv_field(event.sha256.value_or("")),
                     csv_field(event.message.raw));
}

std::string timesketch_line(const Event& event, const ContainerNames& names) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.member_value("message", event.message);
  json.member_value("datetime", event.at);
  json.member_value("timestamp_desc", event.what);
  json.member_value("data_type", "ctriage:" + std::string(to_text(event.kind)));
  json.member_value("container_id", event.container);
  json.member_value("container_name", name_of(event.container, names));
  if (event.pid) json.member_value("pid", *event.pid);
  if (event.path) json.member_value("path", *event.path);
  if (event.sha256) json.member_value("sha256", *event.sha256);
  json.end_object();
  return out + '\n';
}

std::string ecs_line(const Event& event, const ContainerNames& names) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.member_value("@timestamp", event.at);
  json.key("ecs");
  json.begin_object();
  json.member_value("version", std::string("8.11.0"));
  json.end_object();
  json.member_value("message", event.message);
  json.key("event");
  json.begin_object();
  json.member_value("kind", std::string(event.kind == EventKind::finding ? "alert" : "event"));
  json.member_value("module", std::string("ctriage"));
  json.member_value("dataset", "ctriage." + std::string(to_text(event.kind)));
  json.member_value("action", event.what);
  json.end_object();
  if (!event.container.empty()) {
    json.key("container");
    json.begin_object();
    json.member_value("id", event.container);
    json.member_value("name", name_of(event.container, names));
    json.end_object();
  }
  const bool of_process = event.pid.has_value();
  if (of_process || event.path) {
    json.key(of_process ? "process" : "file");
    json.begin_object();
    if (event.pid) json.member_value("pid", *event.pid);
    if (event.path) json.member_value(of_process ? "executable" : "path", *event.path);
    if (event.sha256) {
      json.key("hash");
      json.begin_object();
      json.member_value("sha256", *event.sha256);
      json.end_object();
    }
    json.end_object();
  }
  json.end_object();
  return out + '\n';
}

// As fls(1) has it: type by name, type by inode, then as ls(1).
std::string mode_as_string(const FileState& file) {
  constexpr std::string_view kTypes = "rdlcbphr";  // in the order of FileType
  constexpr std::string_view kBits = "rwxrwxrwx";
  const char type = kTypes[static_cast<std::size_t>(file.type)];
  std::string text{type, '/', type};
  for (std::size_t i = 0; i < kBits.size(); ++i) text += (file.mode >> (8 - i) & 1U) != 0 ? kBits[i] : '-';
  const auto special = [&](std::uint32_t bit, std::size_t at, char low, char high) {
    if ((file.mode & bit) != 0) text[at + 3] = text[at + 3] == 'x' ? low : high;
  };
  special(04000U, 2, 's', 'S');
  special(02000U, 5, 's', 'S');
  special(01000U, 8, 't', 'T');
  return text;
}

std::string body_name(std::string_view raw) {
  std::string name;
  for (const char c : escape_terminal(raw)) name += c == '|' ? std::string("\\x7c") : std::string(1, c);
  return name;
}

}  // namespace

std::string csv_field(std::string_view raw) {
  std::string text = escape_terminal(raw);
  if (!text.empty() && std::string_view("=+-@").find(text[0]) != std::string_view::npos) text.insert(0, "'");
  if (text.find_first_of("\",\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

std::string timeline_head(TimelineForm form) {
  return form == TimelineForm::csv ? "datetime,kind,what,container,pid,path,sha256,message\n" : "";
}

std::string timeline_line(TimelineForm form, const Event& event, const ContainerNames& names) {
  switch (form) {
    case TimelineForm::jsonl:
      return document(event);
    case TimelineForm::csv:
      return csv_line(event, names);
    case TimelineForm::timesketch:
      return timesketch_line(event, names);
    case TimelineForm::ecs:
      return ecs_line(event, names);
    case TimelineForm::bodyfile: {
      const std::string name =
          "[" + std::string(to_text(event.kind)) + " " + event.what + "] " + event.message.raw;
      return fmt::format("0|{0}|0|----------|0|0|0|{1}|{1}|{1}|{1}\n", body_name(name), event.at.seconds);
    }
    case TimelineForm::text:
      break;
  }
  return text_line(event, names);
}

std::string bodyfile_line(const Bytes& path, const FileState& file, const std::string& container,
                          std::int64_t skew_s) {
  const auto at = [&](const Timestamp& time) { return time.seconds == 0 ? 0 : time.seconds + skew_s; };
  std::string name = body_name(container.empty() ? path.raw : container + ":" + path.raw);
  if (file.link_target) name += " -> " + body_name(file.link_target->raw);
  return fmt::format("0|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}\n", name, file.inode.value, mode_as_string(file),
                     file.uid, file.gid, file.size_bytes, at(file.atime), at(file.mtime), at(file.ctime),
                     file.btime ? at(*file.btime) : 0);
}

}  // namespace ctriage::report
