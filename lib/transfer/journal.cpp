#include "lib/transfer/journal.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <algorithm>

#include "lib/core/sys.h"
#include "lib/core/sys_lock.h"
#include "lib/model/json.h"

namespace ctriage::transfer {
namespace {

constexpr std::uint64_t kMaxJournalBytes = 64 << 20;

}  // namespace

Result<Journal> Journal::open(const Root& directory, const std::string& name, const std::string& bundle_id) {
  auto file =
      sys::openat2(directory.fd(), name, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, RESOLVE_BENEATH, 0600);
  if (!file) return std::move(file).error();
  const auto locked = sys::try_lock(file->get(), name);
  if (!locked) return locked.error();
  if (!*locked) return Error{Errc::changed, name + ": another export of this bundle runs"};
  const auto info = file_info(file->get(), name);
  if (!info) return info.error();
  if (!info->is_regular()) return Error{Errc::malformed, name + ": not a regular file"};
  if (info->size_bytes > kMaxJournalBytes)
    return Error{Errc::limit, name + ": over 64 MiB: no journal of ours; move it away"};
  std::string text(info->size_bytes, '\0');
  const auto got = sys::pread_full(file->get(), std::as_writable_bytes(std::span(text)), 0, name);
  if (!got) return got.error();
  text.resize(*got);
  Journal journal(*std::move(file), name, bundle_id);
  std::size_t at = 0;
  for (std::size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    journal.read_line(std::string_view(text).substr(at, end - at));
  // What a crash tore is ended, so that the next line is one.
  if (at < text.size()) {
    if (auto ended = sys::write_all(journal.file_.get(), "\n", name); !ended) return std::move(ended).error();
  }
  return journal;
}

void Journal::read_line(std::string_view line) {
  auto item = parse_artifact<SentItem>(line);
  if (!item || item->bundle_id != bundle_id_) return;
  items_[{item->place.raw, item->name}] = *std::move(item);
}

const SentItem* Journal::find(const std::string& place, const std::string& name) const {
  const auto found = items_.find({place, name});
  return found == items_.end() ? nullptr : &found->second;
}

const SentItem* Journal::find_other(const std::string& place, const std::string& bundle,
                                    std::span<const Item> volumes) const {
  for (const auto& [where, item] : items_) {
    if (where.first != place || !item.name.starts_with(bundle)) continue;
    const bool known = std::ranges::any_of(volumes, [&item = item](const Item& volume) {
      return volume.name == item.name && volume.size_bytes == item.size_bytes;
    });
    if (!known) return &item;
  }
  return nullptr;
}

Status Journal::add(SentItem item) {
  item.at = sys::realtime();
  item.bundle_id = bundle_id_;
  auto written = sys::write_all(file_.get(), to_json(item) + "\n", name_);
  if (written) written = sys::fdatasync(file_.get(), name_);
  if (written) items_[{item.place.raw, item.name}] = std::move(item);
  return written;
}

}  // namespace ctriage::transfer
