#include "lib/report/indicators.h"

#include "lib/core/old_hash.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/timeline.h"

namespace ctriage::report {
namespace {

// coreutils 8.32 and later: backslash, line feed and carriage return.
std::string coreutils_name(std::string_view raw, bool& escaped) {
  std::string name;
  for (const char c : raw) {
    const std::string_view as = c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : "";
    escaped = escaped || !as.empty();
    if (as.empty()) name += c;
    name += as;
  }
  return name;
}

std::string key_of(const Indicator& indicator) {
  return std::string(to_text(indicator.type)) + " " + indicator.value.raw;
}

// RFC 3339 with milliseconds, as STIX and its readers have it.
std::string milliseconds_of(const Source& source) {
  std::string text = to_rfc3339(source.taken_at.value_or(Timestamp{}));
  constexpr std::size_t kToMilliseconds = 23;
  return text.substr(0, kToMilliseconds) + "Z";
}

// The last ':' is before the port; an IPv6 address has brackets.
std::pair<std::string, std::string> address_and_port(std::string_view value) {
  const auto colon = value.rfind(':');
  std::string_view address = value.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  return {std::string(address), std::string(value.substr(colon + 1))};
}

std::string quoted_stix(std::string_view text) {  // STIX 2.1, 9.7: string literals of patterns
  std::string out = "'";
  for (const char c : text) out += (c == '\'' || c == '\\' ? std::string("\\") : std::string()) + c;
  return out + "'";
}

std::string address_pattern(std::string_view address) {
  const bool six = address.find(':') != std::string_view::npos;
  return std::string(six ? "ipv6" : "ipv4") + "-addr";
}

std::string stix_pattern(const Indicator& indicator) {
  const std::string& value = indicator.value.raw;
  switch (indicator.type) {
    case IndicatorType::sha256:
      return "[file:hashes.'SHA-256' = " + quoted_stix(value) + "]";
    case IndicatorType::ip:
      return "[" + address_pattern(value) + ":value = " + quoted_stix(value) + "]";
    case IndicatorType::ip_port: {
      const auto [address, port] = address_and_port(value);
      return "[network-traffic:dst_ref.type = '" + address_pattern(address) +
             "' AND network-traffic:dst_ref.value = " + quoted_stix(address) +
             " AND network-traffic:dst_port = " + port + "]";
    }
    case IndicatorType::path:
      break;
  }
  const auto slash = value.rfind('/');
  const std::string name = value.substr(slash == value.npos ? 0 : slash + 1);
  const std::string directory = slash == value.npos || slash == 0 ? "/" : value.substr(0, slash);
  return "[file:name = " + quoted_stix(name) +
         " AND file:parent_directory_ref.path = " + quoted_stix(directory) + "]";
}

}  // namespace

std::string hash_lines(const FileHash& hash, bool tagged, bool terminal) {
  bool escaped = false;
  std::string name = coreutils_name(hash.path.raw, escaped);
  if (terminal) name = escape_terminal(hash.path.raw);
  const std::string mark = escaped ? "\\" : "";
  if (!tagged) return mark + hash.sha256 + "  " + name + "\n";
  std::string lines;
  const auto add = [&](const char* tag, const std::string& digest) {
    lines += mark + tag + " (" + name + ") = " + digest + "\n";
  };
  add("SHA256", hash.sha256);
  if (hash.md5) add("MD5", *hash.md5);
  if (hash.sha1) add("SHA1", *hash.sha1);
  return lines;
}

std::string indicators_csv(std::span<const Indicator> indicators) {
  std::string out = "type,value,context\n";
  for (const Indicator& indicator : indicators) {
    out.append(to_text(indicator.type)).append(",").append(csv_field(indicator.value.raw));
    out.append(",").append(csv_field(indicator.context.raw)).append("\n");
  }
  return out;
}

std::string indicators_misp(std::span<const Indicator> indicators, const Source& source) {
  std::string out;
  std::string all = source.kind + source.target.raw;
  for (const Indicator& indicator : indicators) all += "\n" + key_of(indicator);
  JsonWriter json(out);
  json.begin_object();
  json.key("Event");
  json.begin_object();
  json.member_value("uuid", uuid_of("misp-event " + all));
  json.member_value("info", Bytes("ctriage: " + source.kind + " " + source.target.raw));
  json.member_value("date", to_rfc3339(source.taken_at.value_or(Timestamp{})).substr(0, 10));
  json.member_value("threat_level_id", std::string("4"));  // undefined: who reads it decides
  json.member_value("analysis", std::string("0"));
  json.member_value("distribution", std::string("0"));
  json.key("Attribute");
  json.begin_array();
  for (const Indicator& indicator : indicators) {
    std::string type(to_text(indicator.type));
    std::string value = indicator.value.raw;
    if (indicator.type == IndicatorType::ip) type = "ip-dst";
    if (indicator.type == IndicatorType::path) type = "filename";
    if (indicator.type == IndicatorType::ip_port) {
      const auto [address, port] = address_and_port(value);
      type = "ip-dst|port";
      value = address;
      value.append("|").append(port);
    }
    const bool network = type.starts_with("ip-");
    json.begin_object();
    json.member_value("uuid", uuid_of("misp-attribute " + all + key_of(indicator)));
    json.member_value("type", type);
    json.member_value("category", std::string(network ? "Network activity" : "Payload delivery"));
    json.member_value("value", Bytes(value));
    json.member_value("to_ids", true);
    json.member_value("comment", indicator.context);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  json.end_object();
  return out + "\n";
}

std::string indicators_stix(std::span<const Indicator> indicators, const Source& source) {
  std::string out;
  const std::string at = milliseconds_of(source);
  std::string all = source.kind + source.target.raw;
  for (const Indicator& indicator : indicators) all += "\n" + key_of(indicator);
  JsonWriter json(out);
  json.begin_object();
  json.member_value("type", std::string("bundle"));
  json.member_value("id", "bundle--" + uuid_of("stix-bundle " + all));
  json.key("objects");
  json.begin_array();
  for (const Indicator& indicator : indicators) {
    json.begin_object();
    json.member_value("type", std::string("indicator"));
    json.member_value("spec_version", std::string("2.1"));
    json.member_value("id", "indicator--" + uuid_of("stix-indicator " + key_of(indicator)));
    json.member_value("created", at);
    json.member_value("modified", at);
    json.member_value("name", Bytes(key_of(indicator)));
    json.member_value("description", indicator.context);
    json.member_value("pattern", Bytes(stix_pattern(indicator)));
    json.member_value("pattern_type", std::string("stix"));
    json.member_value("valid_from", at);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return out + "\n";
}

}  // namespace ctriage::report
