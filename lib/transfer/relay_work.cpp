#include "lib/transfer/relay_work.h"

#include <algorithm>

#include "lib/bundle/volumes.h"
#include "lib/core/sys.h"
#include "lib/core/sys_memory.h"
#include "lib/core/text.h"
#include "lib/model/json.h"

namespace ctriage::transfer {
namespace {

constexpr std::int64_t kLookNs = 100'000'000;
constexpr std::int64_t kGreetingNs =
    20'000'000'000;  // until then a destination may say no before the first byte
constexpr std::int64_t kStuckNs = 900'000'000'000;  // beyond its retries: a library hangs
constexpr std::size_t kMaxReceipt = 64 << 10;

}  // namespace

int RelayWork::run() {
  auto memory = sys::map_shared(kSlots * kStreamVolumeBytes);
  if (!memory) return 1;
  for (std::size_t slot = 0; slot < kSlots; ++slot)
    slots_[slot] = memory->subspan(slot * kStreamVolumeBytes, kStreamVolumeBytes);
  start_couriers();
  const auto begin = parent_.receive(kMaxReceipt, never_);
  if (!begin || !*begin) return 1;
  const std::size_t space = (*begin)->find(' ');
  if (space == std::string::npos) return 1;
  spill_left_bytes_ = parse_number<std::uint64_t>(std::string_view(**begin).substr(0, space)).value_or(0);
  name_ = (*begin)->substr(space + 1);

  const std::int64_t until_ns = sys::boottime_ns() + kGreetingNs;
  const auto all_greeted = [this] {
    return std::ranges::all_of(couriers_, [](const Courier& one) { return one.greeted || !one.child; });
  };
  while (!all_greeted() && sys::boottime_ns() < until_ns) pump(kLookNs);
  if (!parent_.send(report())) return 1;
  if (!any_left()) return 1;

  const auto done = cut();
  pipe_.close();
  const auto word = pipe_.last_word();
  if (!word) return 1;
  Digest manifest{};
  const bool sealed = done && parse_digest(*word, manifest);
  send_end(sealed ? std::optional(manifest) : std::nullopt);
  return parent_.send(report()) ? 0 : 1;
}

void RelayWork::start_couriers() {
  std::vector<Child*> siblings;
  for (const Url& destination : options_.destinations) {
    Courier courier;
    courier.told.place = Bytes(place_of(destination));
    courier.busy = true;
    courier.since_ns = sys::boottime_ns();
    const CourierRoute route{destination,    options_.transfer,
                             slots_,         options_.spill ? &*options_.spill : nullptr,
                             options_.proof, options_.retry};
    auto child = Child::start(
        [&](Channel& relay) {
          pipe_.close();  // the writer must see when the relay lets go of it
          return carry(relay, route);
        },
        on_stop_, siblings);
    if (child) {
      courier.child = std::make_unique<Child>(*std::move(child));
      siblings.push_back(courier.child.get());
    } else {
      courier.told.why = Bytes(child.error().what);
    }
    couriers_.push_back(std::move(courier));
  }
}

bool RelayWork::any_left() const {
  return std::ranges::any_of(couriers_, [](const Courier& one) { return one.child != nullptr; });
}

void RelayWork::pump(std::int64_t wait_ns) {
  bool heard = false;
  const std::int64_t now_ns = sys::boottime_ns();
  for (Courier& courier : couriers_) {
    if (courier.child && courier.busy && courier.child->channel().ready()) {
      hear(courier);
      heard = true;
    } else if (courier.child && courier.busy &&
               now_ns - courier.since_ns > options_.retry.for_ns + kStuckNs) {
      courier.child->abandon();
      give_up(courier, "it did not answer in time");
    }
    if (courier.child && !courier.busy && courier.next < parcels_.size()) give_next(courier);
  }
  drop_spilled();
  if (!heard && wait_ns > 0) sys::sleep_ns(wait_ns);
}

void RelayWork::hear(Courier& courier) {
  const auto message = courier.child->channel().receive(kMaxReceipt, never_);
  if (!message || !*message) return give_up(courier, "its process ended: an error of ours or of a library");
  if (!courier.greeted) {
    auto greeting = parse_artifact<ExportDestination>(**message);
    if (!greeting) return give_up(courier, greeting.error().what);
    if (greeting->why) return give_up(courier, std::move(greeting->why->raw));
    courier.told.programs = std::move(greeting->programs);
    courier.greeted = true;
    courier.busy = false;
    return;
  }
  auto receipt = parse_receipt(**message);
  if (!receipt) return give_up(courier, receipt.error().what);
  if (!receipt->why.empty()) return give_up(courier, std::move(receipt->why));
  courier.busy = false;
  const Parcel& parcel = parcels_[courier.next++];
  if (parcel.where == Parcel::Where::text) return;
  ExportDestination& told = courier.told;
  told.proof = told.volumes == 0 ? receipt->proof : std::min(told.proof, receipt->proof);
  ++told.volumes;
}

void RelayWork::give_up(Courier& courier, std::string why) {
  courier.told.why = Bytes(std::move(why));
  courier.child.reset();
  // What only lies in memory goes to the disk: this one has not got it.
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    if (!holds_[slot] || *holds_[slot] < courier.next) continue;
    Parcel& parcel = parcels_[*holds_[slot]];
    if (parcel.where == Parcel::Where::slot && spill(parcel, slots_[slot]))
      parcel.where = Parcel::Where::spill;
  }
}

void RelayWork::give_next(Courier& courier) {
  courier.busy = true;
  courier.since_ns = sys::boottime_ns();
  if (!courier.child->channel().send(to_message(parcels_[courier.next])))
    give_up(courier, "its process ended: an error of ours or of a library");
}

bool RelayWork::is_free(std::size_t slot) const {
  if (!holds_[slot]) return true;
  return std::ranges::all_of(couriers_,
                             [&](const Courier& one) { return !one.child || one.next > *holds_[slot]; });
}

bool RelayWork::spill(Parcel& parcel, std::span<const std::byte> bytes) {
  if (!options_.spill || !spill_why_.empty()) return false;
  const auto store = [&]() -> Status {
    if (parcel.size_bytes > spill_left_bytes_)
      return Error{Errc::full, "what may be used of " + options_.spill->name() + " is used"};
    auto file = NewFile::create(*options_.spill, parcel.name, parcel.size_bytes);
    if (!file) return std::move(file).error();
    auto written = file->write(bytes.first(parcel.size_bytes));
    if (written) written = file->seal();
    if (!written) file->remove();
    return written;
  };
  if (auto stored = store(); !stored) {
    spill_why_ = std::move(stored).error().what;
    return false;
  }
  spill_left_bytes_ -= parcel.size_bytes;
  return true;
}

void RelayWork::drop_spilled() {
  const auto all_have = [this](std::size_t index) {
    return std::ranges::all_of(couriers_, [index](const Courier& one) { return one.next > index; });
  };
  for (; dropped_ < parcels_.size() && all_have(dropped_); ++dropped_) {
    const Parcel& parcel = parcels_[dropped_];
    if (parcel.where != Parcel::Where::spill) continue;
    if (sys::unlinkat(options_.spill->fd(), parcel.name)) spill_left_bytes_ += parcel.size_bytes;
  }
}

Result<bool> RelayWork::fill(std::span<std::byte> into, std::size_t& filled) {
  filled = 0;
  if (ahead_) into[filled++] = *std::exchange(ahead_, std::nullopt);
  const auto meanwhile = [this]() -> Status {
    pump(0);
    if (!any_left() && (!options_.spill || !spill_why_.empty()))
      return Error{Errc::io, "no destination is left"};
    return Done{};
  };
  for (std::byte next{};;) {
    const bool full = filled == into.size();  // one byte more says that it is not the last
    const auto got = pipe_.read(full ? std::span(&next, 1) : into.subspan(filled), meanwhile);
    if (!got) return got.error();
    if (*got == 0) return false;
    if (full) {
      ahead_ = next;
      return true;
    }
    filled += *got;
  }
}

Status RelayWork::cut() {
  for (std::size_t slot = 0;;) {
    std::size_t filled = 0;
    const auto more = fill(slots_[slot], filled);
    if (!more) return more.error();
    Parcel parcel;
    parcel.where = Parcel::Where::slot;
    parcel.slot = slot;
    parcel.name = volumes_ == 0 && !*more ? name_ : bundle::volume_name(name_, volumes_);
    parcel.size_bytes = filled;
    Sha256 hash;
    hash.update(slots_[slot].first(filled));
    parcel.sha256 = hash.digest();
    ++volumes_;
    const std::size_t other = 1 - slot;
    const bool one_lacks = std::ranges::any_of(couriers_, [](const Courier& one) { return !one.child; });
    if ((one_lacks || !is_free(other)) && spill(parcel, slots_[slot])) {
      parcel.where = Parcel::Where::spill;
      parcels_.push_back(std::move(parcel));
    } else {
      holds_[slot] = parcels_.size();
      parcels_.push_back(std::move(parcel));
      slot = other;
    }
    if (!*more) return Done{};
    while (!is_free(slot)) pump(kLookNs / 10);
  }
}

void RelayWork::add(Note note) {
  Sha256 hash;
  hash.update(note.text);
  Parcel parcel;
  parcel.name = std::move(note.name);
  parcel.size_bytes = note.text.size();
  parcel.sha256 = hash.digest();
  parcel.text = std::move(note.text);
  parcels_.push_back(std::move(parcel));
}

void RelayWork::send_end(const std::optional<Digest>& manifest) {
  if (manifest) {
    std::vector<Item> volumes;
    for (const Parcel& parcel : parcels_)
      volumes.push_back({parcel.name, parcel.size_bytes, parcel.sha256, nullptr, {}});
    add(manifest_note(name_, *manifest));
    add(complete_note(name_, volumes));
  }
  const auto is_idle = [this](const Courier& one) {
    return !one.child || (!one.busy && one.next == parcels_.size());
  };
  while (!std::ranges::all_of(couriers_, is_idle)) pump(kLookNs / 10);
  for (Courier& courier : couriers_) {
    courier.told.complete = manifest && courier.child;
    if (courier.child) (void)courier.child->wait().has_value();
    if (!courier.told.complete && !courier.told.why) courier.told.why = Bytes("the bundle was not sealed");
  }
}

std::string RelayWork::report() const {
  Relayed report;
  for (const Courier& courier : couriers_) report.destinations.push_back(courier.told);
  report.volumes = volumes_;
  if (!parcels_.empty()) report.first = parcels_.front().name;
  report.spilled = static_cast<std::uint64_t>(
      std::count_if(parcels_.begin() + static_cast<std::ptrdiff_t>(dropped_), parcels_.end(),
                    [](const Parcel& one) { return one.where == Parcel::Where::spill; }));
  report.spill_why = Bytes(spill_why_);
  return to_json(report);
}

}  // namespace ctriage::transfer
