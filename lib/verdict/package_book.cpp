#include "lib/verdict/package_book.h"

#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

constexpr std::array kDatabases{"/var/lib/dpkg/status", "/lib/apk/db/installed", "/usr/lib/apk/db/installed",
                                "/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite"};
constexpr std::string_view kStatus = "/var/lib/dpkg/status";
constexpr std::string_view kInfo = "/var/lib/dpkg/info/";
constexpr std::array kLogs{"/var/log/dpkg.log.1", "/var/log/dpkg.log"};
constexpr std::size_t kMaxLineBytes = 64 << 10;
constexpr std::int64_t kFarthestZoneSeconds = 14 * 3600;  // dpkg.log has the container's own time
constexpr std::int64_t kApkSeconds = 60;                  // between the files that apk writes at its end

class LayerFiles final : public image::Files {
 public:
  LayerFiles(Scene& scene, const char* layer) : scene_(scene), layer_(layer) {}
  Result<OpenedFile> open(const std::string& path, Task& task) override {
    return scene_.snapshot.open_file({scene_.container.id, layer_, path, true}, task);
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task& task) override {
    return scene_.snapshot.list_files({scene_.container.id, layer_, directory, true}, emit, task);
  }

 private:
  Scene& scene_;
  const char* layer_;
};

// What is read from it looks at `task` for as long as it lives: the trial has one of its own.
std::optional<OpenedFile> open_upper(Scene& scene, const std::string& path, Task& task) {
  const FileKey request{scene.container.id, "upper", path, true};
  GapLog aside;  // a file that is not there is no gap
  Task looking = task.with(aside);
  if (const auto trial = scene.snapshot.open_file(request, looking); !trial || trial->entry.gone)
    return std::nullopt;
  auto opened = scene.snapshot.open_file(request, task);
  return opened ? std::optional(std::move(*opened)) : std::nullopt;
}

std::string_view without_architecture(std::string_view name) { return name.substr(0, name.find(':')); }

bool is_there(std::string_view state) {
  constexpr std::array<std::string_view, 5> kStates{"installed", "unpacked", "half-configured",
                                                    "triggers-pending", "triggers-awaited"};
  return std::ranges::find(kStates, state) != kStates.end();
}

}  // namespace

// Of a bundle or a checkpoint the UpperDir is what there is: what was installed since is in it whole.
const char* PackageBook::layer_of_now() const { return scene_.image ? "merged" : "upper"; }

const image::Packages* PackageBook::of_image(Task& task) {
  if (!std::exchange(image_tried_, true) && scene_.image) {
    image::ContainerFiles files(scene_.snapshot, scene_.container.id);
    auto read = image::Packages::read(files, task);
    if (read && !read->manager().empty()) {
      image_ = *std::move(read);
      for (const auto& each : image_->all()) in_image_.emplace(each.name, each.version);
    }
  }
  return image_ ? &*image_ : nullptr;
}

const image::Packages* PackageBook::of_now(Task& task) {
  if (std::exchange(now_tried_, true)) return now_ ? &*now_ : nullptr;
  if (std::ranges::none_of(kDatabases,
                           [&](const char* path) { return open_upper(scene_, path, task).has_value(); }))
    return nullptr;
  LayerFiles files(scene_, layer_of_now());
  GapLog aside;  // of an UpperDir alone most of the database is not there
  Task looking = task.with(aside);
  auto read = image::Packages::read(files, scene_.image ? task : looking);
  if (read && !read->manager().empty()) now_ = *std::move(read);
  return now_ ? &*now_ : nullptr;
}

// "2026-11-23 06:44:37 status installed greeter:amd64 1.2-3", dpkg(1) --log.
void PackageBook::read_log(const char* path, Task& task) {
  const auto opened = open_upper(scene_, path, task);
  if (!opened || !opened->bytes) return;
  LineReader lines(*opened->bytes, kMaxLineBytes);
  std::string_view line;
  while (lines.offset() < kMaxLogBytes && logged_->size() < kMaxLogEntries) {
    const auto more = lines.next(line);
    if (!more && more.error().code == Errc::limit) continue;
    if (!more || !*more) return;
    const auto fields = split_fields(line);
    if (fields.size() != 6 || fields[2] != "status" || !is_there(fields[3])) continue;
    Timestamp at;
    if (!parse_rfc3339(std::string(fields[0]) + 'T' + std::string(fields[1]) + 'Z', at)) continue;
    const auto& made = scene_.container.created_at;
    if (made && at.seconds + kFarthestZoneSeconds < made->seconds) continue;  // the image's own
    logged_->emplace(without_architecture(fields[4]), fields[5]);
  }
}

bool PackageBook::is_logged(const Version& version, Task& task) {
  if (!logged_) {
    logged_.emplace();
    for (const char* log : kLogs) read_log(log, task);
  }
  return logged_->contains(version);
}

bool PackageBook::apk_has_run(Task& task) {
  if (apk_) return *apk_;
  apk_ = false;
  for (const std::string directory : {"/lib/apk/db/", "/usr/lib/apk/db/"}) {
    const auto installed = open_upper(scene_, directory + "installed", task);
    const auto triggers = open_upper(scene_, directory + "triggers", task);
    auto scripts = open_upper(scene_, directory + "scripts.tar", task);
    if (!scripts) scripts = open_upper(scene_, directory + "scripts.tar.gz", task);
    if (!installed || !triggers || !scripts) continue;
    const auto [first, last] =
        std::minmax({installed->entry.file.mtime, triggers->entry.file.mtime, scripts->entry.file.mtime});
    apk_ = *apk_ || last.seconds - first.seconds <= kApkSeconds;
  }
  return *apk_;
}

bool PackageBook::believes(const std::string& name, const std::string& version, Task& task) {
  const image::Packages* of_image = this->of_image(task);
  if (scene_.image && (of_image == nullptr || of_image->manager() != now_->manager())) return false;
  if (in_image_.contains({name, version})) return false;
  if (now_->manager() == "dpkg") return is_logged({name, version}, task);
  return of_image != nullptr && (now_->manager() != "apk" || apk_has_run(task));
}

// "Conffiles:" and lines " /etc/name md5 [obsolete]" of the status file: dpkg's md5sums leave them out.
void PackageBook::read_configuration_digests(Task& task) {
  configuration_.emplace();
  LayerFiles files(scene_, layer_of_now());
  const auto opened = files.open(std::string(kStatus), task);
  if (!opened || !opened->bytes) return;
  LineReader lines(*opened->bytes, kMaxLineBytes);
  std::string_view line;
  bool inside = false;
  while (configuration_->size() < kMaxConfigurationFiles) {
    const auto more = lines.next(line);
    if (!more && more.error().code == Errc::limit) continue;
    if (!more || !*more) return;
    if (!line.starts_with(' ')) {
      inside = line == "Conffiles:";
      continue;
    }
    const auto fields = split_fields(line);
    if (!inside || fields.size() < 2) continue;
    const std::string digest = image::parse_hex(fields[1], image::Algorithm::md5);
    if (!digest.empty())
      configuration_->insert_or_assign(std::string(fields[0]), "md5:" + std::string(fields[1]));
  }
}

std::optional<PackageOwner> PackageBook::find_in_image(std::string_view path, Task& task) {
  const image::Packages* packages = of_image(task);
  return packages == nullptr ? std::nullopt : packages->find_owner(path);
}

std::optional<PackageOwner> PackageBook::find_installed(std::string_view path, Task& task) {
  const image::Packages* packages = of_now(task);
  auto owner = packages == nullptr ? std::nullopt : packages->find_owner(path);
  if (!owner || !believes(owner->name, owner->version, task)) return std::nullopt;
  if (owner->digest.empty() && owner->manager == "dpkg") {
    if (!configuration_) read_configuration_digests(task);
    const auto at = configuration_->find(path);
    if (at != configuration_->end()) owner->digest = at->second;
  }
  return owner;
}

bool PackageBook::is_believed(std::string_view database_file, Task& task) {
  const image::Packages* packages = of_now(task);
  if (packages == nullptr) return false;
  if (database_file.starts_with(kInfo)) {
    const std::string_view name = database_file.substr(kInfo.size());
    const std::string package(without_architecture(name.substr(0, name.rfind('.'))));
    return std::ranges::all_of(packages->all(), [&](const image::InstalledPackage& each) {
      return each.name != package || believes(each.name, each.version, task);
    });
  }
  if (!scene_.image) return has_installed(task);  // which of them the image had cannot be known
  (void)of_image(task);
  bool differs = packages->all().size() != in_image_.size();
  for (const auto& each : packages->all()) {
    if (in_image_.contains({each.name, each.version})) continue;
    if (!believes(each.name, each.version, task)) return false;
    differs = true;
  }
  return differs || packages->manager() == "dpkg";  // dpkg writes its status for less, too
}

bool PackageBook::has_installed(Task& task) {
  const image::Packages* packages = of_now(task);
  if (packages == nullptr) return false;
  (void)of_image(task);
  bool any = false;
  for (const auto& each : packages->all()) {
    const bool believed = believes(each.name, each.version, task);
    any = any || believed;
    if (!believed && scene_.image && !in_image_.contains({each.name, each.version})) return false;
  }
  return any;
}

}  // namespace ctriage::verdict
