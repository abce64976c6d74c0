#include "lib/bundle/stored.h"

#include <fcntl.h>

#include <array>

#include "lib/bundle/age.h"
#include "lib/bundle/names.h"
#include "lib/bundle/unpacked.h"
#include "lib/bundle/volumes.h"
#include "lib/core/sys.h"

namespace ctriage::bundle {
namespace {

struct Place {
  std::string directory;
  std::string name;
};

Place split_path(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

}  // namespace

Result<Stored> Stored::open(const std::string& path) {
  const Place place = split_path(path);
  auto beside = Root::open(place.directory);
  if (!beside) return std::move(beside).error().within(path);
  Stored stored(*std::move(beside), place.name);
  if (auto directory = Root::open(path)) {
    if (place.name == "." || place.name == "..") {
      return Error{Errc::unsupported, path + ": give the directory's own name"};
    }
    stored.form_ = Form::unpacked;
    stored.directory_ = *std::move(directory);
    return stored;
  }
  auto file = sys::openat2(stored.beside_.fd(), place.name, O_RDONLY | O_NOCTTY | O_NONBLOCK);
  const auto volume = split_volume(place.name);
  if (!file && !volume) return Error{file.error().code, path + ": " + file.error().what};
  if (volume) {
    stored.form_ = Form::volumes;
    stored.whole_ = volume->whole;
  } else {
    auto info = file_info(file->get(), path);
    if (!info) return std::move(info).error();
    if (!info->is_regular()) return Error{Errc::unsupported, path + ": not a regular file"};
    stored.file_ = *std::move(file);
  }
  auto bytes = stored.at();
  if (!bytes) return std::move(bytes).error();
  std::array<std::byte, kAgeIntroBytes> intro{};
  auto got = (*bytes)->read_at(0, intro);
  if (!got) return std::move(got).error();
  stored.encrypted_ = age_form(std::span(intro).first(*got)) != AgeForm::none;
  return stored;
}

std::string Stored::stem() const { return stem_of(whole_); }

std::optional<int> Stored::readable() const {
  if (form_ == Form::volumes) return beside_.fd();
  if (form_ == Form::unpacked) return directory_->fd();
  return std::nullopt;
}

Result<std::unique_ptr<archive::BytesAt>> Stored::at() const {
  if (form_ == Form::volumes) {
    auto volumes = Volumes::open(beside_, whole_);
    if (!volumes) return std::move(volumes).error();
    return std::unique_ptr<archive::BytesAt>(*std::move(volumes));
  }
  auto own = sys::duplicate(file_.get(), whole_);
  if (!own) return std::move(own).error();
  return archive::bytes_of_file(*std::move(own), whole_);
}

Result<Stored::Bytes> Stored::bytes(const Task& task) const {
  if (form_ == Form::unpacked) {
    auto own = directory_->duplicate();
    if (!own) return std::move(own).error();
    auto source = UnpackedSource::open(*std::move(own), task);
    if (!source) return std::move(source).error();
    const std::uint64_t size = (*source)->size_bytes();
    return Bytes{*std::move(source), size};
  }
  auto all = at();
  if (!all) return std::move(all).error();
  const std::uint64_t size = (*all)->size_bytes().value_or(0);
  return Bytes{archive::in_order(*std::move(all), 0, size, task), size};
}

Result<std::unique_ptr<Reader>> Stored::reader(Task& task) const {
  if (encrypted_)
    return Error{Errc::denied,
                 whole_ + ": encrypted; first: age -d -i KEYFILE -o BUNDLE.ctriage.tar " + whole_};
  if (form_ == Form::unpacked) {
    auto own = directory_->duplicate();
    if (!own) return std::move(own).error();
    return Reader::open_directory(*std::move(own), task);
  }
  auto all = at();
  if (!all) return std::move(all).error();
  return Reader::open_tar(*std::move(all), whole_, task);
}

Result<Stored::Name> Stored::name(Task& task) const {
  if (encrypted_) {
    auto all = bytes(task);
    if (!all) return std::move(all).error();
    auto digest = hash_all(*all->source);
    if (!digest) return std::move(digest).error();
    return Name{std::string(kOfFile), *digest};
  }
  auto opened = reader(task);
  if (!opened) return std::move(opened).error();
  if (!(*opened)->sealed() || (form_ != Form::unpacked && (*opened)->cut()))
    return Error{Errc::truncated, whole_ + ": not sealed, or cut: there is no manifest that names it"};
  auto manifest = (*opened)->open(kManifest, task);
  if (!manifest) return std::move(manifest).error();
  auto digest = hash_all(**manifest);
  if (!digest) return std::move(digest).error();
  return Name{std::string(kOfManifest), *digest};
}

}  // namespace ctriage::bundle
