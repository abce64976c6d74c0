// Parsers of /proc text: real captures (Linux 6.18 and 6.1, Debian 12), hostile values and every way of
// cutting them.
#include <gtest/gtest.h>

#include <string>

#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::string_view kStatTail =
    " R 7248 7247 3093 34816 -1 4194304 99 0 0 0 11 22 0 0 20 0 3 0 165643 3133440 376 18446744073709551615 "
    "94720115568640 "
    "94720115588521 140732815414816 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 94720115604528 94720115606144 "
    "94720436011008 "
    "140732815415910 140732815415966 140732815415966 140732815417323 0\n";

TEST(ProcStat, NameIsWhatTheProcessChose) {
  for (const std::string comm : {"cat", "a) R 1 (b\nc", ")", "(", "", ") Z 1 1 1 (", "x y", "\xff\x1b[2J"}) {
    SCOPED_TRACE(comm);
    auto stat = parse_stat("7250 (" + comm + ")" + std::string(kStatTail));
    ASSERT_TRUE(stat) << stat.error().what;
    EXPECT_EQ(stat->pid, 7250);
    EXPECT_EQ(stat->comm.raw, comm);
    EXPECT_EQ(stat->state, 'R');
    EXPECT_EQ(stat->ppid, 7248);
    EXPECT_EQ(stat->pgrp, 7247);
    EXPECT_EQ(stat->session, 3093);
    EXPECT_EQ(stat->tty.value, 136ULL << 32);  // 34816 is 0x8800: /dev/pts/0
    EXPECT_EQ(stat->flags, 4194304U);
    EXPECT_EQ(stat->cpu_ticks, 33U);
    EXPECT_EQ(stat->threads, 3U);
    EXPECT_EQ(stat->start_ticks, 165643U);
    EXPECT_EQ(stat->arg_start, 140732815415910U);
    EXPECT_EQ(stat->arg_end, 140732815415966U);
    EXPECT_EQ(stat->env_start, 140732815415966U);
    EXPECT_EQ(stat->env_end, 140732815417323U);
  }
}

TEST(ProcStat, AProcessHasEndedWhenItsLastThreadHas) {
  const struct {
    char state;
    int threads;
    bool ended;
  } cases[] = {{'S', 1, false}, {'Z', 1, true}, {'Z', 2, false}, {'Z', 10'000, false},
               {'X', 0, true},  {'x', 0, true}, {'R', 7, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.state + std::to_string(c.threads));
    std::string tail(kStatTail);
    tail[1] = c.state;
    tail.replace(tail.find(" 3 0 165643"), 2, " " + std::to_string(c.threads));
    auto stat = parse_stat("7250 (cat)" + tail);
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->has_ended(), c.ended);
    EXPECT_EQ(stat->main_thread_ended(), c.state != 'S' && c.state != 'R');
  }
}

TEST(ProcStat, KernelThread) {
  auto stat = parse_stat(
      "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 18446744073709551615 0 0 0\n");
  ASSERT_TRUE(stat);
  EXPECT_TRUE(stat->is_kernel_thread());
  EXPECT_FALSE(stat->has_ended());
}

TEST(ProcStat, EveryPrefixFailsOrSaysTheSame) {
  const std::string whole = "7250 (cat)" + std::string(kStatTail);
  const std::size_t start_ends = whole.find("165643") + 7;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    auto stat = parse_stat(std::string_view(whole).substr(0, size));
    EXPECT_EQ(stat.has_value(), size > start_ends) << size;
    if (stat) {
      EXPECT_EQ(stat->start_ticks, 165643U);
    }
  }
}

TEST(ProcStat, Malformed) {
  const std::string tail(kStatTail);
  for (const std::string& text :
       {"x (cat)" + tail, "-1 (cat)" + tail, "0 (cat)" + tail, "99999999999 (cat)" + tail, "7250 cat" + tail,
        "7250 (cat" + tail, "7250 )(" + tail, "7250 (cat) RR" + tail.substr(2),
        "7250 (cat) R x" + tail.substr(7)}) {
    auto stat = parse_stat(text);
    EXPECT_FALSE(stat) << text;
  }
}

constexpr std::string_view kStatus =
    "Name:\tcat\\nUid:\t9\nUmask:\t0022\nState:\tR "
    "(running)\nTgid:\t7250\nNgid:\t0\nPid:\t7250\nPPid:\t7248\nTracerPid:\t12\n"
    "Uid:\t1000\t1001\t1002\t1003\nGid:\t4294967295\t1\t2\t3\nFDSize:\t256\nGroups:\t4 24 1000 "
    "\nNStgid:\t7250\t17\t3\n"
    "NSpid:\t7250\t17\t3\nNSpgid:\t7248\t0\t0\nKthread:\t0\nVmPeak:\t    3060 kB\nVmSize:\t    3060 "
    "kB\nVmRSS:\t    1612 kB\n"
    "VmSwap:\t       8 kB\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\nThreads:\t1\nSigQ:\t0/96365\n"
    "CapInh:\t0000000000000001\nCapPrm:\t000001fffeffffff\nCapEff:\tffffffffffffffff\nCapBnd:"
    "\t00000000a80425fb\n"
    "CapAmb:\t0000000000000002\nNoNewPrivs:\t1\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000380004\nSigCgt:"
    "\t000000014b817efb\nSeccomp:\t2\nSeccomp_filters:\t1\nNew_in_7.3:\twhatever: it "
    "is\n";

TEST(ProcStatus, RealCapture) {
  Process process;
  auto parsed = parse_status(kStatus, process);
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(process.credentials.uids, (std::vector<std::uint32_t>{1000, 1001, 1002, 1003}));
  EXPECT_EQ(process.credentials.gids, (std::vector<std::uint32_t>{UINT32_MAX, 1, 2, 3}));
  EXPECT_EQ(process.credentials.groups, (std::vector<std::uint32_t>{4, 24, 1000}));
  EXPECT_EQ(process.container_pid, 3);
  EXPECT_EQ(process.tracer_pid, 12);
  EXPECT_EQ(process.virtual_bytes, 3060U * 1024);
  EXPECT_EQ(process.rss_bytes, 1612U * 1024);
  EXPECT_EQ(process.swap_bytes, 8U * 1024);
  EXPECT_EQ(process.capabilities.inheritable.value, 1U);
  EXPECT_EQ(process.capabilities.permitted.value, 0x1fffeffffffU);
  EXPECT_EQ(process.capabilities.effective.value, UINT64_MAX);
  EXPECT_EQ(process.capabilities.bounding.value, 0xa80425fbU);
  EXPECT_EQ(process.capabilities.ambient.value, 2U);
  EXPECT_TRUE(process.no_new_privs);
  EXPECT_EQ(process.seccomp, 2);
  EXPECT_EQ(process.seccomp_filters, 1U);
  ASSERT_TRUE(process.signals);
  EXPECT_EQ(process.signals->blocked.value, 0x10000U);
  EXPECT_EQ(process.signals->ignored.value, 0x380004U);
  EXPECT_EQ(process.signals->caught.value, 0x14b817efbU);
}

// As Linux 6.18 writes them, behind "pos:\t0\nflags:\t02\nmnt_id:\t16\nino:\t1053\n".
TEST(ProcFdinfo, WhatDriversAdd) {
  const std::string head = "pos:\t0\nflags:\t02\nmnt_id:\t16\nino:\t1053\n";
  auto epoll =
      parse_fdinfo(head + "tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7\n" +
                   "tfd:       11 events: 80000001 data:                b  pos:0 ino:1e sdev:f\n");
  ASSERT_TRUE(epoll) << epoll.error().what;
  ASSERT_EQ(epoll->watches.size(), 2U);
  EXPECT_EQ(epoll->watches[0].kind, "epoll");
  EXPECT_EQ(epoll->watches[0].fd, 5);
  EXPECT_EQ(epoll->watches[0].events.value, 0x1dU);
  EXPECT_EQ(epoll->watches[1].fd, 11);
  EXPECT_EQ(epoll->watches[1].inode.value, 0x1eU);
  auto fanotify = parse_fdinfo(head + "fanotify flags:10 event-flags:0\n" +
                               "fanotify mnt_id:12 mflags:40 mask:38 ignored_mask:40000000\n" +
                               "fanotify ino:4f969 sdev:800013 mflags:0 mask:3b ignored_mask:0\n");
  ASSERT_TRUE(fanotify);
  ASSERT_EQ(fanotify->watches.size(), 2U);
  EXPECT_EQ(fanotify->watches[0].kind, "fanotify mount");
  EXPECT_EQ(fanotify->watches[1].kind, "fanotify");
  EXPECT_EQ(fanotify->watches[1].events.value, 0x3bU);
  auto map = parse_fdinfo(head + "map_type:\t2\nkey_size:\t4\nvalue_size:\t8\nmax_entries:\t3\n" +
                          "map_flags:\t0x480\nmap_extra:\t0x0\nmemlock:\t320\nmap_id:\t7\nfrozen:\t1\n");
  ASSERT_TRUE(map);
  ASSERT_TRUE(map->bpf_map);
  EXPECT_EQ(map->bpf_map->type, 2U);
  EXPECT_EQ(map->bpf_map->value_bytes, 8U);
  EXPECT_EQ(map->bpf_map->max_entries, 3U);
  EXPECT_EQ(map->bpf_map->id, 7U);
  EXPECT_EQ(map->bpf_map->frozen, true);
  EXPECT_FALSE(parse_fdinfo(head + "map_type:\tx\n"));
}

// proc_pid_timers(5).
TEST(ProcTimers, RealCapture) {
  const auto timers = parse_timers(
      "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n"
      "ID: 0\nsignal: 34/0000000000000000\nnotify: thread/tid.2640\nClockID: 1\n");
  ASSERT_EQ(timers.size(), 2U);
  EXPECT_EQ(timers[0].kind, "posix");
  EXPECT_EQ(timers[0].id, 1);
  EXPECT_EQ(timers[0].signal, 60U);
  EXPECT_EQ(timers[0].notify, "signal");
  EXPECT_EQ(timers[0].tid, std::nullopt);
  EXPECT_EQ(timers[0].clock, 0);
  EXPECT_EQ(timers[0].interval_ns, std::nullopt);
  EXPECT_EQ(timers[1].tid, 2640);
  EXPECT_EQ(timers[1].notify, "thread");
  for (const std::string_view text : {"", "ID: x\nsignal: 1/0\n", "signal: 1/0\nnotify: signal/pid.1\n"})
    EXPECT_TRUE(parse_timers(text).empty()) << text;
}

TEST(ProcStatus, EveryPrefixGivesLessButNothingElse) {
  for (std::size_t size = 0; size < kStatus.size(); ++size) {
    Process process;
    auto parsed = parse_status(kStatus.substr(0, size), process);
    EXPECT_EQ(parsed.has_value(), size > kStatus.find("FDSize") - 1) << size;
    EXPECT_TRUE(process.rss_bytes == 0 || process.rss_bytes == 1612U * 1024) << size;
    EXPECT_TRUE(process.tracer_pid == 0 || process.tracer_pid == 12) << size;
    EXPECT_TRUE(process.container_pid == 0 || process.container_pid == 3) << size;
  }
}

TEST(ProcStatus, Malformed) {
  const std::string ids = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n";
  Process process;
  EXPECT_TRUE(parse_status(ids, process));
  for (const std::string line : {"VmRSS:\t12 MB\n", "VmRSS:\t18446744073709551615 kB\n", "CapEff:\t0x1\n",
                                 "Uid:\t0\t0\n", "NSpid:\t\n", "Seccomp:\t-\n", "Groups:\t1 x\n", "Uid\n"}) {
    auto parsed = parse_status(ids + line, process);
    EXPECT_FALSE(parsed) << line;
    if (!parsed) {
      EXPECT_EQ(parsed.error().code, Errc::malformed);
    }
  }
}

TEST(ProcMaps, Lines) {
  const struct {
    std::string line;
    std::uint64_t start, end, offset, device, inode;
    std::string protection, path;
  } cases[] = {
      {"55d739ad2000-55d739ad8000 r-xp 00002000 fe:00 247498                     /usr/bin/head",
       0x55d739ad2000, 0x55d739ad8000, 0x2000, 0xfe00000000, 247498, "r-xp", "/usr/bin/head"},
      {"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ", 0x7f0000000000, 0x7f0000001000, 0, 0, 0, "rw-p",
       ""},
      {"7f0000000000-7f0000001000 rw-p 00000000 00:00 0", 0x7f0000000000, 0x7f0000001000, 0, 0, 0, "rw-p",
       ""},
      {"7ffc6a5e8000-7ffc6a609000 rw-p 00000000 00:00 0                          [stack]", 0x7ffc6a5e8000,
       0x7ffc6a609000, 0, 0, 0, "rw-p", "[stack]"},
      {"7f12a0000000-7f12a0001000 rwxs 00000000 00:01 2057                       /memfd:a  b\\012c (deleted)",
       0x7f12a0000000, 0x7f12a0001000, 0, 1, 2057, "rwxs", "/memfd:a  b\\012c (deleted)"},
      {"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
       0xffffffffff600000, 0xffffffffff601000, 0, 0, 0, "--xp", "[vsyscall]"},
      {"0-ffffffffffffffff ---p ffffffffffffffff ffff:fffff 18446744073709551615 /x", 0, UINT64_MAX,
       UINT64_MAX, 0xffff000fffff, UINT64_MAX, "---p", "/x"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.line);
    auto mapping = parse_maps_line(c.line);
    ASSERT_TRUE(mapping) << mapping.error().what;
    EXPECT_EQ(mapping->start.value, c.start);
    EXPECT_EQ(mapping->end.value, c.end);
    EXPECT_EQ(mapping->offset_bytes, c.offset);
    EXPECT_EQ(mapping->device.value, c.device);
    EXPECT_EQ(mapping->inode.value, c.inode);
    EXPECT_EQ(mapping->protection, c.protection);
    EXPECT_EQ(mapping->path.raw, c.path);
  }
}

TEST(ProcMaps, MalformedAndCut) {
  for (const std::string line :
       {"", " ", "x", "1-2", "2-1 rwxp 0 0:0 0", "1-2 rwxz 0 0:0 0", "1-2 rwx 0 0:0 0", "1-2 rwxp g 0:0 0",
        "1-2 rwxp 0 00 0", "1-2 rwxp 0 0:g 0", "1-2 rwxp 0 0:0 ", "1-2 rwxp 0 0:0 -1",
        "10000000000000000-10000000000000001 rwxp 0 0:0 0", "0x1-0x2 rwxp 0 0:0 0"}) {
    EXPECT_FALSE(parse_maps_line(line)) << line;
  }
  const std::string whole =
      "55d739ad2000-55d739ad8000 r-xp 00002000 fe:00 247498                     /usr/bin/head";
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    auto mapping = parse_maps_line(std::string_view(whole).substr(0, size));
    EXPECT_EQ(mapping.has_value(), size > whole.find("247498")) << size;
    if (mapping) {
      EXPECT_EQ(mapping->end.value, 0x55d739ad8000U);
    }
  }
}

TEST(ProcMountinfo, Lines) {
  auto mount = parse_mountinfo_line(
      R"(36 35 98:12 /a\040b /mnt\0111\012x\134y\043 rw,noatime master:1 propagate_from:2 - fuse.s\040x /dev/\040 rw,lowerdir=l\134:c\040 d)");
  ASSERT_TRUE(mount) << mount.error().what;
  EXPECT_EQ(mount->id, 36U);
  EXPECT_EQ(mount->parent_id, 35U);
  EXPECT_EQ(mount->device.value, 98ULL << 32 | 12);
  EXPECT_EQ(mount->root.raw, "/a b");
  EXPECT_EQ(mount->mountpoint.raw, "/mnt\t1\nx\\y#");
  EXPECT_EQ(mount->options.raw, "rw,noatime");
  EXPECT_EQ(mount->propagation, (std::vector<Bytes>{Bytes("master:1"), Bytes("propagate_from:2")}));
  EXPECT_EQ(mount->fstype.raw, "fuse.s x");
  EXPECT_EQ(mount->source.raw, "/dev/ ");
  EXPECT_EQ(mount->super_options.raw, R"(rw,lowerdir=l\134:c\040 d)");  // raw, blanks too

  auto plain = parse_mountinfo_line("22 27 0:21 / /proc rw,relatime - proc proc rw");
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->propagation.empty());
  auto nameless = parse_mountinfo_line("22 27 0:21 / /- rw - tmpfs  rw");  // mount(2) with "" as source
  ASSERT_TRUE(nameless);
  EXPECT_EQ(nameless->source.raw, "");
  EXPECT_EQ(nameless->mountpoint.raw, "/-");
  EXPECT_EQ(nameless->super_options.raw, "rw");
}

TEST(ProcMountinfo, CutAndMalformed) {
  const std::string whole = "25 24 0:23 / /dev/shm rw,relatime shared:3 - tmpfs tmpfs rw,size=24684096k";
  const std::size_t before_options = whole.find(" rw,size") + 1;
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    auto mount = parse_mountinfo_line(std::string_view(whole).substr(0, size));
    EXPECT_EQ(mount.has_value(), size >= before_options) << size;
  }
  for (const std::string line :
       {"x 27 0:21 / /proc rw - proc proc rw", "22 -1 0:21 / /proc rw - proc proc rw",
        "22 27 021 / /proc rw - proc proc rw", "22 27 0:x / /proc rw - proc proc rw",
        "22 27 0:21 / /proc rw proc proc rw"}) {
    EXPECT_FALSE(parse_mountinfo_line(line)) << line;
  }
}

TEST(ProcMountinfo,
     LongLineOfLayers) {  // 500 layers, the kernel's most, far over the 4 KiB that others stop at
  std::string options = "rw,lowerdir=";
  for (int i = 0; i < 500; ++i)
    options += "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs:";
  auto mount = parse_mountinfo_line("25 24 0:23 / / rw - overlay overlay " + options);
  ASSERT_TRUE(mount);
  EXPECT_EQ(mount->super_options.raw, options);
}

TEST(ProcEscape, Octal) {
  const struct {
    std::string in, out;
  } cases[] = {{"", ""},          {"a", "a"},         {"\\040", " "},    {"\\134040", "\\040"},
               {"\\", "\\"},      {"\\0", "\\0"},     {"\\04", "\\04"},  {"\\08x", "\\08x"},
               {"\\377", "\xff"}, {"\\400", "\\400"}, {"a\\012", "a\n"}, {"\\\\040", "\\ "}};
  for (const auto& c : cases) EXPECT_EQ(unescape_octal(c.in), c.out) << c.in;
}

TEST(ProcLimits, RealCapture) {
  const std::string text =
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max cpu time              unlimited            unlimited            seconds   \n"
      "Max open files            1024                 524288               files     \n"
      "Max nice priority         0                    0                    \n"
      "Max realtime timeout      unlimited            18446744073709551615 us        \n";
  auto limits = parse_limits(text);
  ASSERT_EQ(limits.size(), 4U);
  EXPECT_EQ(limits[0].name, "Max cpu time");
  EXPECT_EQ(limits[0].soft, "unlimited");
  EXPECT_EQ(limits[0].units, "seconds");
  EXPECT_EQ(limits[1].name, "Max open files");
  EXPECT_EQ(limits[1].soft, "1024");
  EXPECT_EQ(limits[1].hard, "524288");
  EXPECT_EQ(limits[2].name, "Max nice priority");
  EXPECT_EQ(limits[2].units, "");
  EXPECT_EQ(limits[3].hard, "18446744073709551615");
  EXPECT_EQ(limits[3].units, "us");
  std::size_t most = 0;
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const auto some = parse_limits(std::string_view(text).substr(0, size));
    EXPECT_GE(some.size(), most);
    most = some.size();
    if (!some.empty()) {
      EXPECT_EQ(some[0].hard, "unlimited");
    }
  }
}

TEST(ProcFdinfo, Cases) {
  auto plain = parse_fdinfo("pos:\t4096\nflags:\t0100002\nmnt_id:\t24\nino:\t3\n");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->position_bytes, 4096U);
  EXPECT_EQ(plain->flags, 0100002U);
  EXPECT_EQ(plain->inode, 3U);
  auto old = parse_fdinfo("pos:\t0\nflags:\t02004000\nmnt_id:\t13\n");
  ASSERT_TRUE(old);
  EXPECT_FALSE(old->inode);
  auto watches = parse_fdinfo(
      "pos:\t0\nflags:\t00\nmnt_id:\t13\nino:\t9\ninotify wd:3 ino:9e7e sdev:800013 "
      "mask:800afce\npos:\t77\nflags:\t01\n");
  ASSERT_TRUE(watches);
  EXPECT_EQ(watches->position_bytes, 0U);  // the kernel's own lines come first; later ones are the driver's
  EXPECT_EQ(watches->inode, 9U);
  ASSERT_EQ(watches->watches.size(), 1U);
  EXPECT_EQ(watches->watches[0].kind, "inotify");
  EXPECT_EQ(watches->watches[0].inode.value, 0x9e7eU);
  EXPECT_EQ(watches->watches[0].device.value, std::uint64_t{8} << 32 | 0x13);
  EXPECT_EQ(watches->watches[0].events.value, 0x800afceU);
  auto mem = parse_fdinfo("pos:\t-140737488355328\nflags:\t00\n");
  ASSERT_TRUE(mem);
  EXPECT_EQ(mem->position_bytes, 0xffff800000000000U);
  for (const std::string text : {"", "pos:\t0\n", "flags:\t0\n", "pos:\t0\nflags:\t0", "pos:\tx\nflags:\t0\n",
                                 "pos:\t0\nflags:\t9\n", "pos:\t0\nflags:\t0\nino:\t-1\n"}) {
    EXPECT_FALSE(parse_fdinfo(text)) << text;
  }
}

TEST(ProcNet, Lines) {
  const struct {
    std::string family, line, state, local, remote;
    std::uint64_t inode;
    std::uint32_t uid;
    std::uint64_t receive, send;
  } cases[] = {
      {"tcp",
       "   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1123 1 "
       "000000004a43ceed 100 0 0 10 0                      ",
       "LISTEN", "0.0.0.0:2024", "0.0.0.0:0", 1123, 0, 0, 0},
      {"tcp",
       "  12: 0F02000A:D431 D67100CB:01BB 01 0000002A:00000007 01:00000014 00000000  1000        0 99887 4 "
       "ffff8881 20 4 30 10 -1",
       "ESTABLISHED", "10.0.2.15:54321", "203.0.113.214:443", 99887, 1000, 7, 42},
      {"tcp",
       "  13: 0100007F:0016 0100007F:9C40 06 00000000:00000000 03:000014B8 00000000     0        0 0 3 "
       "0000000000000000",
       "TIME_WAIT", "127.0.0.1:22", "127.0.0.1:40000", 0, 0, 0, 0},
      {"tcp6",
       "   1: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A "
       "00000000:00000000 00:00000000 00000000  4294967295        0 18446744073709551615 1 0 100 0 0 10 0",
       "LISTEN", "[2001:db8::1]:443", "[::]:0", UINT64_MAX, UINT32_MAX, 0, 0},
      {"tcp6",
       "   2: 0000000000000000FFFF00000F02000A:1F90 0000000000000000FFFF000004030201:01BB 08 "
       "00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1",
       "CLOSE_WAIT", "[::ffff:10.0.2.15]:8080", "[::ffff:1.2.3.4]:443", 5, 0, 0, 0},
      {"udp",
       "  334: 0100007F:0143 00000000:0000 07 00000000:00000300 00:00000000 00000000   102        0 14213 2 "
       "ffff9 0         ",
       "", "127.0.0.1:323", "0.0.0.0:0", 14213, 102, 768, 0},
      {"udp6",
       "  335: 00000000000000000000000001000000:0143 00000000000000000000000000000000:0000 07 "
       "00000000:00000000 00:00000000 00000000     0        0 14214 2 ffff9 0",
       "", "[::1]:323", "[::]:0", 14214, 0, 0, 0},
      {"raw",
       "    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20202 2 "
       "ffff9 0",
       "", "0.0.0.0:1", "0.0.0.0:0", 20202, 0, 0, 0},
      {"unix", "00000000ca954864: 00000003 00000000 00000000 0001 03  1119", "ESTABLISHED", "", "", 1119, 0,
       0, 0},
      {"unix", "ffff9a7b: 00000002 00000000 00010000 0001 01 12345 /run/a b  c", "LISTEN", "/run/a b  c", "",
       12345, 0, 0, 0},
      {"unix", "ffff9a7b: 00000002 00000000 00000000 0002 01 12345  leading", "", " leading", "", 12345, 0, 0,
       0},
      {"unix", "ffff9a7b: 00000002 00000000 00010000 0005 01 7 @abstract@@x", "LISTEN", "@abstract@@x", "", 7,
       0, 0, 0},
      {"packet", "ffff9a7bc5d24800 3      3    0003   2     1 4096   1000   31337 ", "", "0x0003:2", "",
       31337, 1000, 4096, 0},
      {"netlink",
       "000000007ca3dad7 15  4711       00000001 512      16       0     2        0        4       ", "",
       "15:4711", "", 4, 0, 512, 16},
      {"netlink", "ffff88013b1e4800 0   -4122      00000000 0        0        0     2        0        9", "",
       "0:4294963174", "", 9, 0, 0, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.line);
    auto socket = parse_net_line(c.family, c.line);
    ASSERT_TRUE(socket) << socket.error().what;
    ASSERT_TRUE(socket->has_value());
    EXPECT_EQ((*socket)->family, c.family);
    EXPECT_EQ((*socket)->state, c.state);
    EXPECT_EQ((*socket)->local.raw, c.local);
    EXPECT_EQ((*socket)->remote.raw, c.remote);
    EXPECT_EQ((*socket)->inode.value, c.inode);
    EXPECT_EQ((*socket)->uid, c.uid);
    EXPECT_EQ((*socket)->receive_queue_bytes, c.receive);
    EXPECT_EQ((*socket)->send_queue_bytes, c.send);
    for (std::size_t size = 0; size < c.line.size(); ++size) {  // must not crash, and never becomes a heading
      auto cut = parse_net_line(c.family, std::string_view(c.line).substr(0, size));
      if (cut) {
        EXPECT_TRUE(cut->has_value());
      }
    }
  }
}

TEST(ProcNet, HeadingsAndNonsense) {
  const struct {
    std::string family, line;
  } headings[] = {
      {"tcp",
       "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode "},
      {"tcp6",
       "  sl  local_address                         remote_address                        st tx_queue "
       "rx_queue"},
      {"udp",
       "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode "
       "ref pointer drops"},
      {"unix", "Num       RefCount Protocol Flags    Type St Inode Path"},
      {"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode"},
      {"netlink",
       "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode"}};
  for (const auto& h : headings) {
    auto parsed = parse_net_line(h.family, h.line);
    ASSERT_TRUE(parsed) << h.line;
    EXPECT_FALSE(parsed->has_value());
  }
  const std::string tail = " 00:00000000 00000000     0        0 1123 1 0 100 0 0 10 0";
  const struct {
    std::string family, line;
  } wrong[] = {
      {"tcp", ""},
      {"tcp", "0: 0100007F:0016"},
      {"tcp", "0 0100007F:0016 0100007F:0016 0A 0:0" + tail},
      {"tcp", "0: 0100007F0:0016 0100007F:0016 0A 0:0" + tail},
      {"tcp", "0: 0100007G:0016 0100007F:0016 0A 0:0" + tail},
      {"tcp", "0: 0100007F:00016 0100007F:0016 0A 0:0" + tail},
      {"tcp", "0: 0100007F:0016 0100007F:0016 1FF 0:0" + tail},
      {"tcp6", "0: 0100007F:0016 0100007F:0016 0A 0:0" + tail},
      {"unix", "a line of a path"},
      {"tcp", "0: 00000000000000000000000001000000:0143 00000000000000000000000000000000:0000 0A 0:0" + tail},
      {"unix", "ffff: 2 0 0 1 1"},
      {"packet", "ffff 3 3 0003 2 1 0 0"},
      {"netlink", "ffff 15 1 1 0 0 0 2 0"}};
  for (const auto& w : wrong) EXPECT_FALSE(parse_net_line(w.family, w.line)) << w.line;
  EXPECT_TRUE(parse_net_line(
      "tcp", "0: 0100007F:0016 0100007F:0016 0A 0:0" + tail));  // so the table above tests what it says
}

constexpr const char* kId = "8f6a0c1d2e3b4a5968778695a4b3c2d1e0f0123456789abcdef0fedcba987654";
constexpr const char* kOther = "1111111111111111111111111111111111111111111111111111111111111111";
constexpr const char* kUid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
constexpr const char* kUnderscored = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";
constexpr const char* kStatic = "2f2b0f5f6d1c0a9b8e7d6c5b4a392817";

TEST(ProcCgroup, OwnerOfEveryForm) {
  const std::string id = kId, other = kOther, uid = kUid, und = kUnderscored, st = kStatic;
  const struct {
    std::string path, id, uid;
  } cases[] = {
      {"/kubepods/besteffort/pod" + uid + "/" + id, id, uid},
      {"/kubepods/burstable/pod" + uid + "/" + id, id, uid},
      {"/kubepods/pod" + uid + "/" + id, id, uid},  // guaranteed
      {"/kubepods/pod" + st + "/" + id, id, st},    // static pod
      {"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + und + ".slice/cri-containerd-" +
           id + ".scope",
       id, uid},
      {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/crio-" + id +
           ".scope",
       id, uid},
      {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/crio-" + id, id,
       uid},
      {"/kubepods.slice/kubepods-pod" + und + ".slice/docker-" + id + ".scope", id, uid},
      {"/kubepods.slice/kubepods-pod" + st + ".slice/cri-containerd-" + id + ".scope", id, st},
      {"/kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + id + ".scope/container", id, uid},
      {"/kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + id + ".scope/init.scope", id, uid},
      {"/kubepods.slice/kubepods-pod" + und + ".slice/crio-" + id + ".scope/system.slice/ssh.service", id,
       uid},
      {"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
       "kubelet-kubepods-besteffort-pod" +
           und + ".slice/cri-containerd-" + id + ".scope",
       id, uid},
      {"/docker/" + other + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + und +
           ".slice/cri-containerd-" + id + ".scope",
       id, uid},  // kind
      {"/system.slice/containerd.service/kubepods-burstable-pod" + und + ".slice:cri-containerd:" + id, id,
       uid},
      {"/kubepods-besteffort-pod" + und + ".slice:crio:" + id, id, uid},
      {"/../../kubepods/besteffort/pod" + uid + "/" + id, id, uid},
      {"/../../kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + id + ".scope", id, uid},
      {"/docker/" + id, id, ""},
      {"/system.slice/docker-" + id + ".scope", id, ""},
      {"/machine.slice/libpod-" + id + ".scope", id, ""},
      {"/machine.slice/libpod-" + id + ".scope/container", id, ""},
      {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container", id, ""},
      {"/libpod_parent/libpod-" + id, id, ""},
      {"/libpod_parent/libpod-" + id + "/supervisor", id, ""},
      {"/docker/" + id + "/init", id, ""},
      {"/docker/" + other + "/docker/" + id, id, ""},  // docker in docker: the inner one
      {"/kubepods/pod" + uid + "/" + other + "/docker/" + id, id, uid},
      {"/kubepods/pod" + uid + "/" + id + " (deleted)", id, uid},
      {"/kubepods/pod" + uid, "", uid},
      {"/kubepods.slice/kubepods-pod" + und + ".slice", "", uid},
      {id, id, ""},
      // What is not a container.
      {"/", "", ""},
      {"", "", ""},
      {"//", "", ""},
      {"/../..", "", ""},
      {"/system.slice/ssh.service", "", ""},
      {"/machine.slice/libpod-conmon-" + id + ".scope", "", ""},
      {"/kubepods.slice/kubepods-pod" + und + ".slice/crio-conmon-" + id + ".scope", "", uid},
      {"/machine.slice/machine-libpod_pod_" + id + ".slice", "", ""},
      {"/docker/" + id.substr(1), "", ""},
      {"/docker/a" + id, "", ""},
      {"/docker/" + id.substr(1) + "G", "", ""},
      {"/kubepods/pod" + uid.substr(1) + "/x", "", ""},
      {"/kubepods/xpod" + uid, "", ""},
      {"/kubepods/pod", "", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    const auto owner = parse_cgroup_owner(c.path);
    EXPECT_EQ(owner.container_id, c.id);
    EXPECT_EQ(owner.pod_uid, c.uid);
    for (std::size_t size = 0; size < c.path.size(); ++size)
      (void)parse_cgroup_owner(std::string_view(c.path).substr(0, size));
  }
}

TEST(ProcCgroup, Lines) {
  const auto lines = parse_cgroup(
      "9:name=systemd:/a\n4:cpu,cpuacct:/system.slice/x.service/"
      "kubepods-podY.slice:cri-containerd:Z\nbad\n:x:/\n0::/../b");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0].hierarchy, 9U);
  EXPECT_EQ(lines[0].controllers, "name=systemd");
  EXPECT_EQ(lines[0].path, "/a");
  EXPECT_EQ(lines[1].path, "/system.slice/x.service/kubepods-podY.slice:cri-containerd:Z");
  EXPECT_EQ(lines[2].hierarchy, 0U);
  EXPECT_EQ(lines[2].controllers, "");
  EXPECT_EQ(lines[2].path, "/../b");
}

}  // namespace
}  // namespace ctriage::proc
