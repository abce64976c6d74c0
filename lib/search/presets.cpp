// What responders look for first. Each expression has literal text or a narrow class to begin with, so that
// it costs little; none is proof of anything.
#include <array>

#include "lib/search/pattern.h"

namespace ctriage::search {
namespace {

struct PresetExpression {
  std::string_view preset;
  std::string_view expression;
};

constexpr PresetExpression kExpressions[] = {
    // Up to a blank, a quote, a bracket of HTML or a backslash.
    {"urls",
     R"((?:https?|ftps?|sftp|ssh|wss?|ldaps?|rmi|socks5?|git|rediss?|mongodb|postgres(?:ql)?|mysql|amqps?|s3)://[!#-&(-;=?-\[\]-~]{4,})"},
    {"ips",
     R"(\b(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?::[0-9]{2,5})?\b)"},
    {"ips", R"(\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b)"},
    {"ips", R"(\b[23][0-9a-f]{3}:(?:[0-9a-f]{1,4}:){0,5}:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,5}\b)"},
    {"keys", R"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)"},
    {"keys", R"(\b(?:AKIA|ASIA|AIDA|AROA)[A-Z2-7]{16}\b)"},
    {"keys",
     R"(\b[A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY)[A-Z0-9_]{0,60}=[!-~]{4,})"},
    {"keys",
     R"re("(?:password|passwd|secret|token|access_token|refresh_token|api_?key|client_secret|private_key)" ?: ?"[ -!#-~]{4,}")re"},
    {"keys",
     R"(\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{36}\b)"},
    {"keys",
     R"(\bxox[abposr]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}\b|\b[sr]k_live_[A-Za-z0-9]{20,}|\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b)"},
    {"keys", R"(\bdop_v1_[0-9a-f]{64}\b|\bhvs\.[A-Za-z0-9_-]{24,}|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,})"},
    {"jwt", R"(\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"},
    {"wallets", R"(\bbc1[02-9ac-hj-np-z]{11,71}\b)"},
    {"wallets", R"(\b0x[0-9a-fA-F]{40}\b)"},
    {"wallets", R"(\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b)"},
    {"wallets", R"(\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b)"},
    {"shell", R"(/dev/(?:tcp|udp)/[0-9A-Za-z.-]+/[0-9]+)"},
    {"shell", R"((?:\b|/)(?:ba|da|z|k|a)?sh -[ic]\b[ -~]*)"},
    {"shell", R"(\b(?:curl|wget) [ -~]*\| ?(?:sudo )?(?:ba|da|z)?sh\b)"},
    {"shell", R"(\b(?:nc|ncat|netcat|busybox nc) [ -~]*-[a-z]*[ec][ -~]*)"},
    {"shell", R"(\bmkfifo /[ -~]+|\bbase64 (?:-d|--decode)\b[ -~]*|\bsocat [ -~]*[Ee][Xx][Ee][Cc]:[ -~]*)"},
    {"shell", R"(\b(?:python[23]?|perl|ruby|php|node|lua) -[cer] [ -~]{4,})"},
    {"shell",
     R"(HISTFILE=/dev/null|unset HISTFILE|HISTSIZE=0|history -c\b|LD_PRELOAD=/[ -~]+|chmod \+x [ -~]+|chattr [+-]i [ -~]+)"},
    {"http", R"(\b(?:GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|CONNECT) [!-~]+ HTTP/1\.[01])"},
    {"http", R"(HTTP/1\.[01] [1-5][0-9][0-9][ -~]*)"},
    {"http",
     R"(\b(?:Host|User-Agent|Authorization|Proxy-Authorization|Cookie|Set-Cookie|X-Forwarded-For|Referer): [ -~]+)"},
};
constexpr std::array<std::string_view, 7> kNames{"urls", "ips", "keys", "jwt", "wallets", "shell", "http"};

}  // namespace

std::string preset_names() {
  std::string names;
  for (const std::string_view name : kNames) names.append(names.empty() ? "" : ", ").append(name);
  return names;
}

std::vector<std::string_view> expressions_of(std::string_view preset) {
  std::vector<std::string_view> found;
  for (const PresetExpression& each : kExpressions) {
    if (each.preset == preset) found.push_back(each.expression);
  }
  return found;
}

}  // namespace ctriage::search
