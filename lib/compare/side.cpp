// The end of the channel that asks. What comes was made from what an attacker wrote, by a process that has
// parsed it: nothing in it is trusted.
#include <algorithm>

#include "lib/compare/protocol.h"
#include "lib/compare/serve.h"
#include "lib/model/json.h"

namespace ctriage::compare {
namespace {

Errc code_of(std::uint8_t number) {
  return static_cast<Errc>(std::min<unsigned>(number, static_cast<unsigned>(Errc::outside)));
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

Error Side::nonsense() const {
  return {Errc::malformed, name_ + ": the process that reads it said nonsense"};
}

Status Side::ask(std::string message) {
  if (asked_) {
    if (auto ended = give_up(); !ended) return ended;
  }
  message_.clear();
  at_ = 0;
  cut_.reset();
  asked_ = true;
  return channel_.send(message);
}

Result<bool> Side::receive() {
  if (!asked_) return false;
  auto message = channel_.receive(kMaxMessageBytes, stop_);
  if (!message) return std::move(message).error();
  if (!*message) return Error{Errc::io, name_ + ": the process that reads it has ended"};
  message_ = **std::move(message);
  at_ = 0;
  if (message_.empty()) return nonsense();
  if (message_.front() != letter(Word::end)) {
    if (auto sent = channel_.send(std::string(1, letter(Word::go_on))); !sent) return std::move(sent).error();
    return true;
  }
  asked_ = false;
  ByteCursor in(bytes_of(message_));
  in.u8();
  const bool failed = in.u8() != 0;
  const Errc code = code_of(in.u8());
  std::string what = text_in(in);
  if (!in.ok()) return nonsense();
  message_.clear();
  if (failed) cut_ = Error{code, std::move(what)};
  return false;
}

Status Side::give_up() {
  message_.clear();
  at_ = 0;
  while (asked_) {
    auto message = channel_.receive(kMaxMessageBytes, stop_);
    if (!message) return std::move(message).error();
    if (!*message) return Error{Errc::io, name_ + ": the process that reads it has ended"};
    if (!(*message)->empty() && (*message)->front() == letter(Word::end)) {
      asked_ = false;
    } else if (auto sent = channel_.send(std::string(1, letter(Word::give_up))); !sent) {
      return sent;
    }
  }
  return Done{};
}

Result<ServedSource> Side::describe() {
  if (auto asked = ask(std::string(1, letter(Word::describe))); !asked) return std::move(asked).error();
  ServedSource served;
  for (;;) {
    auto more = receive();
    if (!more) return std::move(more).error();
    if (!*more) break;
    ByteCursor in(bytes_of(message_));
    while (in.ok() && !in.at_end()) {
      const auto word = static_cast<Word>(in.u8());
      if (word == Word::source) {
        auto source = parse_artifact<Source>(text_in(in));
        if (!source) return std::move(source).error().within(name_);
        served.source = *std::move(source);
      } else if (word == Word::coverage) {
        const std::size_t facet = in.u8();
        Coverage coverage;
        coverage.level = static_cast<Coverage::Level>(std::min<unsigned>(in.u8(), 2));
        coverage.why = text_in(in);
        if (facet >= served.coverage.size()) return nonsense();
        served.coverage[facet] = std::move(coverage);
      } else if (word == Word::container) {
        ServedContainer container;
        container.id = text_in(in);
        container.name = text_in(in);
        container.pod = text_in(in);
        container.image = text_in(in);
        container.sandbox = in.u8() != 0;
        container.init_start_ticks = in.u64();
        auto item = parse_item(in);
        if (!item) return std::move(item).error().within(name_);
        container.item = *std::move(item);
        if (served.containers.size() >= kMaxContainers)
          return Error{Errc::limit, name_ + ": more than " + std::to_string(kMaxContainers) + " containers"};
        served.containers.push_back(std::move(container));
      } else {
        return nonsense();
      }
    }
    if (!in.ok()) return nonsense();
  }
  if (cut_) return *cut_;
  return served;
}

Status Side::begin_list(const ListRequest& request) {
  Writer message;
  message.u8(static_cast<std::uint8_t>(Word::list));
  message.u8(static_cast<std::uint8_t>(request.kind));
  message.u32(static_cast<std::uint32_t>(request.pid));
  message.u8(request.by_address ? 1 : 0);
  message.text(request.container);
  return ask(message.take());
}

Result<std::optional<Item>> Side::next() {
  if (at_ >= message_.size()) {
    auto more = receive();
    if (!more) return std::move(more).error();
    if (!*more) return std::optional<Item>();
  }
  ByteCursor in(bytes_of(std::string_view(message_).substr(at_)));
  if (static_cast<Word>(in.u8()) != Word::item) return nonsense();
  auto item = parse_item(in);
  if (!item) return std::move(item).error().within(name_);
  at_ += in.offset();
  return std::optional(*std::move(item));
}

Status Side::begin_pages(const PagesRequest& request) {
  Writer message;
  message.u8(static_cast<std::uint8_t>(Word::pages));
  message.u32(static_cast<std::uint32_t>(request.pid));
  message.text(request.salt);
  message.u32(static_cast<std::uint32_t>(request.containers.size()));
  for (const std::string& container : request.containers) message.text(container);
  area_.reset();
  return ask(message.take());
}

Result<std::optional<PageRun>> Side::next_pages() {
  for (;;) {
    if (at_ >= message_.size()) {
      auto more = receive();
      if (!more) return std::move(more).error();
      if (!*more) return std::optional<PageRun>();
      area_.reset();
    }
    ByteCursor in(bytes_of(std::string_view(message_).substr(at_)));
    const auto word = static_cast<Word>(in.u8());
    if (word == Word::area) {
      PageArea area;
      area.container = in.u32();
      area.pid = static_cast<std::int32_t>(in.u32());
      area.start = in.u64();
      area.protection = text_in(in);
      area.path = text_in(in);
      if (!in.ok()) return nonsense();
      area_ = std::move(area);
      at_ += in.offset();
      continue;
    }
    if (word != Word::run || !area_) return nonsense();
    PageRun run;
    run.area = *area_;
    run.address = in.u64();
    const std::uint32_t count = in.u32();
    if (!in.ok() || count == 0 || count > kMaxRunPages || in.left() < count * sizeof(std::uint64_t) ||
        run.address > UINT64_MAX - std::uint64_t{count} * kComparedPageBytes)
      return nonsense();
    run.digests.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) run.digests.push_back(in.u64());
    at_ += in.offset();
    return std::optional(std::move(run));
  }
}

Status Side::take_gaps(GapLog& gaps) {
  if (auto asked = ask(std::string(1, letter(Word::gaps))); !asked) return asked;
  for (;;) {
    auto more = receive();
    if (!more) return std::move(more).error();
    if (!*more) break;
    ByteCursor in(bytes_of(message_));
    while (in.ok() && !in.at_end()) {
      if (static_cast<Word>(in.u8()) != Word::gap) return nonsense();
      Gap gap;
      gap.impact = static_cast<Impact>(std::min<unsigned>(in.u8(), static_cast<unsigned>(Impact::lost)));
      gap.error.code = code_of(in.u8());
      gap.artifact = text_in(in);
      gap.origin = name_ + ": " + text_in(in);
      gap.error.what = text_in(in);
      if (!in.ok()) return nonsense();
      gaps.add(gap);
    }
  }
  if (cut_) gaps.add({Impact::lost, "compare.gaps", name_, *cut_});
  return Done{};
}

}  // namespace ctriage::compare
