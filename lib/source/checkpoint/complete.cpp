// How complete a checkpoint is, and why: for covers(), for the gaps, for people.
#include <algorithm>

#include "lib/core/text.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/checkpoint/tree.h"

namespace ctriage::source {
namespace {

using Level = Coverage::Level;

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
  return with_commas(count) + " " + std::string(count == 1 ? one : many);
}

// Whether there is an image whose name begins so.
bool has_image(const CheckpointPart& part, std::string_view prefix) {
  const std::string first = part.image_dir + std::string(prefix);
  const auto at = part.images->files().lower_bound(first);
  return at != part.images->files().end() && at->first.starts_with(first);
}

}  // namespace

// What this archive cannot have, and why.
void CheckpointSnapshot::tell_completeness(const Held& held, Task& task) const {
  const CheckpointPart& part = held.part;
  const auto tell = [&](Impact impact, const char* artifact, Errc code, const char* why) {
    task.gaps.add({impact, artifact, part.container.name.raw, Error{code, why}});
  };
  if (part.base == nullptr && part.form == CheckpointForm::images)
    tell(Impact::note, "checkpoint.record", Errc::not_found,
         "CRIU images alone: no specification, image or name");
  if (part.layer_store == nullptr) {
    tell(Impact::note, "checkpoint.changes", Errc::not_found,
         "no changes of the root file system in the archive");
  } else if (leaves_out_changes(part.form)) {
    tell(Impact::degraded, "checkpoint.changes", Errc::not_found,
         "Podman and CRI-O leave changed files of the image out of rootfs-diff.tar");
  }
  if (!held.tasks) return;
  tell(Impact::note, "checkpoint.memory", Errc::unsupported,
       "unchanged pages of programs and libraries are never in a checkpoint");
  if (held.tasks->tcp_closed) {
    tell(Impact::degraded, "checkpoint.sockets", Errc::not_found,
         "connections were closed for the dump (tcp-close): their queues are not there");
  }
  if (!has_image(part, "netns-") && !has_image(part, "netdev-")) {
    tell(Impact::note, "checkpoint.network", Errc::not_found,
         "the network namespace is not the container's own: interfaces and routes are not in the archive");
  }
  const bool has_log = part.base != nullptr && part.base->find(part.base_dir + "dump.log") != nullptr;
  if (!has_log && part.images->find(part.image_dir + "dump.log") == nullptr)
    tell(Impact::note, "checkpoint.log", Errc::not_found,
         "no dump.log: what CRIU could not dump is not known");
  const auto dead = std::ranges::count(held.tasks->processes, std::string("Z"), &Process::state);
  if (dead > 0)
    tell(Impact::note, "checkpoint.processes", Errc::not_found, "zombies have no memory and no open files");
}

Coverage CheckpointSnapshot::covers(Facet facet, const Held& held) const {
  const CheckpointPart& part = held.part;
  const bool damaged = held.tasks && held.tasks->lost;
  const auto of_images = [&](std::string note = "") -> Coverage {
    if (!held.tasks) return {Level::none, "no CRIU images in the archive"};
    if (damaged) return {Level::part, "images are missing or damaged"};
    return {Level::whole, std::move(note)};
  };
  switch (facet) {
    case Facet::containers:
      return {Level::whole, part.base == nullptr && part.form == CheckpointForm::images
                                ? "images alone: no specification"
                                : ""};
    case Facet::processes:
      return of_images("pids are the container's; CRIU keeps no start times");
    case Facet::descriptors: {
      const std::size_t ghosts = held.tasks ? held.tasks->deleted_names.size() : 0;
      return of_images(ghosts == 0 ? "" : std::to_string(ghosts) + " deleted with their content");
    }
    case Facet::threads:
    case Facet::mounts:
      return of_images();
    case Facet::mappings:
      return of_images("unchanged pages of files are not in it");
    case Facet::sockets:
      if (held.tasks && held.tasks->tcp_closed && !damaged)
        return {Level::part, "connections were closed for the dump"};
      return of_images();
    case Facet::changes:
      if (part.layer_store == nullptr) {
        if (part.base != nullptr && part.base->find(part.base_dir + std::string(kDeletedFiles)) != nullptr)
          return {Level::part, "only the names of deleted files are in the archive"};
        return {Level::none, "not in the archive"};
      }
      if (leaves_out_changes(part.form))
        return {Level::part, "the engine leaves out changed files of the image"};
      return {Level::whole, ""};
    case Facet::logs: {
      const bool found =
          part.base != nullptr && std::ranges::any_of(kLogNames, [&](std::string_view name) {
            return name != "dump.log" && part.base->find(part.base_dir + std::string(name)) != nullptr;
          });
      if (!found) return {Level::none, "no log of the container in the archive"};
      return {Level::whole, ""};
    }
    case Facet::layers:
      return {Level::none, "the image is not in a checkpoint"};
    case Facet::findings:
    case Facet::gaps:
      break;
  }
  return {};
}

// Of all its containers together.
Coverage CheckpointSnapshot::memory_of_all() const {
  std::uint64_t pages = 0;
  std::size_t files = 0;
  std::string file;
  bool lost = false;
  bool without = false;
  for (const Held& held : held_) {
    without = without || !held.tasks;
    if (!held.tasks) continue;
    pages += held.tasks->present_pages;
    files += held.tasks->pages_files.size();
    if (!held.tasks->pages_files.empty()) file = *held.tasks->pages_files.begin();
    lost = lost || held.tasks->pages_lost;
  }
  if (pages == 0 && without) return {Level::none, "no CRIU images in the archive"};
  if (without) return {Level::part, "of some containers there are no CRIU images"};
  if (lost) return {Level::part, with_commas(pages) + " pages are told of, and not all of them can be read"};
  const std::string where =
      files == 1 ? "size of " + file : "sizes of " + with_commas(files) + " pages files";
  return {Level::whole, counted(pages, "page", "pages") + (files == 0 ? "" : " = " + where)};
}

Coverage CheckpointSnapshot::deleted_of_all() const {
  std::uint64_t size = 0;
  std::size_t ghosts = 0;
  std::size_t nameless = 0;
  bool any = false;
  for (const Held& held : held_) {
    if (!held.tasks) continue;
    any = true;
    nameless += held.tasks->nameless_files;
    for (const auto& [image, name] : held.tasks->ghost_names()) {
      const StoredFile* file = held.part.images->find(held.part.image_dir + image);
      if (file == nullptr) {
        ++nameless;
      } else {
        ++ghosts;
        size += file->size_bytes;
      }
    }
  }
  if (!any) return {Level::none, "no CRIU images in the archive"};
  const std::string found = counted(ghosts, "ghost file", "ghost files") + ", " + human_size(size);
  if (nameless > 0)
    return {Level::part, found + "; the content of " + with_commas(nameless) + " more is not there"};
  return {Level::whole, ghosts == 0 ? "none was open" : found};
}

Coverage CheckpointSnapshot::network_of_all() const {
  Coverage coverage = covers(Facet::sockets);
  if (coverage.level != Level::whole) return coverage;
  bool streams = false;
  bool outside = false;
  for (const Held& held : held_) {
    if (!held.tasks) continue;
    streams = streams || has_image(held.part, "tcp-stream-");
    outside = outside || (!has_image(held.part, "netns-") && !has_image(held.part, "netdev-"));
  }
  coverage.why = streams ? "tcp queues present" : "no tcp connection was open";
  if (outside) coverage.why += "; interfaces and routes are not in the archive";
  return coverage;
}

Coverage CheckpointSnapshot::logs_of_all() const {
  Coverage coverage = covers(Facet::logs);
  std::uint64_t size = 0;
  std::size_t logs = 0;
  bool dump = false;
  for (const Held& held : held_) {
    const CheckpointPart& part = held.part;
    if (part.images != nullptr && part.images->find(part.image_dir + "dump.log") != nullptr) dump = true;
    if (part.base == nullptr) continue;
    for (const std::string_view name : kLogNames) {
      const StoredFile* file = part.base->find(part.base_dir + std::string(name));
      if (file == nullptr) continue;
      if (name == "dump.log") {
        dump = true;
        continue;
      }
      ++logs;
      size += file->size_bytes;
    }
  }
  if (logs > 0) coverage.why = "container log " + human_size(size);
  coverage.why += (coverage.why.empty() ? "" : ", ") + std::string(dump ? "dump.log" : "no dump.log");
  return coverage;
}

// The rows of the overview; then whatever else is not whole.
std::vector<CompletenessRow> CheckpointSnapshot::completeness() const {
  std::vector<CompletenessRow> rows{
      {"memory", memory_of_all()},
      {"program text", {Level::none, "clean text is never in a checkpoint"}},
      {"changed files", covers(Facet::changes)},
      {"deleted files", deleted_of_all()},
      {"network", network_of_all()},
      {"logs", logs_of_all()},
  };
  for (const Facet facet :
       {Facet::processes, Facet::threads, Facet::mappings, Facet::descriptors, Facet::mounts}) {
    Coverage coverage = covers(facet);
    if (coverage.level != Level::whole) rows.push_back({std::string(to_text(facet)), std::move(coverage)});
  }
  return rows;
}

}  // namespace ctriage::source
