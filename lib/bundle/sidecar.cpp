#include "lib/bundle/sidecar.h"

#include <fcntl.h>

#include <cerrno>

#include "lib/bundle/writer.h"
#include "lib/core/new_file.h"
#include "lib/core/sys.h"
#include "lib/core/sys_lock.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::int64_t kLockNs = 10'000'000'000;
constexpr std::int64_t kLockStepNs = 20'000'000;
constexpr std::size_t kCopyBytes = 128 << 10;
constexpr std::size_t kMaxTold = 20;  // problems of one sidecar

std::string attach_directory(std::string_view stem) { return std::string(stem) + ".attach"; }

void tell(Sidecar& sidecar, std::string what) {
  if (sidecar.problems.size() < kMaxTold) sidecar.problems.push_back(std::move(what));
}

void check_first(Sidecar& sidecar, const Stored::Name& name) {
  if (sidecar.hands.empty()) return;
  const Hand& first = sidecar.hands.front();
  if (first.of != name.of) {
    tell(sidecar, "record 0 is chained to the SHA-256 of " + escape_terminal(first.of.substr(0, 40)) +
                      ", this bundle is known by that of " + name.of);
  } else if (first.previous != name.digest) {
    tell(sidecar,
         "record 0 is of another bundle: its " + name.of + " has the SHA-256 " + to_hex(first.previous));
  }
}

Status check_attached(const Root& beside, const Attached& attached, const std::string& folder,
                      const Task& task) {
  if (!attached.name.starts_with(folder + "/"))
    return Error{Errc::mismatch, attached.name + " is not in " + folder};
  auto file = beside.open_beneath(attached.name);
  if (!file) return std::move(file).error();
  FdSource in(*std::move(file), attached.name, task);
  auto digest = hash_all(in);
  if (!digest) return std::move(digest).error();
  if (*digest != attached.digest) return Error{Errc::mismatch, attached.name + " is not what was attached"};
  return Done{};
}

Result<UniqueFd> lock(const Root& beside, const std::string& name, const Task& task) {
  auto file = sys::openat2(beside.fd(), name,
                           O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0, 0600);
  if (!file) return file;
  auto info = file_info(file->get(), name);
  if (!info) return std::move(info).error();
  if (!info->is_regular()) return Error{Errc::unsupported, name + ": not a regular file"};
  const std::int64_t until = sys::boottime_ns() + kLockNs;
  while (true) {
    auto taken = sys::try_lock(file->get(), name);
    if (!taken) return std::move(taken).error();
    if (*taken) return file;
    if (auto may = task.check(); !may) return std::move(may).error();
    if (sys::boottime_ns() > until) return Error{Errc::timeout, name + ": another process writes it"};
    sys::sleep_ns(kLockStepNs);
  }
}

// The copy is whole and on the disk before a record speaks of it.
Result<Attached> attach(const Root& beside, const std::string& stem, const std::string& path,
                        const Task& task) {
  auto file = sys::openat2(AT_FDCWD, path, O_RDONLY | O_NOCTTY | O_NONBLOCK);
  if (!file) return std::move(file).error();
  auto info = file_info(file->get(), path);
  if (!info) return std::move(info).error();
  if (!info->is_regular()) return Error{Errc::unsupported, path + ": not a regular file"};
  const std::string folder = attach_directory(stem);
  if (auto made = sys::mkdirat(beside.fd(), folder, 0700); !made && made.error().number != EEXIST)
    return std::move(made).error();
  auto into = beside.descend(folder);
  if (!into) return std::move(into).error();
  const std::string name = member_name(path.substr(path.rfind('/') + 1));
  auto copy = NewFile::create(*into, name, info->size_bytes);
  if (!copy) return std::move(copy).error();
  FdSource in(*std::move(file), path, task);
  std::vector<std::byte> buffer(kCopyBytes);
  Sha256 hash;
  Status status = Done{};
  while (status) {
    const auto got = in.read(buffer);
    if (!got) status = got.error();
    if (!got || *got == 0) break;
    hash.update(std::span(buffer).first(*got));
    status = copy->write(std::span(buffer).first(*got));
  }
  if (status) status = copy->seal();
  if (!status) {
    copy->remove();
    return std::move(status).error();
  }
  return Attached{folder + "/" + name, hash.size_bytes(), hash.digest()};
}

}  // namespace

std::string sidecar_name(std::string_view stem) { return std::string(stem) + ".custody.jsonl"; }

Result<Sidecar> read_sidecar(ByteSource& in) {
  Sidecar sidecar;
  LineReader lines(in, kMaxHandLine);
  std::string_view line;
  for (std::size_t number = 0;; ++number) {
    auto more = lines.next(line);
    const std::string at = "record " + std::to_string(number);
    if (!more && more.error().code == Errc::limit) {
      tell(sidecar, at + " is over 64 KiB");
      continue;
    }
    if (!more) return std::move(more).error();
    if (!*more) break;
    if (number == kMaxHands) return Error{Errc::limit, "more than 100,000 records"};
    auto hand = parse_hand(line);
    if (!hand) {
      tell(sidecar, at + " " + hand.error().what);
    } else {
      if (hand->seq != number) tell(sidecar, at + " has the number " + std::to_string(hand->seq));
      if (number > 0 && hand->previous != sidecar.last)
        tell(sidecar, at + " does not follow the one before it");
      if (hand->of.empty() != (number > 0)) tell(sidecar, at + ": only the first says what it is chained to");
      sidecar.hands.push_back(*std::move(hand));
    }
    const std::string whole = std::string(line) + "\n";
    sidecar.last = sha256(std::as_bytes(std::span(whole)));
  }
  return sidecar;
}

Result<std::optional<Sidecar>> check_sidecar(const Root& beside, const std::string& stem,
                                             const Stored::Name& name, const Task& task) {
  auto file = beside.open_beneath(sidecar_name(stem));
  if (!file && file.error().code == Errc::not_found) return std::optional<Sidecar>();
  if (!file) return std::move(file).error();
  auto info = file_info(file->get(), sidecar_name(stem));
  if (!info) return std::move(info).error();
  std::byte last{'\n'};
  if (info->size_bytes > 0) {
    auto got = sys::pread_full(file->get(), std::span(&last, 1), info->size_bytes - 1, sidecar_name(stem));
    if (!got) return std::move(got).error();
  }
  FdSource in(*std::move(file), sidecar_name(stem), task);
  auto sidecar = read_sidecar(in);
  if (!sidecar) return std::move(sidecar).error();
  if (last != std::byte{'\n'}) tell(*sidecar, "the last record has no line end");
  check_first(*sidecar, name);
  for (const Hand& hand : sidecar->hands) {
    if (!hand.attached) continue;
    if (auto same = check_attached(beside, *hand.attached, attach_directory(stem), task); !same)
      tell(*sidecar, "record " + std::to_string(hand.seq) + ": " + same.error().what);
  }
  return std::optional(*std::move(sidecar));
}

Result<Hand> add_hand(const Root& beside, const std::string& stem, const Stored::Name& name,
                      const NewHand& wanted, const Task& task) {
  for (const std::string* text : {&wanted.by, &wanted.action, &wanted.note}) {
    if (text->size() > kMaxHandText) return Error{Errc::limit, "a text of a record has 16 KiB at most"};
  }
  const std::string file_name = sidecar_name(stem);
  auto file = lock(beside, file_name, task);
  if (!file) return std::move(file).error();
  auto before = check_sidecar(beside, stem, name, task);
  if (!before) return std::move(before).error();
  if (!*before) return Error{Errc::vanished, file_name + " is gone"};
  const Sidecar& sidecar = **before;
  if (!sidecar.problems.empty())
    return Error{Errc::mismatch, file_name + ": " + sidecar.problems.front() + "; nothing was added"};
  Hand hand;
  hand.seq = sidecar.hands.size();
  hand.at = to_rfc3339(task.now());
  hand.by = wanted.by;
  hand.action = wanted.action;
  hand.note = wanted.note;
  if (hand.seq == 0) hand.of = name.of;
  hand.previous = hand.seq == 0 ? name.digest : sidecar.last;
  if (!wanted.attach.empty()) {
    auto attached = attach(beside, stem, wanted.attach, task);
    if (!attached) return std::move(attached).error().within("--attach");
    hand.attached = *std::move(attached);
  }
  const std::string line = hand_line(hand);
  if (line.size() > kMaxHandLine) return Error{Errc::limit, "the record would be over 64 KiB"};
  if (auto written = sys::write_all(file->get(), line, file_name); !written)
    return std::move(written).error();
  if (auto synced = sys::fsync(file->get(), file_name); !synced) return std::move(synced).error();
  if (auto synced = sys::fsync_directory(beside.fd(), beside.name()); !synced)
    return std::move(synced).error();
  return hand;
}

}  // namespace ctriage::bundle
