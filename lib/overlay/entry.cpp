// What one name in the UpperDir is, against what the composed lower layers have there. SEMANTICS.md has the
// table.
#include <algorithm>
#include <cstring>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/overlay/walk.h"

namespace ctriage::overlay {
namespace {

constexpr std::uint64_t kMaxLowerHashBytes = 256 << 20;  // an image's file that differs in size anyway
constexpr std::size_t kMaxLinkBytes = 12 << 20;          // memory of the table of hard links
constexpr std::string_view kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

}  // namespace

void Walk::gap(Impact impact, const char* artifact, std::string origin, Error error) {
  task_.gaps.add({impact, artifact, std::move(origin), std::move(error)});
}

Status Walk::take(Subject&& subject, bool top) {
  if (is_whiteout_device(subject.info)) return take_whiteout(subject);
  read_attributes(subject);
  if (subject.marks.whiteout) return take_whiteout(subject);
  second_look_.taken(subject.info);
  FileChange change;
  change.container = stack_.container_;
  change.path = Bytes(subject.path);
  change.after = make_state(subject.info, subject.xattrs);
  if (subject.info.is_symlink()) change.after->link_target = Bytes(subject.target);
  change.program = subject.info.is_regular() && (subject.info.mode & 0111) != 0;

  LowerHit hit = top ? lower_.root() : lower_.lookup(subject.name, subject.marks.redirect);
  if (hit.answer == LowerHit::Answer::unknown && !hit.inherited) {
    gap(Impact::degraded, "overlay.semantics", subject.path, hit.why);
  }
  if (auto described = describe_before(change, hit, subject.name); !described) return described;
  if (change.before && !top) {
    if (auto elsewhere = lower_.elsewhere(path_, subject.name, subject.marks.redirect))
      change.renamed_from = Bytes(*std::move(elsewhere));
  }

  if (!subject.info.is_directory() && subject.info.nlink > 1) {
    if (const Link* first = find_link(subject)) {
      change.hard_link_of = Bytes(first->path);
      change.program = first->program;
      if (first->hashed) change.after->sha256 = to_hex(first->sha256);
      if (!first->partial.empty()) change.partial = first->partial;
      SameBytes bytes = SameBytes::unknown;
      if (change.before && change.before->size_bytes != change.after->size_bytes) bytes = SameBytes::differ;
      if (change.before && change.before->sha256 && change.after->sha256) {
        bytes = *change.before->sha256 == *change.after->sha256 ? SameBytes::same : SameBytes::differ;
      }
      conclude(change, subject, hit, bytes);
      if (auto status = begin_and_end(change); !status) return status;
      return visitor_.change(std::move(change));
    }
  }
  if (auto status = subject.info.is_regular() ? take_regular(subject, std::move(change), hit)
                                              : take_other(subject, std::move(change), hit);
      !status) {
    return status;
  }
  if (!subject.info.is_directory()) return tell_hidden(subject, hit);
  go_into(subject, hit);
  return Done{};
}

void Walk::read_attributes(Subject& subject) {
  if (subject.held != nullptr && subject.held->saved) {
    subject.xattrs = subject.held->saved->xattrs;
    subject.target = subject.held->saved->target;
  } else if (subject.fd() >= 0) {
    auto xattrs = read_xattrs(subject.fd(), subject.path);
    if (xattrs) {
      subject.xattrs = *std::move(xattrs);
    } else {
      subject.why = xattrs.error();
      gap(Impact::lost, "overlay.xattrs", subject.path, std::move(xattrs).error());
    }
    if (subject.info.is_symlink()) {
      auto target = sys::readlinkat(subject.fd(), "");
      if (target) {
        subject.target = *std::move(target);
      } else {
        gap(Impact::lost, "overlay.entry", subject.path, std::move(target).error());
      }
    }
  }
  const auto left_out = std::count_if(subject.xattrs.begin(), subject.xattrs.end(),
                                      [](const Xattr& xattr) { return !xattr.left_out.empty(); });
  if (left_out > 0) {
    gap(Impact::lost, "overlay.xattrs", subject.path,
        {Errc::limit, "more than 384 KiB of extended attributes: of " + std::to_string(left_out) +
                          " values only size and SHA-256 are kept"});
  }
  apply(stack_.upper_owners_, subject.xattrs, subject.info);
  if (subject.why) return;
  if (auto marks = read_marks(subject.info, subject.xattrs, prefix())) {
    subject.marks = *std::move(marks);
    if (is_fuse() && subject.info.is_directory() && has_opaque_file(subject)) subject.marks.opaque = true;
  } else {
    subject.why = std::move(marks).error();
    gap(Impact::degraded, "overlay.semantics", subject.path, *subject.why);
  }
}

// Fills `before` and `layer` from what lies below, with the SHA-256 of a regular file. Errors: stopped,
// timeout.
Status Walk::describe_before(FileChange& change, LowerHit& hit, std::string_view name) {
  if (hit.answer != LowerHit::Answer::found) return Done{};
  change.layer = static_cast<std::uint32_t>(stack_.lowers_.size() - hit.lower);
  const Layer& layer = stack_.layers_[*change.layer - 1];
  change.layer_digest = layer.digest;
  change.layer_made_by = layer.made_by;
  FileState& before = change.before.emplace(make_state(hit.info, hit.xattrs));
  if (hit.info.is_symlink()) {
    auto target = sys::readlinkat(hit.pin.get(), "");
    if (target) {
      before.link_target = Bytes(*std::move(target));
    } else {
      hit.answer = LowerHit::Answer::unknown;
      hit.why = target.error();
      gap(Impact::degraded, "overlay.lower_file", change.path.raw, std::move(target).error());
    }
  }
  if (!hit.info.is_regular()) return Done{};
  if (hit.info.size_bytes == 0) {
    before.sha256 = kEmptySha256;
    return Done{};
  }
  const bool other_size = !change.after || change.after->type != FileType::regular ||
                          change.after->size_bytes != before.size_bytes;
  if (other_size && before.size_bytes > kMaxLowerHashBytes) return Done{};
  auto fd = lower_.open(hit, name);
  if (!fd) {
    gap(Impact::degraded, "overlay.lower_file", change.path.raw, std::move(fd).error());
    return Done{};
  }
  auto content = reader_.read(fd->get(), find_runs(fd->get(), hit.info, name), change.path.raw, nullptr);
  if (!content) return std::move(content).error();
  before.sha256 = content->sha256;
  if (content->failed) gap(Impact::degraded, "overlay.lower_file", change.path.raw, *content->failed);
  return Done{};
}

Status Walk::take_whiteout(const Subject& subject) {
  FileChange change;
  change.container = stack_.container_;
  change.path = Bytes(subject.path);
  change.kind = ChangeKind::deleted;
  LowerHit hit = lower_.lookup(subject.name);
  if (hit.answer == LowerHit::Answer::unknown && !hit.inherited) {
    gap(Impact::degraded, "overlay.semantics", subject.path, hit.why);
  }
  if (auto described = describe_before(change, hit, subject.name); !described) return described;
  if (auto status = begin_and_end(change); !status) return status;
  if (auto status = visitor_.change(std::move(change)); !status) return status;
  return tell_hidden(subject, hit);
}

// One that hides nothing says nothing: fuse-overlayfs leaves some.
Status Walk::take_whiteout_file(const std::string& name) {
  if (lower_.lookup(name).answer == LowerHit::Answer::absent) return Done{};
  Subject subject;
  subject.name = name;
  subject.path = path_ + "/" + name;
  return take_whiteout(subject);
}

// Where the bytes of a regular file are read from; its pin or what is held, or for a metacopy the layer
// below.
Result<UniqueFd> Walk::open_bytes(const Subject& subject, const LowerHit& hit) {
  if (!subject.marks.metacopy) {
    if (subject.own) return stack_.upper().open_pinned(subject.own.get(), subject.info, subject.path);
    return Error{Errc::vanished, "removed before it was read"};
  }
  if (hit.answer != LowerHit::Answer::found || !hit.info.is_regular())
    return Error{Errc::not_found, "the layers have no bytes for this metacopy"};
  auto fd = lower_.open(hit, subject.path);
  if (!fd) return fd;
  auto info = file_info(fd->get(), subject.path);
  if (!info) return std::move(info).error();
  if (info->size_bytes != subject.info.size_bytes)
    return Error{Errc::mismatch, "metacopy of " + std::to_string(subject.info.size_bytes) +
                                     " bytes, the layer has " + std::to_string(info->size_bytes)};
  return fd;
}

Status Walk::take_other(const Subject& subject, FileChange&& change, const LowerHit& hit) {
  conclude(change, subject, hit, SameBytes::same);
  if (subject.fd() < 0 && (subject.held == nullptr || !subject.held->saved)) {
    change.partial = "removed before it was read";
    change.kind = ChangeKind::unknown;
    return visitor_.change(std::move(change));
  }
  if (!subject.info.is_directory() && subject.info.nlink > 1) remember_link(subject, change);
  if (auto status = begin_and_end(change); !status) return status;
  return visitor_.change(std::move(change));
}

Status Walk::take_regular(const Subject& subject, FileChange&& change, LowerHit& hit) {
  FileState& after = *change.after;
  UniqueFd opened;
  int fd =
      subject.held != nullptr && subject.held->fd && !subject.marks.metacopy ? subject.held->fd.get() : -1;
  if (fd < 0) {
    auto bytes = open_bytes(subject, hit);
    if (!bytes) {
      const Error& why = bytes.error();
      change.partial = why.code == Errc::vanished ? why.what : "could not be opened";
      // That it is gone was told when it was met.
      if (why.code != Errc::vanished) gap(Impact::lost, "overlay.file", subject.path, why);
      const bool other_size = change.before && change.before->size_bytes != after.size_bytes;
      conclude(change, subject, hit, other_size ? SameBytes::differ : SameBytes::unknown);
      return visitor_.change(std::move(change));
    }
    opened = *std::move(bytes);
    fd = opened.get();
  }

  const Runs runs = find_runs(fd, subject.info, subject.path);
  conclude(change, subject, hit, SameBytes::unknown);  // for the layer's header; the bytes come after it
  if (auto status = visitor_.begin(change, runs.runs); !status) return status;
  auto content = reader_.read(
      fd, runs, subject.path,
      [this](std::uint64_t offset, std::span<const std::byte> bytes,
             const std::shared_ptr<LateSha256>& hash) { return visitor_.data(offset, bytes, hash); });
  if (!content) return std::move(content).error();
  if (auto status = visitor_.end(); !status) return status;

  after.sha256 = content->sha256;
  change.partial = content->not_hashed;
  if (runs.cut) {
    gap(Impact::lost, "overlay.file", subject.path, {Errc::limit, *runs.cut});
  } else if (content->failed) {
    gap(Impact::lost, "overlay.file", subject.path,
        {content->failed->code, "cut: " + content->failed->what, content->failed->number});
  } else if (content->not_hashed) {
    gap(Impact::note, "overlay.file_hash", subject.path, {Errc::limit, *content->not_hashed});
  }
  if (!content->failed && !subject.marks.metacopy) check_content(subject, fd, change);
  change.program = change.program || looks_like_program(content->magic);

  SameBytes bytes = SameBytes::unknown;
  if (change.before && change.before->type == FileType::regular) {
    if (change.before->size_bytes != after.size_bytes) {
      bytes = SameBytes::differ;
    } else if (change.before->sha256 && after.sha256) {
      bytes = *change.before->sha256 == *after.sha256 ? SameBytes::same : SameBytes::differ;
    }
  }
  conclude(change, subject, hit, bytes);
  if (subject.info.nlink > 1) remember_link(subject, change);
  return visitor_.change(std::move(change));
}

// Is what was read what was there when it was first seen? A file can be cut, extended again with zeros and
// have its mtime set back (utimensat(2)); its ctime and the room it takes tell.
void Walk::check_content(const Subject& subject, int fd, FileChange& change) {
  const FileInfo& first = subject.info;
  const auto lost = [&](Errc code, std::string what) {
    change.after->sha256.reset();
    if (!change.partial) change.partial = what;
    gap(Impact::lost, "overlay.file", subject.path, {code, std::move(what)});
  };
  const auto note = [&](std::string what) {
    gap(Impact::note, "overlay.file", subject.path, {Errc::changed, std::move(what)});
  };
  auto now = file_info(fd, subject.path);
  if (!now) {
    lost(now.error().code, "not known whether it changed while it was read: " + now.error().what);
  } else if (now->size_bytes < first.size_bytes) {
    lost(Errc::truncated, "cut to " + std::to_string(now->size_bytes) + " of " +
                              std::to_string(first.size_bytes) + " bytes while it was read");
  } else if (now->ctime != first.ctime &&
             // Room beyond the end is given back when a file is closed, XFS.
             now->allocated_bytes < std::min(first.allocated_bytes, first.size_bytes)) {
    lost(Errc::changed, "emptied while it was read: " + std::to_string(now->allocated_bytes) + " of " +
                            std::to_string(first.allocated_bytes) + " bytes are still stored");
  } else if (now->size_bytes > first.size_bytes) {
    note("grew while it was read: taken to the " + std::to_string(first.size_bytes) + " bytes first seen");
  } else if (now->mtime != first.mtime) {
    note("written to while it was read");
  } else if (now->ctime != first.ctime && now->nlink >= first.nlink) {  // fewer names: it was removed
    note("its inode changed while it was read");
  }
}

void Walk::conclude(FileChange& change, const Subject& subject, const LowerHit& hit, SameBytes bytes) {
  if (subject.why || hit.answer == LowerHit::Answer::unknown) {
    change.kind = ChangeKind::unknown;
  } else if (hit.answer == LowerHit::Answer::found) {
    decide(change, bytes, subject.marks.opaque, prefix());
  } else if (is_stub(change, subject)) {
    change.kind = ChangeKind::runtime_stub;
    change.explained = "runtime stub";
  } else {
    change.kind = ChangeKind::added;
  }
}

// Made by the runtime to mount over: nothing in it. A directory may hold other such places only.
bool Walk::is_stub(const FileChange& change, const Subject& subject) {
  if (!stubs_.contains(change.path.raw)) return false;
  if (subject.info.is_regular()) return subject.info.size_bytes == 0;
  if (subject.info.is_char_device()) return change.path.raw == "/dev/console";
  if (!subject.info.is_directory()) return false;
  const auto only_stubs = [&](const std::string& name) {
    return stubs_.contains(change.path.raw + "/" + name);
  };
  if (subject.held != nullptr && held_ != nullptr) {
    for (const HeldEntry& child : held_->children(subject.held->number)) {
      if (!only_stubs(child.name)) return false;
    }
    if (!subject.live) return subject.held->listed;
  }
  auto here = upper_.here();
  if (!here) return false;
  auto dir = (*here)->descend(subject.name);
  if (!dir) return false;
  auto block = list_names(*dir, "", 64 << 10);
  return block && !block->more && std::all_of(block->names.begin(), block->names.end(), only_stubs);
}

Status Walk::begin_and_end(const FileChange& change) {
  if (auto status = visitor_.begin(change, {}); !status) return status;
  return visitor_.end();
}

Walk::LinkKey Walk::link_key(const Subject& subject) {
  const FileInfo& info = subject.info;
  return {info.inode, info.device(), info.btime};
}

Walk::Link* Walk::find_link(const Subject& subject) {
  const auto at = links_.find(link_key(subject));
  if (at == links_.end()) return nullptr;
  const bool both_held = at->second.held && subject.held != nullptr && subject.held->fd;
  return subject.info.btime || both_held ? &at->second : nullptr;
}

void Walk::remember_link(const Subject& subject, const FileChange& change) {
  if (subject.replaced) return;  // another file gets its path in the layer
  const LinkKey key = link_key(subject);
  const std::size_t size = sizeof(Link) + sizeof(LinkKey) + 64 + subject.path.size();
  if (links_.contains(key)) return;
  if (links_.size() >= kMaxHardLinks || link_bytes_ + size > kMaxLinkBytes) {
    if (!std::exchange(links_full_, true)) {
      gap(Impact::note, "overlay.hard_links", subject.path,
          {Errc::limit,
           "more hard links than are remembered: such files are taken once per name from here on"});
    }
    return;
  }
  link_bytes_ += size;
  Link link;
  link.path = subject.path;
  link.held = subject.held != nullptr && subject.held->fd;
  link.program = change.program;
  link.hashed = change.after->sha256 && parse_digest(*change.after->sha256, link.sha256);
  link.partial = change.partial.value_or("");
  links_.emplace(key, std::move(link));
}

}  // namespace ctriage::overlay
