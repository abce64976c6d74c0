#include "lib/bundle/volumes.h"

#include <algorithm>
#include <array>

#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kDigits = 3;
constexpr std::string_view kBundleSuffix = ".ctriage.tar";

// In order. What others put beside them is left alone.
Result<std::vector<std::uint32_t>> find_volumes(const Root& directory, const std::string& whole) {
  std::vector<std::uint32_t> numbers;
  std::string after = whole;
  for (bool more = true; more;) {
    auto block = list_names(directory, after);
    if (!block) return std::move(block).error();
    more = block->more && !block->names.empty();
    for (const std::string& name : block->names) {
      after = name;
      if (name > whole && !name.starts_with(whole)) more = false;  // they come in order
      const auto volume = split_volume(name);
      if (!volume || volume->whole != whole) continue;
      if (numbers.size() == kMaxVolumes) return Error{Errc::limit, whole + ": more than 100,000 volumes"};
      numbers.push_back(volume->number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

std::string volume_name(std::string_view whole, std::uint32_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return std::string(whole).append(".").append(digits);
}

std::optional<VolumeName> split_volume(std::string_view file_name) {
  const auto dot = file_name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return std::nullopt;
  const std::string_view whole = file_name.substr(0, dot);
  if (!whole.ends_with(kBundleSuffix) && !whole.ends_with(".ctriage.tar.age")) return std::nullopt;
  const auto number = parse_number<std::uint32_t>(file_name.substr(dot + 1));
  if (!number || volume_name(whole, *number) != file_name) return std::nullopt;
  return VolumeName{std::string(whole), *number};
}

std::string stem_of(std::string_view file_name) {
  std::string name(file_name);
  if (const auto volume = split_volume(name)) name = volume->whole;
  for (const std::string_view suffix : {std::string_view(".part"), std::string_view(".age"), kBundleSuffix}) {
    if (name.ends_with(suffix) && name.size() > suffix.size()) name.resize(name.size() - suffix.size());
  }
  return name;
}

Result<std::unique_ptr<Volumes>> Volumes::open(const Root& directory, const std::string& whole) {
  auto numbers = find_volumes(directory, whole);
  if (!numbers) return std::move(numbers).error();
  if (numbers->empty()) return Error{Errc::not_found, whole + ": no volume of it is here"};
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  std::unique_ptr<Volumes> volumes(new Volumes(*std::move(own), whole));
  for (std::uint32_t i = 0; i < numbers->size(); ++i) {
    const std::string name = volume_name(whole, i);
    if ((*numbers)[i] != i)
      return Error{Errc::mismatch,
                   name + " is missing, " + volume_name(whole, numbers->back()) + " is there"};
    auto info = directory.stat_beneath(name);
    if (!info) return std::move(info).error();
    if (!info->is_regular()) return Error{Errc::unsupported, name + ": not a regular file"};
    if (i == 0) volumes->each_ = info->size_bytes;
    const bool last = i + 1 == numbers->size();
    if (last ? info->size_bytes > volumes->each_ : info->size_bytes != volumes->each_)
      return Error{Errc::mismatch, name + " has " + with_commas(info->size_bytes) +
                                       " bytes, the first volume " + with_commas(volumes->each_)};
    if (info->size_bytes == 0) return Error{Errc::mismatch, name + " is empty"};
    volumes->size_ += info->size_bytes;
  }
  volumes->count_ = numbers->size();
  return volumes;
}

Result<std::size_t> Volumes::read_volume(std::uint32_t number, std::uint64_t offset,
                                         std::span<std::byte> into) {
  const std::string name = volume_name(whole_, number);
  if (opened_ != number) {
    auto file = directory_.open_beneath(name);
    if (!file) return std::move(file).error();
    file_ = *std::move(file);
    opened_ = number;
  }
  auto got = sys::pread_full(file_.get(), into, offset, name);
  if (got && *got < into.size()) return Error{Errc::truncated, name + " became shorter"};
  return got;
}

Result<std::size_t> Volumes::read_at(std::uint64_t offset, std::span<std::byte> into) {
  std::size_t done = 0;
  while (done < into.size() && offset < size_) {
    const std::uint64_t number = offset / each_;
    const std::uint64_t inside = offset % each_;
    const auto size = static_cast<std::size_t>(
        std::min({std::uint64_t{into.size() - done}, each_ - inside, size_ - offset}));
    auto got = read_volume(static_cast<std::uint32_t>(number), inside, into.subspan(done, size));
    if (!got) return got;
    done += *got;
    offset += *got;
  }
  return done;
}

Result<VolumeSink> VolumeSink::create(const Root& directory, std::string whole, std::uint64_t size,
                                      std::uint64_t each) {
  if (each < size && (size - 1) / each + 1 > kMaxNewVolumes)
    return Error{Errc::limit, whole + ": more than " + std::to_string(kMaxNewVolumes) + " volumes; --split " +
                                  std::to_string(size / kMaxNewVolumes + 1) + " or more"};
  for (const std::string& name : {whole, volume_name(whole, 0)}) {
    auto there = directory.stat_beneath(name);
    if (there) return system_error(EEXIST, "write " + name);
    if (there.error().code != Errc::not_found) return std::move(there).error();
  }
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  return VolumeSink(*std::move(own), std::move(whole), each < size, each);
}

Status VolumeSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (files_.empty() || (split_ && files_.back().size_bytes() == each_)) {
      const std::string name =
          split_ ? volume_name(whole_, static_cast<std::uint32_t>(files_.size())) : whole_;
      if (files_.size() == kMaxNewVolumes) return Error{Errc::limit, name + ": too many volumes"};
      auto file = NewFile::create(directory_, name, split_ ? each_ : UINT64_MAX);
      if (!file) return std::move(file).error();
      files_.push_back(*std::move(file));
    }
    NewFile& file = files_.back();
    const auto size = static_cast<std::size_t>(
        split_ ? std::min<std::uint64_t>(bytes.size(), each_ - file.size_bytes()) : bytes.size());
    if (auto written = file.write(bytes.first(size)); !written) return written;
    bytes = bytes.subspan(size);
  }
  return Done{};
}

Status VolumeSink::seal() {
  for (NewFile& file : files_) {
    if (auto sealed = file.seal(); !sealed) return sealed;
  }
  return Done{};
}

void VolumeSink::remove() {
  for (NewFile& file : files_) file.remove();
  files_.clear();
}

}  // namespace ctriage::bundle
