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
    in.take(1, set.id);
    if (in.field() != 2) continue;
    std::string name;
    std::string path;
    Message member(in.bytes());
    while (member.next()) {
      member.take(1, name);
      member.take(2, path);
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
    in.take(1, type);
    in.take(2, mount.id);
    in.take(3, mount.device);
    in.take(4, mount.parent);
    in.take(5, mount.flags);
    in.take(6, mount.root);
    in.take(7, mount.mountpoint);
    in.take(8, mount.source);
    in.take(9, mount.options);
    in.take(10, mount.shared);
    in.take(11, mount.master);
    in.take(13, mount.external);
    in.take(14, name);
    in.take(18, mount.external_key);
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
    in.take(1, names.node);
    in.take(2, names.domain);
  }
  return whole(in, std::move(names), "utsns_entry");
}

}  // namespace ctriage::criu
