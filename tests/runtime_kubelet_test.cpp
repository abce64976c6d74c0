// Thresholds of kubelet: whatever stands in flag or file, never less careful than the defaults.
#include <gtest/gtest.h>

#include "lib/runtime/kubelet.h"

namespace ctriage::runtime {
namespace {

struct Expected {
  unsigned nodefs_percent = 10;
  std::uint64_t nodefs_bytes = 0;
  unsigned imagefs_percent = 15;
  std::uint64_t imagefs_bytes = 0;
  bool ok = true;
};

void expect(const Eviction& got, const Status& status, const Expected& expected) {
  EXPECT_EQ(got.nodefs.percent, expected.nodefs_percent);
  EXPECT_EQ(got.nodefs.bytes, expected.nodefs_bytes);
  EXPECT_EQ(got.imagefs.percent, expected.imagefs_percent);
  EXPECT_EQ(got.imagefs.bytes, expected.imagefs_bytes);
  EXPECT_EQ(static_cast<bool>(status), expected.ok) << (status ? "" : status.error().what);
}

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(KubeletThresholds, Flag) {
  const struct {
    const char* text;
    Expected expected;
  } cases[] = {
      {"", {}},
      {"memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%", {}},
      {"nodefs.available<20%", {20, 0, 15, 0, true}},
      {"nodefs.available<5%,imagefs.available<5%", {}},  // less careful than the default
      {"nodefs.available<1Gi,imagefs.available<500Mi", {10, kGiB, 15, 500U << 20, true}},
      {"imagefs.available<7.5%", {}},
      {"imagefs.available<17.2%", {10, 0, 18, 0, true}},
      {"nodefs.available<1G", {10, 1'000'000'000, 15, 0, true}},
      {"nodefs.available<1073741824", {10, kGiB, 15, 0, true}},
      {"nodefs.available<1.5Gi", {10, kGiB / 2 * 3, 15, 0, true}},
      {"nodefs.available<2e9", {10, 2'000'000'000, 15, 0, true}},
      {"nodefs.available<100k", {10, 100'000, 15, 0, true}},
      {" nodefs.available < 1Gi ", {10, kGiB, 15, 0, true}},
      {"nodefs.available<100%", {100, 0, 15, 0, true}},
      {"nodefs.available<101%", {10, 0, 15, 0, false}},
      {"nodefs.available<lots,imagefs.available<20%", {10, 0, 20, 0, false}},
      {"nodefs.available<1Xi", {10, 0, 15, 0, false}},
      {"nodefs.available<1e99", {10, 0, 15, 0, false}},
      {"nodefs.available<", {10, 0, 15, 0, false}},
      {"nodefs.available<-1Gi", {10, 0, 15, 0, false}},
      {"nonsense", {10, 0, 15, 0, false}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    Eviction got;
    const Status status = parse_eviction_flag(c.text, got);
    expect(got, status, c.expected);
  }
}

TEST(KubeletThresholds, Config) {
  const struct {
    const char* text;
    Expected expected;
  } cases[] = {
      {"", {}},
      {"kind: KubeletConfiguration\nmaxPods: 110\n", {}},
      {"evictionHard:\n  nodefs.available: \"20%\"\n  imagefs.available: '25%'\nmaxPods: 110\n",
       {20, 0, 25, 0, true}},
      {"a: b\nevictionHard:   # hard\n    memory.available: 100Mi\n\n    # comment\n    nodefs.available: "
       "2Gi # x\nb: c\n",
       {10, 2 * kGiB, 15, 0, true}},
      {"evictionHard: {nodefs.available: 30%, \"imagefs.available\": \"1Gi\"}\n", {30, 0, 15, kGiB, true}},
      {"evictionHard: {\n  nodefs.available: 30%,\n  imagefs.available: 40% }\n", {30, 0, 40, 0, true}},
      {"evictionHard:\n  {nodefs.available: 30%}\n", {30, 0, 15, 0, true}},
      {"evictionHard: {}\n", {}},
      {"evictionHard: null\n", {}},
      {"evictionHard:\nmaxPods: 1\n", {}},
      {"evictionHard:\n  nodefs.available: 20%\nevictionSoft:\n  nodefs.available: 90%\n",
       {20, 0, 15, 0, true}},
      {"evictionSoft:\n  nodefs.available: 90%\n", {}},
      {"# evictionHard:\n#   nodefs.available: 90%\n", {}},
      {"{\"kind\": \"KubeletConfiguration\", \"evictionHard\": {\"nodefs.available\": \"33%\"}, \"maxPods\": "
       "1}",
       {33, 0, 15, 0, true}},
      {"{\n \"evictionHard\": {\n  \"imagefs.available\": \"33%\",\n  \"memory.available\": \"1Gi\"\n }\n}\n",
       {10, 0, 33, 0, true}},
      {"\"evictionHard\":\n  \"nodefs.available\": \"21%\"\r\n", {21, 0, 15, 0, true}},
      {"evictionHard: &anchor\n  nodefs.available: 90%\n", {10, 0, 15, 0, false}},
      {"evictionHard: *elsewhere\n", {10, 0, 15, 0, false}},
      {"evictionHard: {nodefs.available: 90%\n", {10, 0, 15, 0, false}},
      {"evictionHard:\n  nodefs.available: much\n  imagefs.available: 20%\n", {10, 0, 20, 0, false}},
      {"evictionHard:\n  - nodefs.available\n", {10, 0, 15, 0, false}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    Eviction got;
    const Status status = parse_kubelet_config(c.text, got);
    expect(got, status, c.expected);
    for (std::size_t cut = 0; cut < std::string_view(c.text).size(); ++cut) {  // ends, whatever it says
      Eviction any;
      (void)parse_kubelet_config(std::string_view(c.text).substr(0, cut), any).has_value();
      EXPECT_GE(any.nodefs.percent, 10U);
    }
  }
}

TEST(KubeletThresholds, TheLargerOfShareAndSize) {
  EXPECT_EQ((Threshold{10, 0}.of(1000)), 100U);
  EXPECT_EQ((Threshold{10, 500}.of(1000)), 500U);
  EXPECT_EQ((Threshold{10, 50}.of(1000)), 100U);
}

}  // namespace
}  // namespace ctriage::runtime
