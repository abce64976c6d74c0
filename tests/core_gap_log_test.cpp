#include <gtest/gtest.h>

#include "lib/core/gap_log.h"
#include "lib/core/limits.h"

namespace ctriage {
namespace {

Gap gap(Impact impact, std::string artifact, Errc code, std::string origin = "here") {
  return {impact, std::move(artifact), std::move(origin), Error{code, "why"}};
}

void fill(GapLog& log, std::size_t count, const std::string& artifact) {
  for (std::size_t i = 0; i < count; ++i) log.add(gap(Impact::lost, artifact, Errc::io, std::to_string(i)));
}

TEST(GapLog, WritesThroughThenCounts) {
  std::vector<Gap> out;
  GapLog log([&](const Gap& g) { out.push_back(g); });
  fill(log, kMaxGapsPerKind + 1'234, "file");
  log.add(gap(Impact::note, "file", Errc::io));
  log.add(gap(Impact::lost, "file", Errc::denied));
  EXPECT_EQ(out.size(), kMaxGapsPerKind + 2);
  EXPECT_EQ(log.count(Impact::lost), kMaxGapsPerKind + 1'235);
  EXPECT_EQ(log.count(Impact::note), 1U);
  EXPECT_EQ(log.count(Impact::degraded), 0U);
  EXPECT_EQ(log.total(), kMaxGapsPerKind + 1'236);
  log.finish();
  ASSERT_EQ(out.size(), kMaxGapsPerKind + 3);
  EXPECT_EQ(out.back().error.what, "and 1,234 more like this, counted, not written");
  EXPECT_EQ(out.back().artifact, "file");
  EXPECT_EQ(log.total(), kMaxGapsPerKind + 1'236);
  EXPECT_TRUE(log.kept().empty());
}

TEST(GapLog, NothingToSayAtTheLimit) {
  GapLog log;
  fill(log, kMaxGapsPerKind, "file");
  log.finish();
  EXPECT_EQ(log.kept().size(), kMaxGapsPerKind);
}

TEST(GapLog, MergeLosesNoCount) {
  const struct {
    std::size_t ours;
    std::size_t theirs;
  } cases[] = {{0, 0}, {1, 1}, {600, 600}, {1'500, 0}, {0, 5'000}, {999, 1'001}, {1'500, 1'500}};
  for (const auto& c : cases) {
    SCOPED_TRACE(std::to_string(c.ours) + "+" + std::to_string(c.theirs));
    GapLog one;
    GapLog other;
    fill(one, c.ours, "file");
    fill(other, c.theirs, "file");
    other.add(gap(Impact::note, "x", Errc::limit));
    one.merge(std::move(other));
    const std::size_t sum = c.ours + c.theirs;
    EXPECT_EQ(one.count(Impact::lost), sum);
    EXPECT_EQ(one.count(Impact::note), 1U);
    one.finish();
    const std::size_t written = std::min(sum, kMaxGapsPerKind);
    EXPECT_EQ(one.kept().size(), written + 1 + (sum > kMaxGapsPerKind ? 1 : 0));
    if (sum > kMaxGapsPerKind) {
      std::string digits;
      for (const char digit : one.kept().back().error.what) {
        if (digit >= '0' && digit <= '9') digits += digit;
      }
      EXPECT_EQ(digits, std::to_string(sum - kMaxGapsPerKind));
    }
  }
}

}  // namespace
}  // namespace ctriage
