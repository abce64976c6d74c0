#include "lib/transfer/folder.h"

namespace ctriage::transfer {
namespace {

template <class T>
const Refusal* refused(const Answer<T>& answer) {
  return std::get_if<Refusal>(&answer);
}

}  // namespace

Refusal not_replaced(const std::string& place, const std::string& name, const std::string& how) {
  return refusal(Errc::mismatch, place + ": " + name + ": " + how + "; it was not replaced");
}

Result<Digest> digest_of(const Item& item) {
  if (item.sha256) return *item.sha256;
  auto source = item.open();
  if (!source) return std::move(source).error();
  return hash_all(**source);
}

Refusal refusal(Errc code, std::string what) {
  Refusal made;
  made.error = {code, std::move(what)};
  return made;
}

Answer<std::optional<Digest>> Folder::server_digest(const std::string& /*name*/, const Task& /*task*/) {
  return std::optional<Digest>();
}

// Whether the item itself lies there, from an attempt whose end we did not see.
Answer<bool> Folder::has(const Item& item, const Task& task) {
  auto size = size_of(item.name, task);
  if (const auto* no = refused(size)) return *no;
  const auto there = std::get<0>(size);
  if (!there) return false;
  if (*there != item.size_bytes)
    return not_replaced(place(), item.name, "another file of " + std::to_string(*there) + " bytes is there");
  auto same = is_same(item.name, item, task);
  if (const auto* no = refused(same)) return *no;
  if (!std::get<bool>(same)) return not_replaced(place(), item.name, "another file as large is there");
  return true;
}

Answer<bool> Folder::is_same(const std::string& name, const Item& item, const Task& task) {
  auto remote = reread(name, item.size_bytes, task);
  if (const auto* no = refused(remote)) return *no;
  const auto ours = digest_of(item);
  if (!ours) return refusal(ours.error().code, ours.error().what);
  return std::get<0>(remote) == *ours;
}

Answer<Done> Folder::put(const Item& item, const Task& task) {
  const auto there = has(item, task);
  if (const auto* no = refused(there)) return *no;
  if (std::get<bool>(there)) return Done{};
  const std::string name = renames() ? item.name + ".part" : item.name;
  if (auto sent = upload(item, name, task); refused(sent) != nullptr) return sent;
  auto size = size_of(name, task);
  if (const auto* no = refused(size)) return *no;
  const auto arrived = std::get<0>(size);
  if (!arrived || *arrived != item.size_bytes) {
    Refusal no = refusal(
        Errc::truncated,
        place() + ": " + name + ": " +
            (arrived ? std::to_string(*arrived) + " of " + std::to_string(item.size_bytes) + " bytes arrived"
                     : std::string("it is gone after it was sent")));
    no.can_pass = true;
    return no;
  }
  return renames() ? rename(name, item.name, task) : Answer<Done>(Done{});
}

Answer<Proof> Folder::prove(const Item& item, Proof wanted, const Task& task) {
  if (wanted == Proof::none) return Proof::none;
  auto size = size_of(item.name, task);
  if (const auto* no = refused(size)) return *no;
  const auto there = std::get<0>(size);
  if (!there) return refusal(Errc::not_found, place() + ": " + item.name + ": is not there");
  if (*there != item.size_bytes)
    return refusal(Errc::mismatch, place() + ": " + item.name + ": has " + std::to_string(*there) +
                                       " bytes, not " + std::to_string(item.size_bytes));
  if (wanted == Proof::size) return Proof::size;
  auto digest =
      wanted == Proof::hash ? server_digest(item.name, task) : reread(item.name, item.size_bytes, task);
  if (const auto* no = refused(digest)) return *no;
  const auto remote = std::get<0>(digest);
  if (!remote) return Proof::size;
  const auto ours = digest_of(item);
  if (!ours) return refusal(ours.error().code, ours.error().what);
  if (*remote != *ours)
    return refusal(Errc::mismatch, place() + ": " + item.name + ": other bytes are there than were sent");
  return wanted;
}

}  // namespace ctriage::transfer
