// What is around the tasks: mnt.proto, cgroup.proto, utsns.proto of CRIU 4.2.
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

// enum fstype of mnt.proto; a file system of no own number has its name beside it.
std::string_view fstype_name(std::uint32_t number) {
  constexpr std::array<std::string_view, 24> kNames{
      "",       "proc",   "sysfs",      "devtmpfs", "binfmt_misc", "tmpfs",   "devpts",
      "simfs",  "pstore", "securityfs", "fusectl",  "debugfs",     "cgroup",  "aufs",
      "mqueue", "fuse",   "auto",       "overlay",  "autofs",      "tracefs", "",
      "",       "",       "cgroup2"};
  return number < kNames.size() ? kNames[number] : std::string_view{};
}

Result<CgroupSet> parse_set(std::string_view message) {
  CgroupSet set;
  Message in(message);
  while (in.next()) {
    if (in.field() == 1) set.id = in.number32();
    if (in.field() != 2) continue;
    std::string name;
    std::string path;
    Message member(in.bytes());
    while (member.next()) {
      if (member.field() == 1) name = std::string(member.bytes());
      if (member.field() == 2) path = std::string(member.bytes());
    }
    if (!member.ok()) return damaged("cg_member_entry");
    set.lines.push_back(name + ":" + path);
  }
  return whole(in, std::move(set), "cg_set_entry");
}

}  // namespace

Result<MountEntry> parse_mount(std::string_view message) {
  MountEntry mount;
  std::uint32_t type = 0;
  std::string name;
  Message in(message);
  while (in.next()) {
    switch (in.field()) {
      case 1:
        type = in.number32();
        break;
      case 2:
        mount.id = in.number32();
        break;
      case 3:
        mount.device = in.number32();
        break;
      case 4:
        mount.parent = in.number32();
        break;
      case 5:
        mount.flags = in.number32();
        break;
      case 6:
        mount.root = std::string(in.bytes());
        break;
      case 7:
        mount.mountpoint = std::string(in.bytes());
        break;
      case 8:
        mount.source = std::string(in.bytes());
        break;
      case 9:
        mount.options = std::string(in.bytes());
        break;
      case 10:
        mount.shared = in.number32();
        break;
      case 11:
        mount.master = in.number32();
        break;
      case 13:
        mount.external = in.number() != 0;
        break;
      case 14:
        name = std::string(in.bytes());
        break;
      case 18:
        mount.external_key = std::string(in.bytes());
        break;
      default:
        break;
    }
  }
  mount.fstype = name.empty() ? std::string(fstype_name(type)) : std::move(name);
  return whole(in, std::move(mount), "mnt_entry");
}

Result<std::vector<CgroupSet>> parse_cgroups(std::string_view file) {
  auto message = only_entry(file, Kind::cgroup);
  if (!message) return std::move(message).error();
  std::vector<CgroupSet> sets;
  Message in(*message);
  while (in.next()) {
    if (in.field() != 1) continue;
    auto set = parse_set(in.bytes());
    if (!set) return std::move(set).error();
    sets.push_back(*std::move(set));
  }
  return whole(in, std::move(sets), "cgroup_entry");
}

Result<UtsNames> parse_uts(std::string_view file) {
  auto message = only_entry(file, Kind::utsns);
  if (!message) return std::move(message).error();
  UtsNames names;
  Message in(*message);
  while (in.next()) {
    if (in.field() == 1) names.node = std::string(in.bytes());
    if (in.field() == 2) names.domain = std::string(in.bytes());
  }
  return whole(in, std::move(names), "utsns_entry");
}

}  // namespace ctriage::criu
