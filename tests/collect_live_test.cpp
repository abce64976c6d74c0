// What is listed of a live container belongs to its members, also when their numbers belong to others by now.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/collect/collection.h"
#include "tests/proc_child.h"

namespace ctriage::collect {
namespace {

namespace fs = std::filesystem;
using ctriage::testing::Child;
using ctriage::testing::TaskFixture;

struct Silent final : Progress {
  void held(const source::HoldCounts&, const source::LiveSnapshot&, Timestamp) override {}
  void phase_ended(const PhaseEnd&) override {}
  void found(const Finding&) override {}
  void changed(ChangeKind) override {}
  void gap(const Gap&) override {}
  std::string summary_text(const Summary&) override { return ""; }
};

// One process of this machine as a snapshot. No sandbox: it would be that of the other tests, too.
class CollectLive : public ::testing::Test, protected TaskFixture {
 protected:
  void SetUp() override {
    auto proc = Root::open("/proc");
    ASSERT_TRUE(proc);
    auto readers = proc::Readers::start(*proc);
    ASSERT_TRUE(readers);
    const std::int32_t host = proc::node_process(*proc);
    auto node = std::make_unique<source::Node>(source::Node{*std::move(proc), *std::move(readers), {}, host});
    auto opened = source::LiveSnapshot::open_pid(std::move(node), child_.pid(), task);
    ASSERT_TRUE(opened) << opened.error().what;
    snapshot_ = *std::move(opened);
    ASSERT_EQ(snapshot_->containers().size(), 1U);
    id_ = snapshot_->containers()[0].container.id;
    std::string name = "/tmp/ctriage-live-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    base_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    if (!base_.empty()) fs::remove_all(base_, ignored);
  }

  // As if the member had ended and another process had got its number.
  void give_number_to_another() { ++snapshot_->containers()[0].processes.at(child_.pid()).start_ticks; }

  std::size_t count_threads() {
    std::size_t count = 0;
    EXPECT_TRUE(snapshot_->list_threads(id_, counting<Thread>(count), task));
    return count;
  }
  template <class T>
  static Emit<T> counting(std::size_t& count) {
    return [&count](T&&) -> Status {
      ++count;
      return Done{};
    };
  }
  std::vector<std::string> lost() const {
    std::vector<std::string> keys;
    for (const Gap& gap : gaps.kept()) {
      if (gap.impact != Impact::lost) continue;
      EXPECT_EQ(gap.error.code, Errc::vanished) << gap.error.what;
      keys.push_back(gap.artifact);
    }
    return keys;
  }

  Child child_{[] {}};
  std::unique_ptr<source::LiveSnapshot> snapshot_;
  std::string id_;
  std::string base_;
};

TEST_F(CollectLive, NothingOfAnotherProcessWithTheNumberIsListed) {
  std::size_t mappings = 0;
  std::size_t descriptors = 0;
  std::size_t sockets = 0;
  EXPECT_EQ(count_threads(), 1U);
  EXPECT_TRUE(lost().empty());
  give_number_to_another();
  EXPECT_EQ(count_threads(), 0U);
  EXPECT_TRUE(snapshot_->list_mappings(id_, counting<Mapping>(mappings), task));
  EXPECT_TRUE(snapshot_->list_descriptors(id_, counting<Descriptor>(descriptors), task));
  EXPECT_TRUE(snapshot_->list_sockets(id_, counting<Socket>(sockets), task));
  EXPECT_EQ(mappings + descriptors + sockets, 0U);
  EXPECT_EQ(lost(), (std::vector<std::string>{"proc.threads", "proc.mappings", "proc.descriptors"}));
}

TEST_F(CollectLive, TheEndOfAMemberIsToldWhenItsNumberComesBack) {
  give_number_to_another();
  std::size_t processes = 0;
  EXPECT_TRUE(snapshot_->list_processes(id_, counting<Process>(processes), task));
  EXPECT_EQ(processes, 1U);  // who has the number now is a member, too
  EXPECT_EQ(lost(), std::vector<std::string>{"proc.process"});
}

TEST_F(CollectLive, RawTextsAreOfTheMemberOrNotTaken) {
  for (const bool reused : {false, true}) {
    SCOPED_TRACE(reused);
    if (reused) give_number_to_another();
    const std::string name = reused ? "reused" : "ours";
    auto directory = Root::open(base_);
    ASSERT_TRUE(directory);
    auto writer = bundle::Writer::create(*directory, name, {}, task);
    ASSERT_TRUE(writer) << writer.error().what;
    rules::Engine engine({});
    Options options;
    Silent progress;
    Collection in(*snapshot_, **writer, engine, options, progress, task);
    snapshot_->containers()[0].member = "app";
    const Status taken = take_raw(in);
    ASSERT_TRUE(taken) << taken.error().what;
    auto sealed = (*writer)->seal();
    ASSERT_TRUE(sealed) << sealed.error().what;
    std::ifstream file(base_ + "/" + sealed->path, std::ios::binary);
    const std::string bundle{std::istreambuf_iterator<char>(file), {}};
    const std::string member = "/raw/" + std::to_string(child_.pid()) + ".tar";
    EXPECT_EQ(bundle.find(member) != std::string::npos, !reused);
    EXPECT_EQ(lost(), reused ? std::vector<std::string>{"proc.raw"} : std::vector<std::string>{});
  }
}

}  // namespace
}  // namespace ctriage::collect
