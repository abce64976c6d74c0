// file: a directory of this machine, a mounted disk.
#include "lib/core/new_file.h"
#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/transfer/folders.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kBlockBytes = 1 << 20;

Refusal refusal_of(Error error) {
  Refusal no;
  no.error = std::move(error);
  return no;
}

class Local final : public Folder {
 public:
  Local(Root root, std::string place) : root_(std::move(root)), place_(std::move(place)) {}
  [[nodiscard]] const std::string& place() const override { return place_; }

 protected:
  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& /*task*/) override {
    auto info = root_.stat_beneath(name);
    if (info) return std::optional<std::uint64_t>(info->size_bytes);
    if (info.error().code == Errc::not_found) return std::optional<std::uint64_t>();
    return refusal_of(std::move(info).error());
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override {
    const auto copy = [&]() -> Status {
      if (auto gone = sys::unlinkat(root_.fd(), name); !gone && gone.error().code != Errc::not_found)
        return gone;
      auto file = NewFile::create(root_, name.substr(0, name.size() - kPart.size()), item.size_bytes);
      if (!file) return std::move(file).error();
      auto source = item.open();
      if (!source) return std::move(source).error();
      std::vector<std::byte> block(kBlockBytes);
      for (;;) {
        if (auto going = task.check(); !going) return going;
        const auto got = (*source)->read(block);
        if (!got) return got.error();
        if (*got == 0) break;
        if (auto written = file->write(std::span(block).first(*got)); !written) {
          if (written.error().code == Errc::full) file->remove();  // its room may be needed
          return written;
        }
        task.passed(*got);
      }
      ready_ = std::make_unique<NewFile>(*std::move(file));
      return Done{};
    };
    if (auto copied = copy(); !copied) return refusal_of(std::move(copied).error().within(place_));
    return Done{};
  }

  Answer<Done> rename(const std::string& /*from*/, const std::string& /*to*/, const Task& /*task*/) override {
    auto sealed = ready_->seal();
    ready_.reset();
    if (!sealed) return refusal_of(std::move(sealed).error().within(place_));
    return Done{};
  }

  Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t /*size_bytes*/,
                                       const Task& task) override {
    auto file = root_.open_beneath(name);
    if (!file) return refusal_of(std::move(file).error().within(place_));
    FdSource source(*std::move(file), name, task);
    const auto digest = hash_all(source);
    if (!digest) return refusal_of(digest.error());
    return std::optional<Digest>(*digest);
  }

 private:
  static constexpr std::string_view kPart = ".part";
  Root root_;
  std::string place_;
  std::unique_ptr<NewFile> ready_;  // written, and still called NAME.part
};

}  // namespace

Answer<std::unique_ptr<Destination>> open_local(const Url& url) {
  auto root = Root::open(url.path);
  if (!root) return refusal_of(std::move(root).error().within(place_of(url)));
  return std::unique_ptr<Destination>(std::make_unique<Local>(*std::move(root), place_of(url)));
}

}  // namespace ctriage::transfer
