#include "lib/source/several.h"

#include <algorithm>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"
#include "lib/source/disk.h"
#include "lib/source/live/live.h"

namespace ctriage::source {
namespace {

// What the other process says: a letter, then texts, each with its length in 4 bytes.
enum class Word : char { target = 'T', left_out = 'L', gap = 'G', failed = 'F', end = 'E' };
constexpr std::size_t kMaxMessage = 1 << 20;
constexpr std::size_t kMaxTargets = 10'000;

std::string message_of(Word word, std::initializer_list<std::string_view> texts) {
  std::string message(1, static_cast<char>(word));
  for (const std::string_view text : texts) {
    for (unsigned shift = 0; shift < 32; shift += 8)
      message += static_cast<char>(text.size() >> shift & 0xff);
    message += text;
  }
  return message;
}

std::string text_in(ByteCursor& in) {
  const std::size_t size = in.u32();
  return std::string(in.text(size));
}

bool runs(const Resolved& resolved, const std::vector<runtime::Found>& all) {
  return std::ranges::any_of(resolved.containers, [&](std::size_t index) {
    const Container& container = all[index].container;
    return !container.sandbox && container.init_pid > 0 && container.state != ContainerState::exited;
  });
}

// By the mount namespace that we share with a first process.
bool is_ours(const Node& node, const Resolved& resolved, const std::vector<runtime::Found>& all) {
  if (node.ourselves <= 0) return false;
  const auto own = proc::read_namespace(node.proc, node.ourselves, "mnt");
  const auto host = proc::read_namespace(node.proc, node.host, "mnt");
  if (!own || (host && *host == *own)) return false;
  return std::ranges::any_of(resolved.containers, [&](std::size_t index) {
    const std::int32_t init = all[index].container.init_pid;
    const auto its = init > 0 ? proc::read_namespace(node.proc, init, "mnt") : own;
    return init > 0 && its && *its == *own;
  });
}

void say_gaps(const GapLog& gaps, Channel& parent) {
  for (const Gap& gap : gaps.kept()) {
    const std::string numbers{static_cast<char>(gap.impact), static_cast<char>(gap.error.code)};
    (void)parent.send(message_of(Word::gap, {numbers, gap.artifact, gap.origin, gap.error.what})).has_value();
  }
}

Status say_targets(const SeveralQuery& several, Channel& parent, Task& task) {
  const TargetQuery& query = several.query;
  auto node = open_node(task, query.root);
  Result<std::vector<runtime::Found>> all = std::vector<runtime::Found>();
  const bool is_disk = !node && !query.root.empty() && node.error().code == Errc::unsupported;
  if (is_disk) {
    auto disk = open_disk(query.root, task);
    if (!disk) return std::move(disk).error();
    all = runtime::list_on_disk(disk->root, task);
  } else {
    if (!node) return std::move(node).error();
    all = runtime::list_containers((*node)->proc, task);
  }
  if (!all) return std::move(all).error();
  auto each = resolve_each(query, *all);
  if (!each) {
    if (each.error().code == Errc::not_found && node && !(*node)->whole)
      return Error{Errc::denied, each.error().what + "; " + std::string(kNodeNotSeen)};
    return std::move(each).error();
  }
  std::size_t ended = 0;
  std::size_t said = 0;
  for (const Resolved& resolved : *each) {
    if (several.all_pods && !is_disk && !runs(resolved, *all)) {
      ++ended;
    } else if (several.all_pods && !is_disk && is_ours(**node, resolved, *all)) {
      const auto told =
          parent.send(message_of(Word::left_out, {resolved.name + ": where ctriage itself runs (name it to "
                                                                  "take it)"}));
      if (!told) return told;
    } else if (said++ >= kMaxTargets) {
      return Error{Errc::limit, "more than " + std::to_string(kMaxTargets) + " targets"};
    } else {
      const TargetQuery exact = exact_query(query, resolved, *all);
      if (auto told =
              parent.send(message_of(Word::target, {exact.token, exact.pod_namespace, exact.container,
                                                    resolved.name, exact.labels.empty() ? "" : "labels"}));
          !told)
        return told;
    }
  }
  if (ended == 0) return Done{};
  return parent.send(
      message_of(Word::left_out,
                 {counted(ended, "pod or container", "pods and containers") +
                  " that has or have ended (ctriage list --all names them; name one to take what is left "
                  "of it)"}));
}

}  // namespace

Result<Targets> find_targets(const SeveralQuery& query, sys::Handler on_stop, Task& task) {
  const Child::Work work = [&](Channel& parent) {
    GapLog gaps;
    Task looking = task.with(gaps);
    const auto said = say_targets(query, parent, looking);
    say_gaps(gaps, parent);
    const std::string code(1, said ? '\0' : static_cast<char>(said.error().code));
    (void)parent
        .send(said ? message_of(Word::end, {})
                   : message_of(Word::failed, {code, std::string_view(said.error().what)}))
        .has_value();
    return 0;
  };
  auto child = Child::start(work, on_stop);
  if (!child) return std::move(child).error();
  Targets found;
  for (;;) {
    auto message = child->channel().receive(kMaxMessage, task.stop);
    if (!message) return std::move(message).error();
    if (!*message) return Error{Errc::io, "the process that looked for the targets ended"};
    ByteCursor in(std::as_bytes(std::span((*message)->data(), (*message)->size())));
    const auto word = static_cast<Word>(in.u8());
    if (word == Word::end) return found;
    std::string first = text_in(in);
    if (word == Word::target) {
      Target target;
      target.query.token = std::move(first);
      target.query.pod_namespace = text_in(in);
      target.query.container = text_in(in);
      target.query.root = query.query.root;
      target.name = text_in(in);
      if (!text_in(in).empty()) target.query.labels = query.query.labels;
      found.targets.push_back(std::move(target));
    } else if (word == Word::left_out) {
      found.left_out.push_back(std::move(first));
    } else {
      const std::string text = text_in(in);
      const auto code_in = [](std::string_view bytes, std::size_t at) {
        const auto code = bytes.size() > at ? static_cast<unsigned char>(bytes[at]) : 0U;
        return static_cast<Errc>(std::min<unsigned>(code, static_cast<unsigned>(Errc::outside)));
      };
      if (word == Word::failed) return Error{code_in(first, 0), text};
      Gap gap;
      gap.impact = first.starts_with('\2')   ? Impact::lost
                   : first.starts_with('\1') ? Impact::degraded
                                             : Impact::note;
      gap.artifact = text;
      gap.origin = text_in(in);
      gap.error = Error{code_in(first, 1), text_in(in)};
      task.gaps.add(gap);
    }
    if (!in.ok() || found.targets.size() > kMaxTargets)
      return Error{Errc::malformed, "the process that looked for the targets said nonsense"};
  }
}

}  // namespace ctriage::source
