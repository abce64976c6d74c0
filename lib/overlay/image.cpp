// What only the image has: names that something in the UpperDir deleted without an entry for each of them,
// and names below a directory that was renamed, which lie in the layers under the old one.
#include "lib/core/limits.h"
#include "lib/overlay/walk.h"

namespace ctriage::overlay {

// A name of the directory we are in, and all below it.
Status Walk::tell_image(const std::string& name, ImageOnly state, const std::string& hider) {
  auto inside = tell_one(name, path_, state, hider);
  if (!inside) return std::move(inside).error();
  return *inside ? tell_below(path_ + "/" + name, state, hider) : Status(Done{});
}

// What a whiteout or a file in the place of a directory hides.
Status Walk::tell_hidden(const Subject& subject, const LowerHit& hit) {
  if (hit.answer != LowerHit::Answer::found || !hit.info.is_directory()) return Done{};
  if (auto met = lower_.enter(subject.name, {}, path_))
    gap(Impact::degraded, "overlay.semantics", subject.path, *std::move(met));
  return tell_below(subject.path, ImageOnly::deleted, subject.path);
}

// True when it is a directory, which the view has entered then.
Result<bool> Walk::tell_one(const std::string& name, const std::string& within, ImageOnly state,
                            const std::string& hider) {
  LowerHit hit = lower_.lookup(name);
  if (hit.answer == LowerHit::Answer::absent) return false;
  FileChange change;
  change.container = stack_.container_;
  change.path = Bytes(within + "/" + name);
  change.kind = state == ImageOnly::deleted ? ChangeKind::deleted : ChangeKind::renamed;
  if (state == ImageOnly::deleted) {
    change.hidden_by = Bytes(hider);
  } else if (auto elsewhere = lower_.elsewhere(within, name)) {
    change.renamed_from = Bytes(*std::move(elsewhere));
  }
  if (hit.answer == LowerHit::Answer::unknown) {
    if (!hit.inherited) gap(Impact::degraded, "overlay.semantics", change.path.raw, hit.why);
    change.kind = ChangeKind::unknown;
  }
  if (auto described = describe_before(change, hit, name); !described) return std::move(described).error();
  if (state == ImageOnly::renamed) {
    change.after = change.before;
    change.program = hit.info.is_regular() && (hit.info.mode & 0111) != 0;
  }
  const bool directory = hit.answer == LowerHit::Answer::found && hit.info.is_directory();
  const std::string path = change.path.raw;
  if (auto told = visitor_.change(std::move(change)); !told) return std::move(told).error();
  if (!directory) return false;
  if (auto met = lower_.enter(name, {}, within))
    gap(Impact::degraded, "overlay.semantics", path, *std::move(met));
  return true;
}

// All names below `within`, which the view stands in, and leaves.
Status Walk::tell_below(std::string within, ImageOnly state, const std::string& hider) {
  struct Listing {
    LowerNames names;
    std::size_t path_size = 0;
  };
  std::vector<Listing> listings(1);
  listings.back().path_size = within.size();
  while (!listings.empty()) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    Listing& here = listings.back();
    within.resize(here.path_size);
    auto name = here.names.peek(lower_);
    const bool listed = name.has_value();
    if (!listed) gap(Impact::degraded, "overlay.lower", within, name.error());
    if (!listed || *name == nullptr) {
      lower_.leave();
      listings.pop_back();
      continue;
    }
    const std::string taken = **name;
    here.names.take();
    auto inside = tell_one(taken, within, state, hider);
    if (!inside) return std::move(inside).error();
    if (!*inside) continue;
    within += "/" + taken;
    if (frames_.size() + listings.size() >= kMaxTreeDepth) {
      gap(Impact::lost, "overlay.lower", within, {Errc::limit, "deeper than we follow"});
      lower_.leave();
      continue;
    }
    here.names.let_go();
    listings.emplace_back();
    listings.back().path_size = within.size();
  }
  return Done{};
}

}  // namespace ctriage::overlay
