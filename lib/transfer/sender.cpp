#include "lib/transfer/sender.h"

#include <algorithm>
#include <charconv>
#include <memory>

#include "lib/core/child.h"
#include "lib/core/sys_lock.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/transfer/parts.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxMessage = 64 << 10;
constexpr std::int64_t kTellEveryNs = 500'000'000;
constexpr std::int64_t kLookNs = 50'000'000;
// What a child says: how many bytes have gone, or, last, its ExportDestination as JSON.
constexpr char kProgress = 'P';
constexpr char kResult = 'R';

// One destination, in the child.
class Delivery {
 public:
  Delivery(const Outgoing& bundle, const Url& url, const SendOptions& options, Journal& journal,
           const Task& task)
      : bundle_(bundle),
        volumes_(resumes_inside(url.scheme) && bundle.whole ? std::vector{*bundle.whole} : bundle.volumes),
        url_(url),
        options_(options),
        journal_(journal),
        task_(task) {
    told_.place = Bytes(place_of(url));
  }

  ExportDestination run() {
    const std::int64_t began_ns = sys::boottime_ns();
    if (auto done = deliver(); !done) {
      told_.why = Bytes(done.error().what);
    } else {
      told_.complete = !options_.dry_run;
    }
    told_.took_ns = sys::boottime_ns() - began_ns;
    return told_;
  }

 private:
  Status deliver() {
    if (const SentItem* other = journal_.find_other(told_.place.raw, bundle_.name, volumes_))
      return Error{Errc::mismatch, told_.place.raw + ": was begun with volumes of another size (" +
                                       other->name + ", " + std::to_string(other->size_bytes) +
                                       " bytes): --split as it was then"};
    auto opened = connect_again(url_, options_.transfer, options_.retry, task_);
    if (const auto* refused = std::get_if<Refusal>(&opened)) return refused->error;
    const auto destination = std::get<0>(std::move(opened));
    told_.programs = destination->programs();
    if (options_.dry_run) return Done{};
    if (bundle_.manifest && !url_.one_object) {
      Item note = to_item(manifest_note(bundle_.name, *bundle_.manifest));
      if (auto sent = send_one(*destination, note); !sent) return std::move(sent).error();
    }
    Proof least = Proof::reread;
    for (Item& volume : volumes_) {
      auto proof = send_known(*destination, volume);
      if (!proof) return std::move(proof).error();
      least = std::min(least, *proof);
      told_.proof = least;
      ++told_.volumes;
    }
    if (url_.one_object) return Done{};
    Item last = to_item(complete_note(bundle_.name, volumes_));
    const SentItem* before = journal_.find(told_.place.raw, last.name);
    if (auto sent = send_one(*destination, last); !sent) return std::move(sent).error();
    if (before != nullptr && told_.volumes_before == told_.volumes) return Done{};
    return note_down(last, told_.proof);
  }

  // What the journal knows is looked for again: a disk may have been unplugged, a server emptied. More is
  // asked for where more is wanted than was proved then. What is not there any more is sent again. Of a URL
  // that is signed for PUT nothing can be asked.
  Result<Proof> send_known(Destination& destination, Item& item) {
    const SentItem* before = journal_.find(told_.place.raw, item.name);
    if (before != nullptr && before->size_bytes == item.size_bytes) {
      if (Digest digest{}; before->sha256 && parse_digest(*before->sha256, digest)) item.sha256 = digest;
      const Proof wanted = before->proof < options_.proof ? options_.proof : Proof::size;
      const auto proved =
          url_.one_object ? Answer<Proof>(before->proof) : destination.prove(item, wanted, task_);
      if (const auto* level = std::get_if<Proof>(&proved)) {
        ++told_.volumes_before;
        return std::max(*level, before->proof);
      }
    }
    auto proof = send_one(destination, item);
    if (!proof) return proof;
    told_.size_bytes += item.size_bytes;
    if (auto noted = note_down(item, *proof); !noted) return std::move(noted).error();
    return proof;
  }

  Result<Proof> send_one(Destination& destination, Item& item) {
    auto sent = send_item(destination, item, options_.proof, options_.retry, task_);
    if (auto* refused = std::get_if<Refusal>(&sent)) return std::move(refused->error);
    return std::get<Proof>(sent);
  }

  Status note_down(const Item& item, Proof proof) {
    SentItem line;
    line.place = told_.place;
    line.name = item.name;
    line.size_bytes = item.size_bytes;
    if (item.sha256) line.sha256 = to_hex(*item.sha256);
    line.proof = proof;
    return journal_.add(std::move(line));
  }

  const Outgoing& bundle_;
  std::vector<Item> volumes_;
  const Url& url_;
  const SendOptions& options_;
  Journal& journal_;
  const Task& task_;
  ExportDestination told_;
};

struct Sending {
  std::unique_ptr<Child> child;
  std::uint64_t bytes = 0;
  std::optional<ExportDestination> result;
};

int work(Channel& parent, const std::function<ExportDestination(const Task&)>& deliver, Task& task) {
  (void)sys::forbid_dumps();
  std::int64_t next_ns = 0;
  Meter meter;
  meter.shown = [&](const Meter& passed) {
    const std::int64_t now_ns = sys::boottime_ns();
    if (now_ns < next_ns) return;
    next_ns = now_ns + kTellEveryNs;
    (void)parent.send(kProgress + std::to_string(passed.bytes)).has_value();
  };
  GapLog gaps;
  Task own = task.with(gaps);
  own.meter = &meter;
  return parent.send(kResult + to_json(deliver(own))) ? 0 : 1;
}

// False when it has nothing more to say.
bool hear(Sending& sending, const Url& url, Task& task) {
  const std::atomic<bool> never{false};
  const auto message = sending.child->channel().receive(kMaxMessage, never);
  const auto fail = [&](std::string why) {
    ExportDestination told;
    told.place = Bytes(place_of(url));
    told.why = Bytes(std::move(why));
    sending.result = std::move(told);
    return false;
  };
  if (!message) return fail(message.error().what);
  if (!*message || (*message)->empty()) return fail("its process ended: an error of ours or of a library");
  const std::string_view rest = std::string_view(**message).substr(1);
  if ((*message)->front() == kProgress) {
    const std::uint64_t bytes = parse_number<std::uint64_t>(rest).value_or(sending.bytes);
    task.passed(bytes - std::min(bytes, sending.bytes));
    sending.bytes = std::max(bytes, sending.bytes);
    return true;
  }
  auto result = parse_artifact<ExportDestination>(rest);
  if (!result) return fail(result.error().what);
  sending.result = *std::move(result);
  return false;
}

}  // namespace

Status check_allowed(const Url& url, const Options& options, bool encrypted) {
  const bool open_to_all = url.scheme == Scheme::ftp || url.scheme == Scheme::rsync;
  if (!open_to_all || encrypted || options.allow_plaintext) return Done{};
  return Error{Errc::denied,
               place_of(url) + ": everybody on the way could read this bundle, which is not encrypted; " +
                   (url.scheme == Scheme::ftp ? "ftps://" : "rsync+ssh://") + ", or --allow-plaintext"};
}

std::vector<ExportDestination> send(Outgoing& bundle, const std::vector<Url>& destinations,
                                    const SendOptions& options, Journal& journal, sys::Handler on_stop,
                                    Task& task) {
  std::vector<Sending> all(destinations.size());
  std::vector<Child*> siblings;
  for (std::size_t i = 0; i < destinations.size(); ++i) {
    auto child = Child::start(
        [&](Channel& parent) {
          return work(
              parent,
              [&](const Task& own) { return Delivery(bundle, destinations[i], options, journal, own).run(); },
              task);
        },
        on_stop, siblings);
    if (!child) {
      all[i].result.emplace();
      all[i].result->place = Bytes(place_of(destinations[i]));
      all[i].result->why = Bytes(child.error().what);
      continue;
    }
    all[i].child = std::make_unique<Child>(*std::move(child));
    siblings.push_back(all[i].child.get());
  }
  bool told_to_stop = false;
  const auto unfinished = [](const Sending& one) { return !one.result; };
  while (std::ranges::any_of(all, unfinished)) {
    if (task.stop && !std::exchange(told_to_stop, true)) {
      for (Sending& one : all) {
        if (one.child) one.child->stop();
      }
    }
    (void)task.check();  // draws the progress line
    bool heard = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].result || !all[i].child->channel().ready()) continue;
      heard = true;
      if (!hear(all[i], destinations[i], task)) (void)all[i].child->wait();
    }
    if (!heard) sys::sleep_ns(kLookNs);
  }
  std::vector<ExportDestination> results;
  for (Sending& one : all) results.push_back(*std::move(one.result));
  return results;
}

}  // namespace ctriage::transfer
