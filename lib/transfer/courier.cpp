#include "lib/transfer/courier.h"

#include <atomic>

#include "lib/core/stream.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/model/json.h"

namespace ctriage::transfer {
namespace {

constexpr std::string_view kPlaces = "sft";  // slot, spill, text

// Fields are separated by spaces; a name has none.
Result<Item> item_of(const Parcel& parcel, const CourierRoute& route, const Task& task) {
  Item item;
  item.name = parcel.name;
  item.size_bytes = parcel.size_bytes;
  item.sha256 = parcel.sha256;
  switch (parcel.where) {
    case Parcel::Where::slot: {
      if (parcel.slot >= route.slots.size() || parcel.size_bytes > route.slots[parcel.slot].size())
        return Error{Errc::malformed, "the relay said nonsense"};
      const auto bytes = route.slots[parcel.slot].first(parcel.size_bytes);
      item.open = [bytes]() -> Result<std::unique_ptr<ByteSource>> {
        return std::unique_ptr<ByteSource>(std::make_unique<MemorySource>(bytes));
      };
      return item;
    }
    case Parcel::Where::spill:
      if (route.spill == nullptr) return Error{Errc::malformed, "the relay said nonsense"};
      item.file = [&spill = *route.spill, name = parcel.name] { return spill.open_beneath(name); };
      item.open = [open = item.file, name = parcel.name, &task]() -> Result<std::unique_ptr<ByteSource>> {
        auto file = open();
        if (!file) return std::move(file).error();
        return std::unique_ptr<ByteSource>(std::make_unique<FdSource>(*std::move(file), name, task));
      };
      return item;
    case Parcel::Where::text:
      item.open = [text = parcel.text]() -> Result<std::unique_ptr<ByteSource>> {
        return std::unique_ptr<ByteSource>(std::make_unique<MemorySource>(std::string_view(text)));
      };
      return item;
  }
  return Error{Errc::malformed, "the relay said nonsense"};
}

}  // namespace

std::string to_message(const Parcel& parcel) {
  std::string message(1, kPlaces[static_cast<std::size_t>(parcel.where)]);
  message += " " + std::to_string(parcel.slot) + " " + std::to_string(parcel.size_bytes) + " " +
             to_hex(parcel.sha256) + " " + parcel.name + "\n" + parcel.text;
  return message;
}

Result<Parcel> parse_parcel(std::string_view message) {
  const Error nonsense{Errc::malformed, "the relay said nonsense"};
  const std::size_t line_end = message.find('\n');
  if (line_end == std::string_view::npos) return nonsense;
  const auto fields = split(message.substr(0, line_end), ' ');
  if (fields.size() != 5 || fields[0].size() != 1) return nonsense;
  Parcel parcel;
  const std::size_t place = kPlaces.find(fields[0].front());
  const auto slot = parse_number<std::size_t>(fields[1]);
  const auto size = parse_number<std::uint64_t>(fields[2]);
  if (place == std::string_view::npos || !slot || !size || !parse_digest(fields[3], parcel.sha256))
    return nonsense;
  parcel.where = static_cast<Parcel::Where>(place);
  parcel.slot = *slot;
  parcel.size_bytes = *size;
  parcel.name = fields[4];
  parcel.text = message.substr(line_end + 1);
  return parcel;
}

std::string to_message(const Receipt& receipt) {
  return std::to_string(static_cast<unsigned>(receipt.proof)) + receipt.why;
}

Result<Receipt> parse_receipt(std::string_view message) {
  if (message.empty() || message.front() < '0' || message.front() > '3')
    return Error{Errc::malformed, "a courier said nonsense"};
  return Receipt{static_cast<Proof>(message.front() - '0'), std::string(message.substr(1))};
}

int carry(Channel& relay, const CourierRoute& route) {
  GapLog gaps;
  const std::atomic<bool> never{false};  // the end of the bundle is wanted, however it comes
  const Task task{gaps, never, [] { return sys::realtime(); }};
  auto destination = connect_again(route.destination, route.transfer, route.retry, task);
  ExportDestination greeting;
  greeting.place = Bytes(place_of(route.destination));
  const auto* no = std::get_if<Refusal>(&destination);
  if (no != nullptr) {
    greeting.why = Bytes(no->error.what);
  } else {
    greeting.programs = std::get<0>(destination)->programs();
  }
  if (!relay.send(to_json(greeting)) || no != nullptr) return 1;
  for (;;) {
    const auto message = relay.receive(kMaxCourierMessage, never);
    if (!message || !*message) return 0;  // no more comes
    auto parcel = parse_parcel(**message);
    auto item = parcel ? item_of(*parcel, route, task) : Result<Item>(std::move(parcel).error());
    Receipt receipt;
    if (!item) {
      receipt.why = item.error().what;
    } else {
      auto sent = send_item(*std::get<0>(destination), *item, route.proof, route.retry, task);
      if (const auto* refused = std::get_if<Refusal>(&sent)) {
        receipt.why = refused->error.what;
      } else {
        receipt.proof = std::get<Proof>(sent);
      }
    }
    const bool ends = !receipt.why.empty();
    if (!relay.send(to_message(receipt)) || ends) return ends ? 1 : 0;
  }
}

}  // namespace ctriage::transfer
