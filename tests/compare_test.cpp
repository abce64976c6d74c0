// What is told of two sources: each in a process of its own, as `diff A B` has them.
#include "lib/compare/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <functional>

#include "lib/compare/page_table.h"
#include "lib/compare/protocol.h"
#include "lib/compare/sorted.h"
#include "tests/fake_snapshot.h"

namespace ctriage::compare {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::atomic<bool> kNoStop = false;

struct Compared {
  Comparison comparison;
  std::vector<Difference> differences;
  std::vector<Gap> gaps;
};

void ignore_signal(int) {}

using Make = std::function<std::unique_ptr<Snapshot>()>;

Child start(const Make& make, std::span<Child* const> siblings) {
  auto child = Child::start(
      [&](Channel& asker) {
        GapLog gaps;
        Task task{gaps, kNoStop, {}};
        Result<std::unique_ptr<Snapshot>> opened = make();
        return serve(opened, asker, kNoStop, task) ? 0 : 1;
      },
      ignore_signal, siblings);
  return *std::move(child);
}

CompareOptions everything() {
  CompareOptions options;
  for (std::size_t i = 0; i < enum_names(ComparedKind{}).size(); ++i)
    options.kinds.insert(static_cast<ComparedKind>(i));
  options.salt = "salt";
  return options;
}

Compared compare(const Make& one, const Make& other, CompareOptions options = everything()) {
  Child first = start(one, {});
  const std::array<Child*, 1> siblings{&first};
  Child second = start(other, siblings);
  Side before("A", first.channel(), kNoStop);
  Side after("B", second.channel(), kNoStop);
  Comparer comparer(before, after, std::move(options));
  GapLog gaps;
  Task task{gaps, kNoStop, {}};
  Compared compared;
  auto begun = comparer.begin(task);
  EXPECT_TRUE(begun) << begun.error().what;
  if (!begun) return compared;
  compared.comparison = *std::move(begun);
  const auto done = comparer.run(
      compared.comparison,
      [&](Difference&& difference) -> Status {
        compared.differences.push_back(std::move(difference));
        return Done{};
      },
      task);
  EXPECT_TRUE(done) << done.error().what;
  compared.gaps = gaps.kept();
  return compared;
}

// "~process 23 argv exe": mark, kind, pid, the names of the fields of what changed.
std::string short_form(const Difference& difference) {
  std::string text = difference.unsure                              ? "?"
                     : difference.change == DifferenceChange::gone  ? "-"
                     : difference.change == DifferenceChange::added ? "+"
                                                                    : "~";
  text += to_text(difference.kind);
  if (difference.pid) text += " " + std::to_string(*difference.pid);
  text += " " + difference.what.raw.substr(0, difference.what.raw.find('\0'));
  if (difference.change == DifferenceChange::changed) {
    for (const DifferingField& field : difference.differs) text += " " + field.field;
  }
  return text;
}

std::vector<std::string> short_forms(const Compared& compared) {
  std::vector<std::string> forms;
  for (const Difference& difference : compared.differences) forms.push_back(short_form(difference));
  return forms;
}

constexpr const char* kId = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

test::FakeSnapshot plain() {
  test::FakeSnapshot snapshot;
  snapshot.source.kind = "bundle";
  snapshot.source.node = Bytes("node");
  Container container;
  container.id = kId;
  container.name = Bytes("app");
  container.args = {Bytes("/start")};
  snapshot.containers = {container};
  for (const std::int32_t pid : {1, 17}) {
    Process process;
    process.container = kId;
    process.pid = 4'000 + pid;
    process.container_pid = pid;
    process.start_ticks = 100 + static_cast<std::uint64_t>(pid);
    process.argv = {Bytes("/bin/app"), Bytes(std::to_string(pid))};
    process.environ = {Bytes("A=1"), Bytes("PASSWORD=x")};
    process.exe.path = Bytes("/bin/app");
    process.credentials.uids = {0, 0, 0, 0};
    snapshot.processes.push_back(process);
    Mapping mapping;
    mapping.container = kId;
    mapping.pid = process.pid;
    mapping.start = Hex{0x1000};
    mapping.end = Hex{0x3000};
    mapping.protection = "r-xp";
    mapping.path = Bytes("/bin/app");
    snapshot.mappings.push_back(mapping);
    Descriptor file;
    file.container = kId;
    file.pid = process.pid;
    file.fd = 3;
    file.target = Bytes("/etc/passwd");
    file.kind = "regular";
    snapshot.descriptors.push_back(file);
  }
  Socket socket;
  socket.container = kId;
  socket.family = "tcp";
  socket.state = "LISTEN";
  socket.local = Bytes("0.0.0.0:80");
  socket.pids = {4'001};
  snapshot.sockets = {socket};
  FileChange change;
  change.container = kId;
  change.path = Bytes("/etc/passwd");
  change.kind = ChangeKind::content;
  change.before.emplace().type = FileType::regular;
  change.before->sha256 = "old";
  change.after = change.before;
  change.after->sha256 = "new";
  change.after->mtime = Timestamp{7, 5};
  snapshot.changes = {change};
  Mount mount;
  mount.container = kId;
  mount.mountpoint = Bytes("/");
  mount.fstype = Bytes("overlay");
  snapshot.mounts = {mount};
  // The fake calls its changes part: here all is whole or missing.
  return snapshot;
}

struct Whole final : Snapshot {
  explicit Whole(test::FakeSnapshot fake) : fake_(std::move(fake)) {}
  Coverage covers(Facet facet) const override {
    if (facet == Facet::layers) return {Coverage::Level::none, "no layers here"};
    const Coverage known = fake_.covers(facet);
    if (known.level == Coverage::Level::none || partly_) return known;
    return {Coverage::Level::whole, ""};
  }
  Result<Source> describe(Task& task) override { return fake_.describe(task); }
  Status list_containers(const Emit<Container>& emit, Task& task) override {
    return fake_.list_containers(emit, task);
  }
  Status list_processes(const std::string& c, const Emit<Process>& emit, Task& task) override {
    return fake_.list_processes(c, emit, task);
  }
  Status list_mappings(const std::string& c, const Emit<Mapping>& emit, Task& task) override {
    return fake_.list_mappings(c, emit, task);
  }
  Status list_descriptors(const std::string& c, const Emit<Descriptor>& emit, Task& task) override {
    return fake_.list_descriptors(c, emit, task);
  }
  Status list_sockets(const std::string& c, const Emit<Socket>& emit, Task& task) override {
    return fake_.list_sockets(c, emit, task);
  }
  Status list_changes(const std::string& c, const Emit<FileChange>& emit, Task& task) override {
    return fake_.list_changes(c, emit, task);
  }
  Status list_mounts(const std::string& c, const Emit<Mount>& emit, Task& task) override {
    return fake_.list_mounts(c, emit, task);
  }
  Status list_gaps(const Emit<GapRecord>& emit, Task& task) override { return fake_.list_gaps(emit, task); }
  // Three pages at 0x1000, the middle one as `page_` says; each process has them.
  Status visit_memory(const MemoryQuery&, MemoryVisitor& visitor, Task&) override {
    if (page_ < 0) return Error{Errc::unsupported, "no memory"};
    std::uint64_t space = 0;
    for (const Process& process : fake_.processes) {
      MemoryArea area;
      area.space = ++space;
      area.container = process.container;
      area.pid = process.pid;
      area.start = 0x1000;
      area.address = 0x1000;
      area.protection = "r-xp";
      area.path = Bytes("/bin/app");
      if (auto done = visitor.enter(std::move(area)); !done) return done;
      std::vector<std::byte> pages(2 * 0x1000);
      pages[0x1000 + 5] = static_cast<std::byte>(page_);
      if (auto done = visitor.take(0x1000, pages); !done) return done;
      if (page_ == 2) {  // and one that the other does not have
        if (auto done = visitor.take(0x8000, std::span(pages).first(0x1000)); !done) return done;
      }
    }
    return Done{};
  }

  test::FakeSnapshot fake_;
  bool partly_ = false;
  int page_ = -1;
};

Make made(const test::FakeSnapshot& fake, int page = -1, bool partly = false) {
  return [fake, page, partly] {
    auto whole = std::make_unique<Whole>(fake);
    whole->page_ = page;
    whole->partly_ = partly;
    return whole;
  };
}

TEST(Compare, TheSameHasNoDifference) {
  const auto compared = compare(made(plain()), made(plain()));
  EXPECT_THAT(short_forms(compared), IsEmpty());
  for (const ComparedList& list : compared.comparison.compared) {
    EXPECT_EQ(list.compared, list.kind != ComparedKind::layer && list.kind != ComparedKind::memory)
        << to_text(list.kind);
  }
  const auto intrusion = [] { return std::make_unique<test::FakeSnapshot>(test::make_intrusion()); };
  EXPECT_THAT(short_forms(compare(intrusion, intrusion)), IsEmpty());
}

TEST(Compare, EachChangeIsToldAndNothingElse) {
  using Change = std::function<void(test::FakeSnapshot&)>;
  const struct {
    const char* name;
    Change change;
    std::vector<std::string> forward;   // plain to changed
    std::vector<std::string> backward;  // changed to plain
  } cases[] = {
      {"a process",
       [](auto& s) { s.processes[1].argv = {Bytes("evil")}; },
       {"~process 17 evil argv"},
       {"~process 17 /bin/app argv"}},
      {"the same pid, later",
       [](auto& s) { s.processes[1].start_ticks = 900; },
       {"-process 17 /bin/app", "+process 17 /bin/app"},
       {"-process 17 /bin/app", "+process 17 /bin/app"}},
      {"no start times: by program",
       [](auto& s) {
         s.processes[1].start_ticks = 0;
         s.processes[1].exe.path = Bytes("/bin/other");
       },
       {"-process 17 /bin/app", "+process 17 /bin/app"},
       {"-process 17 /bin/app", "+process 17 /bin/app"}},
      {"an ended one",
       [](auto& s) { s.processes.pop_back(); },
       {"-process 17 /bin/app"},
       {"+process 17 /bin/app"}},
      {"another number on the node",
       [](auto& s) {
         s.processes[1].pid = 99;
         s.mappings[1].pid = 99;
         s.descriptors[1].pid = 99;
       },
       {},
       {}},
      {"environment",
       [](auto& s) {
         s.processes[0].environ = {Bytes("A=2"), Bytes("B=3")};
       },
       {"~process 1 /bin/app env A env PASSWORD env B"},
       {"~process 1 /bin/app env A env B env PASSWORD"}},
      {"capabilities",
       [](auto& s) { s.processes[0].capabilities.effective = Hex{1}; },
       {"~process 1 /bin/app capabilities effective"},
       {"~process 1 /bin/app capabilities effective"}},
      {"protection",
       [](auto& s) { s.mappings[1].protection = "rwxp"; },
       {"~mapping 17 /bin/app protection"},
       {"~mapping 17 /bin/app protection"}},
      {"a mapping",
       [](auto& s) { s.mappings.pop_back(); },
       {"-mapping 17 /bin/app"},
       {"+mapping 17 /bin/app"}},
      {"a descriptor",
       [](auto& s) { s.descriptors[0].target = Bytes("/etc/shadow"); },
       {"~descriptor 1 3 /etc/shadow target"},
       {"~descriptor 1 3 /etc/passwd target"}},
      {"a socket's state",
       [](auto& s) { s.sockets[0].state = "CLOSE"; },
       {"~socket tcp 0.0.0.0:80 state"},
       {"~socket tcp 0.0.0.0:80 state"}},
      {"a socket",
       [](auto& s) { s.sockets[0].local = Bytes("0.0.0.0:81"); },
       {"-socket tcp 0.0.0.0:80", "+socket tcp 0.0.0.0:81"},
       {"+socket tcp 0.0.0.0:80", "-socket tcp 0.0.0.0:81"}},
      {"a file",
       [](auto& s) { s.changes[0].after->sha256 = "newer"; },
       {"~file /etc/passwd sha256"},
       {"~file /etc/passwd sha256"}},
      {"whole seconds of a tar", [](auto& s) { s.changes[0].after->mtime.nanoseconds = 0; }, {}, {}},
      {"as the image",
       [](auto& s) { s.changes.clear(); },
       {"~file /etc/passwd sha256 mtime"},
       {"~file /etc/passwd sha256 mtime"}},
      {"deleted",
       [](auto& s) {
         s.changes[0].kind = ChangeKind::deleted;
         s.changes[0].after.reset();
       },
       {"-file /etc/passwd"},
       {"+file /etc/passwd"}},
      {"added",
       [](auto& s) {
         s.changes.push_back(s.changes[0]);
         s.changes[1].path = Bytes("/tmp/x");
         s.changes[1].kind = ChangeKind::added;
         s.changes[1].before.reset();
       },
       {"+file /tmp/x"},
       {"-file /tmp/x"}},
      {"copied up, the same",
       [](auto& s) {
         s.changes.push_back(s.changes[0]);
         s.changes[1].path = Bytes("/tmp/x");
         s.changes[1].kind = ChangeKind::unchanged;
       },
       {},
       {}},
      {"a mount", [](auto& s) { s.mounts[0].fstype = Bytes("tmpfs"); }, {"~mount / type"}, {"~mount / type"}},
      {"the container",
       [](auto& s) { s.containers[0].args = {Bytes("/y")}; },
       {"~container  args"},
       {"~container  args"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    test::FakeSnapshot changed = plain();
    c.change(changed);
    EXPECT_EQ(short_forms(compare(made(plain()), made(changed))), c.forward);
    EXPECT_EQ(short_forms(compare(made(changed), made(plain()))), c.backward);
  }
}

TEST(Compare, WhatOneCannotHaveIsNoDifference) {
  for (const Facet facet : {Facet::changes, Facet::sockets, Facet::mappings, Facet::descriptors,
                            Facet::processes, Facet::mounts}) {
    SCOPED_TRACE(to_text(facet));
    test::FakeSnapshot without = plain();
    without.missing = {facet};
    const auto compared = compare(made(plain()), made(without));
    EXPECT_THAT(short_forms(compared), IsEmpty());
    bool told = false;
    for (const ComparedList& list : compared.comparison.compared)
      told = told || (!list.compared && list.why.raw.find("B has none: this source does not keep them") == 0);
    EXPECT_TRUE(told);
  }
}

TEST(Compare, ListsThatAreNotWholeLeaveItOpen) {
  test::FakeSnapshot more = plain();
  more.changes.push_back(more.changes[0]);
  more.changes[1].path = Bytes("/tmp/x");
  more.changes[1].kind = ChangeKind::unknown;
  more.changes[1].before.reset();
  EXPECT_THAT(short_forms(compare(made(plain(), -1, true), made(more))), ElementsAre("?file /tmp/x"));
  EXPECT_THAT(short_forms(compare(made(plain()), made(more, -1, true))), ElementsAre("+file /tmp/x"));
}

TEST(Compare, ContainersByIdThenNameThenAlone) {
  test::FakeSnapshot other = plain();
  const std::string id(64, 'b');
  for (auto* list : {&other.containers[0].id}) *list = id;
  for (auto& item : other.processes) item.container = id;
  for (auto& item : other.mappings) item.container = id;
  for (auto& item : other.descriptors) item.container = id;
  for (auto& item : other.sockets) item.container = id;
  for (auto& item : other.changes) item.container = id;
  for (auto& item : other.mounts) item.container = id;
  other.processes[1].start_ticks = 77;  // of another container that says nothing
  const auto compared = compare(made(plain()), made(other));
  EXPECT_THAT(short_forms(compared), IsEmpty());
  ASSERT_EQ(compared.comparison.containers.size(), 1U);
  ASSERT_TRUE(compared.comparison.containers[0].warning);
  EXPECT_THAT(compared.comparison.containers[0].warning->raw, HasSubstr("not one container"));
  ASSERT_FALSE(compared.gaps.empty());
  EXPECT_EQ(compared.gaps[0].artifact, "compare.container");

  other.containers[0].name = Bytes("else");
  EXPECT_THAT(short_forms(compare(made(plain()), made(other))), IsEmpty());
  Container side = other.containers[0];
  side.id = std::string(64, 'c');
  side.name = Bytes("side");
  other.containers.push_back(side);
  EXPECT_THAT(short_forms(compare(made(plain()), made(other))),
              ElementsAre("-container ", "+container ", "+container "));
}

TEST(Compare, PagesBothHave) {
  const auto same = compare(made(plain(), 0), made(plain(), 0));
  EXPECT_THAT(short_forms(same), IsEmpty());
  EXPECT_EQ(same.comparison.compared.back().kind, ComparedKind::memory);
  EXPECT_EQ(same.comparison.compared.back().before, 4U);

  const auto other = compare(made(plain(), 0), made(plain(), 2));
  ASSERT_THAT(short_forms(other), ElementsAre("~memory 1 r-xp /bin/app", "~memory 17 r-xp /bin/app"));
  EXPECT_EQ(other.differences[0].address, Hex{0x2000});
  EXPECT_EQ(other.differences[0].pages_compared, 2U);
  EXPECT_EQ(other.differences[0].pages_different, 1U);
  const ComparedList& list = other.comparison.compared.back();
  EXPECT_EQ(std::tuple(list.before, list.after, list.changed, list.gone, list.added),
            std::tuple(4U, 6U, 2U, 0U, 2U));

  const auto none = compare(made(plain(), 0), made(plain()));
  EXPECT_FALSE(none.comparison.compared.back().compared);
  EXPECT_THAT(none.comparison.compared.back().why.raw, HasSubstr("B: no memory"));
}

TEST(Compare, OneProcess) {
  test::FakeSnapshot changed = plain();
  changed.processes[0].argv = {Bytes("x")};
  changed.processes[1].argv = {Bytes("y")};
  changed.changes.clear();
  CompareOptions options = everything();
  options.pid = 17;
  EXPECT_THAT(short_forms(compare(made(plain()), made(changed), options)), ElementsAre("~process 17 y argv"));
}

TEST(Sorted, InAnyOrderAndAnyMemory) {
  std::vector<Item> items;
  for (std::uint64_t i = 0; i < 500; ++i) {
    Item item;
    item.key = key_of((i * 7919) % 400);  // some twice
    item.add("n", std::to_string(i));
    items.push_back(item);
  }
  for (const std::size_t most : {std::size_t{20'000}, std::size_t{1} << 20}) {
    std::vector<std::string> keys;
    std::size_t passes = 0;
    const auto done = emit_sorted(
        [&](const Emit<Item>& emit) -> Status {
          ++passes;
          for (Item item : items) {
            if (auto taken = emit(std::move(item)); !taken) return taken;
          }
          return Done{};
        },
        [&](Item&& item) -> Status {
          keys.push_back(item.key);
          return Done{};
        },
        most);
    EXPECT_TRUE(done);
    EXPECT_EQ(keys.size(), items.size());
    EXPECT_TRUE(std::ranges::is_sorted(keys));
    EXPECT_EQ(passes == 1, most > 20'000);
  }
}

TEST(PageTable, WhatDoesNotFitIsOfTheNextPass) {
  PageTable table(4, 8);
  const auto run = [](std::uint64_t address, std::vector<std::uint64_t> digests) {
    return PageRun{{0, 1, address, "rw-p", ""}, address, std::move(digests)};
  };
  std::set<std::uint64_t> different;
  std::uint64_t compared = 0;
  for (int pass = 0; pass < 10; ++pass) {
    bool full = false;
    for (const PageRun& each : {run(0x1000, {1, 2, 3}), run(0x8000, {4, 5}), run(0x20000, {6})})
      full = full || !table.add(each);
    for (const PageRun& each : {run(0x0, {9, 1, 9}), run(0x8000, {4, 9}), run(0x20000, {6, 7})}) {
      table.compare(each, [&](std::uint64_t address, bool same) {
        ++compared;
        if (!same) different.insert(address);
      });
    }
    ASSERT_TRUE(table.clear());
    if (!full) break;
  }
  EXPECT_EQ(compared, 5U);
  EXPECT_THAT(different, ElementsAre(0x2000U, 0x9000U));
}

// What a process says that was taken over: no message of it ends us.
TEST(Side, Nonsense) {
  ASSERT_TRUE(sys::on_signal(SIGPIPE, SIG_IGN));  // as main has it
  Item item;
  item.key = "k";
  item.add("f", "v");
  Writer good;
  good.u8(static_cast<std::uint8_t>(Word::item));
  write_item(item, good);
  const std::string whole = good.take();
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    for (const bool pages : {false, true}) {
      auto child = Child::start(
          [&](Channel& asker) {
            (void)asker.receive(1 << 20, kNoStop).has_value();
            (void)asker.send(whole.substr(0, size)).has_value();
            (void)asker.receive(1, kNoStop).has_value();
            return 0;
          },
          ignore_signal);
      ASSERT_TRUE(child);
      Side side("A", child->channel(), kNoStop);
      if (pages) {
        ASSERT_TRUE(side.begin_pages({}));
        EXPECT_FALSE(side.next_pages());
      } else {
        ASSERT_TRUE(side.begin_list({}));
        EXPECT_EQ(side.next().has_value(), size == whole.size()) << size;
      }
    }
  }
}

}  // namespace
}  // namespace ctriage::compare
