// What changed in /etc/passwd, shadow, group and gshadow: a service's account is not a person's, and neither
// is a second root. Where the image's file is not there to compare with, all lines but root's count as new.
//
//   passwd   name:password:uid:gid:comment:home:shell       passwd(5)
//   shadow   name:password:...                              shadow(5)
//   group    name:password:gid:member,member                group(5), gshadow(5) likewise
#include <algorithm>
#include <array>
#include <map>

#include "lib/core/text.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

constexpr std::uint64_t kMaxAccountBytes = 1 << 20;
constexpr std::size_t kMaxProofBytes = 120;
constexpr std::array<std::string_view, 10> kGroupsOfRights{"root", "sudo", "wheel",  "adm",  "shadow",
                                                           "disk", "lxd",  "docker", "kmem", "admin"};

enum class Weight { system, login, root };

using Lines = std::map<std::string, std::vector<std::string>, std::less<>>;  // name -> fields

std::optional<Lines> read_lines(Scene& scene, const char* layer, const std::string& path, Task& task) {
  GapLog aside;  // not there in this layer, or the source has none
  Task looking = task.with(aside);
  const auto opened = scene.snapshot.open_file({scene.container.id, layer, path, false}, looking);
  if (!opened || !opened->bytes || opened->entry.file.size_bytes > kMaxAccountBytes) return std::nullopt;
  LineReader reader(*opened->bytes, kMaxAccountBytes);
  Lines lines;
  std::string_view line;
  for (std::uint64_t bytes = 0; bytes <= kMaxAccountBytes; bytes += line.size() + 1) {
    const auto more = reader.next(line);
    if (!more) return std::nullopt;
    if (!*more) return lines;
    if (line.empty() || line.starts_with('#')) continue;
    std::vector<std::string> fields;
    for (const std::string_view field : split(line, ':')) fields.emplace_back(field);
    std::string name = fields.front();
    lines.emplace(std::move(name), std::move(fields));  // the first of a name is what getpwnam(3) finds
  }
  return std::nullopt;
}

bool is_locked(std::string_view password) { return password.starts_with('!') || password.starts_with('*'); }

bool has_no_shell(std::string_view shell) {
  return shell.ends_with("/nologin") || shell.ends_with("/false") || shell == "/bin/sync";
}

Weight weigh_user(const std::vector<std::string>& fields) {
  if (fields.size() < 7) return Weight::login;
  const auto id = parse_number<std::uint32_t>(fields[2]);
  if (id == 0U && fields[0] != "root") return Weight::root;
  if (fields[1] != "x" && !is_locked(fields[1])) return Weight::login;
  return fields[0] == "root" || !has_no_shell(fields[6]) ? Weight::login : Weight::system;
}

Weight weigh_group(const std::vector<std::string>& fields, bool shadow) {
  if (fields.size() < 4) return Weight::login;
  if (!shadow && fields[0] != "root" && parse_number<std::uint32_t>(fields[2]) == 0U) return Weight::root;
  if (!fields[1].empty() && fields[1] != "x" && !is_locked(fields[1])) return Weight::login;
  const bool rights = std::ranges::find(kGroupsOfRights, fields[0]) != kGroupsOfRights.end();
  return rights && !fields[3].empty() ? Weight::login : Weight::system;
}

Weight weigh(std::string_view file, const std::vector<std::string>& fields) {
  if (file == "passwd") return weigh_user(fields);
  if (file == "shadow") return fields.size() > 1 && is_locked(fields[1]) ? Weight::system : Weight::login;
  return weigh_group(fields, file == "gshadow");
}

// Its password and its shell are the image's affair.
bool is_usual_root(std::string_view file, const std::vector<std::string>& fields) {
  if (file == "gshadow" || file == "shadow") return true;
  const bool hidden = fields.size() > 2 && (fields[1] == "x" || is_locked(fields[1]));
  return hidden && parse_number<std::uint32_t>(fields[2]) == 0U;
}

}  // namespace

void look_at_accounts(const FileChange& change, Scene& scene, Seen& seen, Task& task) {
  const std::string_view file = base_name(change.path.view());
  if (file == "subuid" || file == "subgid") {
    seen.traits.emplace_back("system_account");
    return;
  }
  if (file != "passwd" && file != "shadow" && file != "group" && file != "gshadow") return;
  const auto now = read_lines(scene, "upper", change.path.raw, task);
  if (!now) return;
  const auto before = scene.image ? read_lines(scene, "image", change.path.raw, task) : std::nullopt;
  auto worst = Weight::system;
  const auto count = [&](const std::string& name, Weight weight) {
    if (weight > worst) seen.proof.raw.clear();
    worst = std::max(worst, weight);
    if (!before && weight == Weight::system) return;  // all of them, not the new ones
    if (weight == worst && seen.proof.raw.size() + name.size() < kMaxProofBytes)
      seen.proof.raw.append(seen.proof.empty() ? "" : " ").append(name);
  };
  for (const auto& [name, fields] : *now) {
    const auto old = before ? before->find(name) : Lines::const_iterator();
    const bool known = before && old != before->end();
    if (known && old->second == fields) continue;
    if (!before && name == "root" && is_usual_root(file, fields)) continue;
    const Weight weight = weigh(file, fields);
    // Who had no shell before and has one now is a change of an account, whatever it is now; members come and
    // go.
    const bool person = known && (file == "passwd" || file == "shadow");
    count(name, person ? std::max(weight, Weight::login) : weight);
  }
  if (before) {
    for (const auto& [name, fields] : *before)
      if (!now->contains(name)) count(name, Weight::login);
  }
  if (seen.proof.empty()) seen.proof.raw = before ? "no line is new" : "no image to compare with";
  constexpr std::array kTraits{"system_account", "login_account", "root_account"};
  seen.traits.emplace_back(kTraits[static_cast<std::size_t>(worst)]);
}

}  // namespace ctriage::verdict
