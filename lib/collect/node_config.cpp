// What the node's kubelet and runtimes were told, which modules run in its kernel, and what that kernel said.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/collect/node_view.h"
#include "lib/core/sys.h"

namespace ctriage::collect {
namespace {

constexpr std::size_t kMaxConfigBytes = 1 << 20;
constexpr std::size_t kMaxKernelLogBytes = 16 << 20;
constexpr std::size_t kKernelRecordBytes = 16 << 10;  // CONSOLE_EXT_LOG_MAX is 8 KiB

struct Program {
  std::string_view name;
  std::array<std::string_view, 2> flags;
  std::string_view config;  // where it looks when it is not told
};
constexpr std::array<Program, 6> kPrograms{{{"kubelet", {"--config", ""}, "/var/lib/kubelet/config.yaml"},
                                            {"containerd", {"--config", "-c"}, "/etc/containerd/config.toml"},
                                            {"dockerd", {"--config-file", ""}, "/etc/docker/daemon.json"},
                                            {"crio", {"--config", "-c"}, "/etc/crio/crio.conf"},
                                            {"rke2", {"--config", "-c"}, "/etc/rancher/rke2/config.yaml"},
                                            {"k3s", {"--config", "-c"}, "/etc/rancher/k3s/config.yaml"}}};

// Where it is not there, that is how it is: defaults hold.
Status add_if_there(Collection& in, const std::string& member, Result<std::string> text,
                    const std::string& origin) {
  if (!text && text.error().code == Errc::not_found) {
    in.out.not_collected(member, origin, text.error().what);
    return Done{};
  }
  return in.add_file(member, std::move(text), "node.config", origin);
}

Status take_engine(Collection& in, const Program& program, const runtime::EngineProcess& engine) {
  const std::string number = std::to_string(engine.pid);
  const std::string stem = "node/config/" + std::string(program.name) + "-" + number;
  auto cmdline = engine.directory.read_file_in_root("cmdline", kMaxConfigBytes);
  std::string path(program.config);
  if (cmdline) {
    const auto arguments = runtime::split_arguments(*cmdline);
    for (const std::string_view flag : program.flags) {
      if (std::string named = flag.empty() ? "" : runtime::value_of(arguments, flag); named.starts_with('/'))
        path = std::move(named);
    }
  }
  if (auto status =
          in.add_file(stem + ".cmdline", std::move(cmdline), "node.config", "/proc/" + number + "/cmdline");
      !status)
    return status;
  auto root = engine.directory.descend_magic("root");
  auto text =
      root ? root->read_file_in_root(path, kMaxConfigBytes) : Result<std::string>(std::move(root).error());
  return add_if_there(in, stem + "." + bundle::member_name(path.substr(path.rfind('/') + 1)), std::move(text),
                      path);
}

// Each read(2) gives one record; dev-kmsg of the kernel's ABI documentation. EPIPE: those that come next were
// overwritten meanwhile. Nobody else's position moves.
Result<std::string> read_kernel_log(int fd, Task& task) {
  std::string log;
  std::array<std::byte, kKernelRecordBytes> record{};
  for (unsigned overwritten = 0;;) {
    if (auto going = task.check(); !going) return std::move(going).error();
    const auto got = sys::read(fd, record, "/dev/kmsg");
    if (!got) {
      const int number = got.error().number;
      if (number == EAGAIN) return log;
      if (number == EINTR) continue;
      if (number == EPIPE && ++overwritten < 1'000) {
        if (overwritten == 1)
          task.gaps.add({Impact::lost, "node.kernel_log", "/dev/kmsg",
                         Error{Errc::changed, "records were overwritten while they were read"}});
        continue;
      }
      return got.error();
    }
    if (*got == 0) return log;
    if (log.size() + *got > kMaxKernelLogBytes) {
      task.gaps.add({Impact::lost, "node.kernel_log", "/dev/kmsg",
                     Error{Errc::limit, "more than " + std::to_string(kMaxKernelLogBytes) +
                                            " bytes: the newest records are not taken"}});
      return log;
    }
    log.append(reinterpret_cast<const char*>(record.data()), *got);
  }
}

Result<UniqueFd> open_kernel_log(const Root& node) {
  auto dev = node.descend_in_root("dev");
  if (!dev) return std::move(dev).error();
  auto pinned = dev->pin_beneath("kmsg");
  if (!pinned) return std::move(pinned).error();
  const auto info = file_info(pinned->get(), "/dev/kmsg");
  if (!info) return info.error();
  // The one device that is opened: reading it does nothing to anybody, and it must be that one.
  if (!info->is_char_device() || info->rdev_major != 1 || info->rdev_minor != 11)
    return Error{Errc::unsupported, "/dev/kmsg is not the kernel's log"};
  return sys::reopen(pinned->get(), O_RDONLY | O_NONBLOCK | O_NOCTTY, "/dev/kmsg");
}

// Of a disk nobody can be asked where the files are: their usual places.
Status take_configs_of_disk(Collection& in, const Root& disk) {
  for (const Program& program : kPrograms) {
    const std::string path(program.config);
    const std::string member = "node/config/" + std::string(program.name) + "." +
                               bundle::member_name(path.substr(path.rfind('/') + 1));
    auto status = add_if_there(in, member, disk.read_file_in_root(path, kMaxConfigBytes), path);
    if (!status) return status;
  }
  return Done{};
}

}  // namespace

Status take_node_config(Collection& in) {
  if (in.snapshot.node().disk) return take_configs_of_disk(in, *in.snapshot.node().disk);
  const Root& proc = in.snapshot.node().proc;
  auto engines = list_engines(in);
  if (!engines) return std::move(engines).error();
  for (const runtime::EngineProcess& engine : *engines) {
    const auto program = std::ranges::find(kPrograms, engine.name, &Program::name);
    if (program == kPrograms.end()) continue;
    if (auto status = take_engine(in, *program, engine); !status) return status;
  }
  return add_if_there(in, "node/modules", proc.read_file_in_root("modules", kMaxProcTextBytes),
                      "/proc/modules");
}

Status take_kernel_log(Collection& in) {
  const std::string member = in.bulk_path("node/kmsg");
  const std::string origin = "/dev/kmsg";
  auto root = in.snapshot.node().root();
  auto file = root ? open_kernel_log(*root) : Result<UniqueFd>(root.error());
  auto log = file ? read_kernel_log(file->get(), in.task) : Result<std::string>(std::move(file).error());
  if (!log) {
    if (ends_the_run(log.error())) return log.error();
    Error error = std::move(log).error();
    // A container's /dev has none; whoever may not read it is told what is missing.
    const Impact impact =
        error.code == Errc::not_found || error.code == Errc::unsupported ? Impact::note : Impact::lost;
    if (error.code == Errc::denied) error.what += " (needs CAP_SYSLOG)";
    in.out.not_collected(member, origin, error.what);
    in.task.gaps.add({impact, "node.kernel_log", origin, std::move(error)});
    return Done{};
  }
  auto stream = in.out.open(member, in.bulk_encoding(), origin);
  if (!stream) return std::move(stream).error();
  if (auto written = (*stream)->write(std::as_bytes(std::span(log->data(), log->size()))); !written)
    return in.ended_early(**stream, "node.kernel_log", member, written.error());
  return (*stream)->finish(bundle::Outcome::collected, "");
}

}  // namespace ctriage::collect
