#include "lib/compare/serve.h"

#include <algorithm>

#include "lib/compare/protocol.h"
#include "lib/compare/sorted.h"
#include "lib/model/json.h"

namespace ctriage::compare {
namespace {

class Server {
 public:
  Server(Snapshot& snapshot, Channel& asker, const std::atomic<bool>& stop, Task& task)
      : snapshot_(snapshot), projector_(snapshot), asker_(asker), stop_(stop), task_(task) {}

  Status answer(std::string_view request);

 private:
  Status describe();
  bool has_a_file();
  Status list(ByteCursor& in);
  Status pages(ByteCursor& in);
  Status gaps();
  // Sends what has come together, and waits for who asked.
  Status send();
  Status send_when_full() { return out_.size() >= kBatchBytes ? send() : Status(Done{}); }
  Status end(const Status& how);

  Snapshot& snapshot_;
  Projector projector_;
  Channel& asker_;
  const std::atomic<bool>& stop_;
  Task& task_;
  Writer out_;
  bool given_up_ = false;
};

Status Server::send() {
  if (out_.empty()) return Done{};
  if (auto sent = asker_.send(out_.take()); !sent) return sent;
  auto word = asker_.receive(1, stop_);
  if (!word) return std::move(word).error();
  given_up_ = !*word || **word != std::string(1, letter(Word::go_on));
  if (given_up_) return Error{Errc::stopped, "nobody asks any more"};
  return Done{};
}

Status Server::end(const Status& how) {
  if (!given_up_) {
    if (auto sent = send(); !sent && !given_up_) return sent;
  }
  out_.take();
  Writer last;
  last.u8(static_cast<std::uint8_t>(Word::end));
  const bool failed = !how && !given_up_;
  last.u8(failed ? 1 : 0);
  last.u8(failed ? static_cast<std::uint8_t>(how.error().code) : 0);
  last.text(failed ? std::string_view(how.error().what).substr(0, kBatchBytes) : std::string_view());
  given_up_ = false;
  return asker_.send(last.take());
}

Status Server::answer(std::string_view request) {
  ByteCursor in(std::as_bytes(std::span(request.data(), request.size())));
  const auto word = static_cast<Word>(in.u8());
  if (word == Word::describe) return end(describe());
  if (word == Word::list) return end(list(in));
  if (word == Word::pages) return end(pages(in));
  if (word == Word::gaps) return end(gaps());
  return Error{Errc::malformed, "no such question"};
}

// A checkpoint may have the names of deleted files and nothing else: no list to compare.
bool Server::has_a_file() {
  bool found = false;
  GapLog aside;  // told when the list is read
  Task looking = task_.with(aside);
  const Emit<Container> each = [&](Container&& container) -> Status {
    return snapshot_.list_changes(
        container.id,
        [&](FileChange&& change) -> Status {
          found = change.after.has_value();
          return found ? Status(Error{Errc::stopped, "seen enough"}) : Status(Done{});
        },
        looking);
  };
  return snapshot_.list_containers(each, looking).has_value() ? found : true;
}

Status Server::describe() {
  auto source = snapshot_.describe(task_);
  if (!source) return std::move(source).error();
  out_.u8(static_cast<std::uint8_t>(Word::source));
  out_.text(to_json(*source));
  for (std::size_t i = 0; i < enum_names(Facet{}).size(); ++i) {
    Coverage coverage = snapshot_.covers(static_cast<Facet>(i));
    if (static_cast<Facet>(i) == Facet::changes && coverage.level == Coverage::Level::part &&
        source->kind == "checkpoint" && !has_a_file())
      coverage.level = Coverage::Level::none;
    out_.u8(static_cast<std::uint8_t>(Word::coverage));
    out_.u8(static_cast<std::uint8_t>(i));
    out_.u8(static_cast<std::uint8_t>(coverage.level));
    out_.text(std::string_view(coverage.why).substr(0, kBatchBytes));
  }
  return snapshot_.list_containers(
      [&](Container&& container) -> Status {
        out_.u8(static_cast<std::uint8_t>(Word::container));
        out_.text(std::string_view(container.id).substr(0, kMaxFieldBytes));
        out_.text(std::string_view(container.name.raw).substr(0, kMaxFieldBytes));
        const std::string pod = container.pod ? container.pod->ns + "/" + container.pod->name : std::string();
        out_.text(std::string_view(pod).substr(0, kMaxFieldBytes));
        out_.text(std::string_view(container.image.raw).substr(0, kMaxFieldBytes));
        out_.u8(container.sandbox ? 1 : 0);
        out_.u64(container.init_start_ticks);
        write_item(item_of(container), out_);
        return send_when_full();
      },
      task_);
}

Status Server::list(ByteCursor& in) {
  ListRequest request;
  request.kind = static_cast<ComparedKind>(in.u8());
  request.pid = static_cast<std::int32_t>(in.u32());
  request.by_address = in.u8() != 0;
  request.container = text_in(in);
  if (!in.ok()) return in.error("what to list");
  const ListItems items = [&](const Emit<Item>& emit) { return projector_.list(request, emit, task_); };
  const Emit<Item> emit = [&](Item&& item) -> Status {
    out_.u8(static_cast<std::uint8_t>(Word::item));
    write_item(item, out_);
    return send_when_full();
  };
  // Changes of a layer that is there are read in their order, and hashed as they are read: once.
  const auto source = snapshot_.describe(task_);
  if (request.kind == ComparedKind::file && source && (source->kind == "live" || source->kind == "disk"))
    return emit_ordered(items, emit);
  return emit_sorted(items, emit);
}

Status Server::pages(ByteCursor& in) {
  PagesRequest request;
  request.pid = static_cast<std::int32_t>(in.u32());
  request.salt = text_in(in);
  const std::uint32_t count = in.u32();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) request.containers.push_back(text_in(in));
  if (!in.ok()) return in.error("whose pages");
  auto bounds = projector_.list_bounds(request.containers, task_);
  if (!bounds) return std::move(bounds).error();
  PageArea last;
  bool any = false;
  const Emit<PageRun> emit = [&](PageRun&& run) -> Status {
    if (!any || run.area != last) {
      out_.u8(static_cast<std::uint8_t>(Word::area));
      out_.u32(run.area.container);
      out_.u32(static_cast<std::uint32_t>(run.area.pid));
      out_.u64(run.area.start);
      out_.text(run.area.protection);
      out_.text(std::string_view(run.area.path).substr(0, kMaxFieldBytes));
      last = run.area;
    }
    any = true;
    out_.u8(static_cast<std::uint8_t>(Word::run));
    out_.u64(run.address);
    out_.u32(static_cast<std::uint32_t>(run.digests.size()));
    for (const std::uint64_t digest : run.digests) out_.u64(digest);
    if (out_.size() < kBatchBytes) return Done{};
    any = false;  // the next message says it again
    return send();
  };
  PageDigester digester(request, projector_, *std::move(bounds), emit, task_);
  MemoryQuery query;
  query.pid = MemoryQuery::kProcessesAlone;
  if (request.pid != 0 && request.containers.size() == 1) {
    const auto pid = projector_.pid_of(request.containers.front(), request.pid, task_);
    if (!pid) return pid.error();
    query.pid = *pid;
    if (query.pid == 0) return Done{};
  }
  auto visited = snapshot_.visit_memory(query, digester, task_);
  if (!visited) return visited;
  return digester.finish();
}

Status Server::gaps() {
  const auto say = [&](Impact impact, const std::string& artifact, Errc code, const std::string& origin,
                       const std::string& reason) -> Status {
    out_.u8(static_cast<std::uint8_t>(Word::gap));
    out_.u8(static_cast<std::uint8_t>(impact));
    out_.u8(static_cast<std::uint8_t>(code));
    out_.text(std::string_view(artifact).substr(0, kMaxFieldBytes));
    out_.text(std::string_view(origin).substr(0, kBatchBytes));
    out_.text(std::string_view(reason).substr(0, kBatchBytes));
    return send_when_full();
  };
  if (snapshot_.covers(Facet::gaps).level != Coverage::Level::none) {
    auto listed = snapshot_.list_gaps(
        [&](GapRecord&& gap) {
          return say(gap.impact, gap.artifact, gap.code, gap.origin.raw, gap.reason.raw);
        },
        task_);
    if (!listed) return listed;
  }
  task_.gaps.finish();
  for (const Gap& gap : task_.gaps.kept()) {
    if (auto said = say(gap.impact, gap.artifact, gap.error.code, gap.origin, gap.error.what); !said)
      return said;
  }
  return Done{};
}

}  // namespace

Status serve(Result<std::unique_ptr<Snapshot>>& opened, Channel& asker, const std::atomic<bool>& stop,
             Task& task) {
  if (!opened) {
    auto question = asker.receive(kMaxMessageBytes, stop);
    if (!question) return std::move(question).error();
    Writer last;
    last.u8(static_cast<std::uint8_t>(Word::end));
    last.u8(1);
    last.u8(static_cast<std::uint8_t>(opened.error().code));
    last.text(opened.error().what);
    return asker.send(last.take());
  }
  Server server(**opened, asker, stop, task);
  for (;;) {
    auto question = asker.receive(kMaxMessageBytes, stop);
    if (!question) return std::move(question).error();
    if (!*question) return Done{};
    if (auto answered = server.answer(**question); !answered) return answered;
  }
}

}  // namespace ctriage::compare
