#include "lib/source/live/logs.h"

#include "lib/core/limits.h"

namespace ctriage::source {

void each_log(const Root& node, const Container& container, const TakeLog& take, Task& task) {
  const std::string& path = container.log_dir.raw;
  const auto gap = [&task](Impact impact, const std::string& origin, Error error) {
    task.gaps.add({impact, "container.logs", origin, std::move(error)});
  };
  auto directory = node.descend_in_root(path);
  if (!directory) return gap(Impact::lost, path, std::move(directory).error());
  std::string after;
  for (;;) {
    auto block = list_names(*directory, after);
    if (!block) return gap(Impact::lost, path, std::move(block).error());
    for (const std::string& name : block->names) {
      const std::string file = path + "/" + name;
      auto info = directory->stat_beneath(name);
      if (!info) {
        gap(Impact::lost, file, std::move(info).error());
      } else if (!info->is_regular()) {
        gap(Impact::note, file, {Errc::unsupported, "not a regular file, not followed"});
      } else if (info->hole_bytes() > kMaxHoleBytes) {
        gap(Impact::lost, file, {Errc::limit, "more than 4 GiB of holes: no log, not taken"});
      } else {
        LogFile log;
        log.container = container.id;
        log.path = Bytes(file);
        log.size_bytes = info->size_bytes;
        log.mtime = info->mtime;
        take(std::move(log), *directory, name);
      }
    }
    if (!block->more) return;
    after = block->names.back();
  }
}

}  // namespace ctriage::source
