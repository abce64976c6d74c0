#include "lib/source/live/reach.h"

#include <linux/magic.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/programs.h"

namespace ctriage::source {
namespace {

// In memory, or on a disk of this machine; the kernel alone answers for them.
constexpr std::array<std::string_view, 20> kLocal{
    "ext2",  "ext3", "ext4",  "xfs",   "btrfs", "f2fs",  "zfs",    "bcachefs", "jfs",    "squashfs",
    "erofs", "vfat", "exfat", "ntfs3", "udf",   "ramfs", "rootfs", "iso9660",  "cramfs", "devtmpfs"};
constexpr std::array<std::string_view, 17> kOfTheKernel{
    "proc", "sysfs",    "cgroup", "cgroup2",   "devpts", "mqueue",      "debugfs",  "tracefs",  "securityfs",
    "bpf",  "configfs", "nsfs",   "hugetlbfs", "pstore", "binfmt_misc", "efivarfs", "selinuxfs"};
constexpr std::array<std::uint64_t, 9> kLocalMagic{
    TMPFS_MAGIC,      RAMFS_MAGIC,    EXT4_SUPER_MAGIC,       XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC, SQUASHFS_MAGIC, 0xe0f5e1e2 /* erofs */, 0x2fc12fc1 /* zfs */};

constexpr std::size_t kMaxSilent = 3;  // file systems that did not answer, before no other one is asked

bool is_fuse(std::string_view fstype) {
  return fstype == "fuse" || fstype == "fuseblk" || fstype.starts_with("fuse.");
}

const Mount* mount_by_id(const std::vector<Mount>& mounts, std::uint32_t id) {
  const auto found = std::ranges::find(mounts, id, &Mount::id);
  return found == mounts.end() ? nullptr : &*found;
}

// No table shows it: the reader, which can be killed, asks what it is. Once per file system.
Reach ask(Node& node, LiveContainer& live, int pin, const FileInfo& info, const Task& task) {
  const auto known = live.detached.find(info.device());
  if (known != live.detached.end()) return known->second;
  const auto silent =
      std::ranges::count(live.detached, Reach::never, [](const auto& entry) { return entry.second; });
  Reach reach = Reach::never;
  if (static_cast<std::size_t>(silent) < kMaxSilent) {
    const auto type = node.readers.file_system(pin, "a program in no mount table", task);
    if (type) reach = reach_of_magic(*type);
  }
  live.detached.emplace(info.device(), reach);
  return reach;
}

Reach place(Node& node, LiveContainer& live, std::int32_t pid, std::uint32_t mount_id, HeldProgram& program,
            const FileInfo& info, const Task& task) {
  const auto found = find_mount(node, live, pid, mount_id, task);
  if (!found) {
    program.lies_on = "a mount that is in no mount table";
    return ask(node, live, program.file.get(), info, task);
  }
  const Mount& mount = found->mount;
  program.lies_on = mount.fstype.raw + " at " + mount.mountpoint.raw;
  const bool of_node = found->of == KnownMount::Of::node && mount.mountpoint.raw == "/";
  const bool of_container = live.alone || of_node || mount.device == live.root_device;
  return reach_of(mount.fstype.raw, of_container);
}

// Its own position, as every pass begins at the start.
class PreadSource final : public ByteSource {
 public:
  PreadSource(std::shared_ptr<HeldProgram> program, std::string name, const Task& task)
      : program_(std::move(program)), name_(std::move(name)), task_(task) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
    auto got = sys::pread(program_->file.get(), into, at_, name_);
    if (got) at_ += *got;
    return got;
  }

 private:
  std::shared_ptr<HeldProgram> program_;
  std::string name_;
  const Task& task_;
  std::uint64_t at_ = 0;
};

}  // namespace

std::optional<KnownMount> find_mount(const Node& node, const LiveContainer& live, std::int32_t pid,
                                     std::uint32_t id, const Task& task) {
  if (const Mount* mount = mount_by_id(live.mounts, id)) return KnownMount{*mount, KnownMount::Of::container};
  GapLog unseen;  // a mount table that cannot be read is told by what follows
  Task quiet = task.with(unseen);
  // A mount namespace of its own, below the container.
  for (const bool of_node : {false, true}) {
    const auto mounts = proc::read_mounts(node.proc, of_node ? node.host : pid, quiet, id);
    const Mount* mount = mounts ? mount_by_id(*mounts, id) : nullptr;
    if (mount != nullptr) return KnownMount{*mount, of_node ? KnownMount::Of::node : KnownMount::Of::process};
  }
  return std::nullopt;
}

bool is_local(std::string_view fstype) { return std::ranges::find(kLocal, fstype) != kLocal.end(); }

bool is_of_the_kernel(std::string_view fstype) {
  return std::ranges::find(kOfTheKernel, fstype) != kOfTheKernel.end();
}

Reach reach_of(std::string_view fstype, bool of_container) {
  if (fstype == "tmpfs") return Reach::hold;
  if (is_fuse(fstype)) return Reach::never;
  if (is_local(fstype)) return of_container ? Reach::hold : Reach::later;
  if (fstype == "overlay" && of_container) return Reach::hold;
  return Reach::aside;
}

Reach reach_of_magic(std::uint64_t type) {
  if (type == FUSE_SUPER_MAGIC) return Reach::never;
  return std::ranges::find(kLocalMagic, type) != kLocalMagic.end() ? Reach::hold : Reach::aside;
}

Result<std::shared_ptr<HeldProgram>> hold_program(Node& node, LiveContainer& live, const Root& process,
                                                  std::int32_t pid, const Task& task) {
  auto pin = process.pin_magic("exe");
  if (!pin && pin.error().code == Errc::denied) return std::move(pin).error();
  if (!pin) return std::shared_ptr<HeldProgram>();
  return hold_file(node, live, *std::move(pin), pid, task);
}

Result<std::shared_ptr<HeldProgram>> hold_file(Node& node, LiveContainer& live, UniqueFd pin,
                                               std::int32_t pid, const Task& task) {
  auto info = file_info(pin.get(), "exe");
  if (!info) return std::move(info).error();
  // The kernel gives one for every open file, proc_pid_fdinfo(5); without it nothing is known of where it
  // lies.
  const auto mount = mount_id(node.proc, pin.get());
  const LiveContainer::ProgramId id{info->device(), info->inode, mount.value_or(0)};
  if (const auto known = live.programs.find(id); mount && known != live.programs.end()) return known->second;

  auto program = std::make_shared<HeldProgram>();
  program->file = std::move(pin);
  program->reach = mount ? place(node, live, pid, *mount, *program, *info, task) : Reach::never;
  if (program->reach == Reach::hold) {
    auto opened = node.proc.open_pinned(program->file.get(), "exe");
    if (!opened) return std::move(opened).error();
    program->file = *std::move(opened);
  }
  if (!mount) return program;
  program->crowded = node.descriptors == 0;
  if (!program->crowded) {
    --node.descriptors;
    live.programs.emplace(id, program);
  }
  return program;
}

Result<std::unique_ptr<ByteSource>> read_program(Node& node, const std::shared_ptr<HeldProgram>& program,
                                                 const std::string& name, const Task& task) {
  if (program->reach == Reach::never) {
    return Error{Errc::outside, name + ": lies on " + program->lies_on +
                                    ", whose server may never answer: not read; take it from where that "
                                    "file system is served, or copy /proc/PID/exe at the risk of a hang"};
  }
  if (program->reach == Reach::aside) {
    auto source = node.readers.open_pinned(program->file.get(), name, task);
    if (!source) return std::move(source).error().within("on " + program->lies_on);
    return source;
  }
  // Holes cost nothing to make and would be hashed for days.
  auto info = file_info(program->file.get(), name);
  if (!info) return std::move(info).error();
  if (info->hole_bytes() > kMaxHoleBytes) {
    return Error{Errc::limit, name + ": " + std::to_string(info->size_bytes) + " bytes with " +
                                  std::to_string(info->allocated_bytes) + " on the disk: holes are not read"};
  }
  if (program->reach == Reach::later) {
    auto opened = node.proc.open_pinned(program->file.get(), name);
    if (!opened) return std::move(opened).error();
    program->file = *std::move(opened);
    program->reach = Reach::hold;
  }
  return std::unique_ptr<ByteSource>(std::make_unique<PreadSource>(program, name, task));
}

const Mount* server_on_the_way(std::span<const Mount> mounts, Hex root_device, std::string_view mountpoint) {
  const auto asks = [&](const Mount& mount) {
    const std::string& fstype = mount.fstype.raw;
    if (is_local(fstype) || fstype == "tmpfs" || is_of_the_kernel(fstype)) return false;
    if (fstype == "overlay" && mount.device == root_device) return false;
    return is_at_or_below(mountpoint, mount.mountpoint.raw);
  };
  const auto found = std::ranges::find_if(mounts, asks);
  return found == mounts.end() ? nullptr : &*found;
}

}  // namespace ctriage::source
