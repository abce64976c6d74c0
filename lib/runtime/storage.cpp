#include "lib/runtime/storage.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/core/limits.h"

namespace ctriage::runtime {
namespace {

constexpr std::array<std::string_view, 2> kFiles{"containers.json", "volatile-containers.json"};
constexpr std::string_view kRecords = "-containers";
constexpr std::size_t kMostAbove = 8;  // <graph root>/vfs/dir/<layer>, <graph root>/overlay/<layer>/merged

std::string_view directory_of(std::string_view path) { return path.substr(0, path.rfind('/')); }

void read_records(const Root& directory, const std::string& path, Storage& into, Task& task) {
  for (const std::string_view name : kFiles) {
    const auto text = directory.read_file_in_root(name, kMaxJsonBytes);
    if (!text && text.error().code == Errc::not_found) continue;
    auto records = text ? parse_storage_records(*text) : Result<std::vector<StorageRecord>>(text.error());
    const std::string file = path + "/" + std::string(name);
    if (!records) {
      task.gaps.add({Impact::lost, "runtime.storage", file, std::move(records).error().within(file)});
      continue;
    }
    for (StorageRecord& record : *records) {
      const std::string id = record.id;
      into.files.insert_or_assign(id, file);
      into.records.insert_or_assign(id, std::move(record));
    }
  }
}

bool has_records(const Root& directory) {
  return std::any_of(kFiles.begin(), kFiles.end(),
                     [&](std::string_view name) { return directory.stat_beneath(name).has_value(); });
}

}  // namespace

const Storage* Storages::find(const Root& node, std::string_view inside, Task& task) {
  std::string_view below = inside;
  for (std::size_t i = 0; i < kMostAbove && below.size() > 1; ++i) {
    const std::string_view above = directory_of(below);
    std::string driver(below.substr(above.size() + 1));
    if (driver.ends_with(kRecords)) driver.erase(driver.size() - kRecords.size());  // a bundle's way up
    const std::string path = std::string(above) + "/" + driver + std::string(kRecords);
    below = above;
    if (driver.empty()) continue;
    const auto directory = node.descend_in_root(path);
    if (!directory || !has_records(*directory)) continue;
    const auto identity = directory->stat_beneath("");
    if (!identity) continue;
    for (const Known& known : all_) {
      if (known.identity.same_inode(*identity)) return &known.storage;
    }
    auto kept = node.duplicate();
    if (!kept) return nullptr;
    Known known{*identity, *std::move(kept), {std::string(above), driver, identity->uid, {}, {}}};
    read_records(*directory, path, known.storage, task);
    all_.push_back(std::move(known));
    return &all_.back().storage;
  }
  return nullptr;
}

Bytes namespace_of(std::uint32_t uid) { return Bytes(uid == 0 ? "" : "uid " + std::to_string(uid)); }

void complete(const StorageRecord& record, Container& into) {
  const bool kubernetes = into.pod.has_value();
  if (into.image.empty()) into.image = Bytes(record.image_name);
  if (into.image_id.empty()) into.image_id = Bytes(record.image_id);
  if (!kubernetes && (into.name.empty() || into.name.raw == into.id)) into.name = Bytes(record.name);
  if (!into.created_at) into.created_at = record.created_at;
}

}  // namespace ctriage::runtime
