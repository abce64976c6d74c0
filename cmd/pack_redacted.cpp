#include "cmd/pack_redacted.h"

#include "lib/bundle/verify.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/redact/copy.h"

namespace ctriage {
namespace {

// Its manifest's digest, when it is whole.
Result<Digest> parent_of(const bundle::Stored& stored, Task& task, Io& io) {
  auto bytes = stored.bytes(task);
  if (!bytes) return std::move(bytes).error();
  auto report = bundle::verify(*bytes->source, std::optional<Digest>(), task);
  if (!report) return std::move(report).error();
  if (report->verdict == bundle::Verdict::whole) return *report->manifest_digest;
  for (const std::string& problem : report->problems)
    io.err("ctriage: " + escape_terminal(stored.whole() + ": " + problem) + "\n");
  return Error{Errc::mismatch, stored.whole() + ": is not whole: no copy is made of it"};
}

}  // namespace

Exit pack_redacted(const bundle::Stored& stored, const Root& into, const std::string& folder,
                   const Sealing& sealing, Task& task, Io& io) {
  const auto parent = parent_of(stored, task, io);
  if (!parent) return fail(io, parent.error());
  auto reader = stored.reader(task);
  if (!reader) return fail(io, reader.error());
  const auto started = redact::started_at(**reader, task);
  if (!started) return fail(io, started.error());
  bundle::WriterOptions options;
  options.started_at = *started;
  options.workers = sys::cpu_count();
  options.tool = "ctriage " + std::string(kVersion);
  options.recipients = sealing.recipients;
  options.signer = sealing.signer;
  auto writer = bundle::Writer::create(into, stored.stem() + "-redacted", options, task);
  if (!writer) return fail(io, writer.error());
  auto copied = redact::copy_redacted(**reader, *parent, **writer, task);
  if (!copied) {
    (void)sys::unlinkat(into.fd(), (*writer)->part_name()).has_value();  // it is a copy, and half of one
    return fail(io, copied.error());
  }
  const bundle::Sealed& sealed = copied->sealed;
  std::string text = escape_terminal(folder + (folder.ends_with('/') ? "" : "/") + sealed.path) + "\n" +
                     to_hex(sealed.manifest_digest) + "  manifest.json\n" + "redacted copy of " +
                     to_hex(*parent) + ": " + counted(copied->values, "value", "values") + " hidden in " +
                     counted(copied->hidden, "place", "places") + ", " +
                     counted(copied->left_out, "stream", "streams") + " of bytes left out\n";
  text += (sealing.told.empty() ? "NOT ENCRYPTED" : sealing.told) + "\n";
  if (!sealed.unsigned_why.empty()) text += "NOT SIGNED: " + escape_terminal(sealed.unsigned_why) + "\n";
  auto told = io.out(text);
  if (!told) return fail(io, told.error());
  return sealed.unsigned_why.empty() ? Exit::complete : Exit::lost;
}

}  // namespace ctriage
