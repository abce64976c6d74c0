#include "cmd/pack_redacted.h"

#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/redact/copy.h"
#include "lib/report/hands.h"

namespace ctriage {

Exit refuse_to_pack(Io& io, const std::string& name, const bundle::Report& report) {
  for (const std::string& problem : report.problems)
    io.err("ctriage: " + escape_terminal(name + ": " + problem) + "\n");
  const bool cut = report.verdict == bundle::Verdict::cut;
  if (cut) io.err("ctriage: " + escape_terminal(name) + ": cut: it ends early\n");
  io.err("nothing was written\n");
  return cut ? Exit::lost : Exit::failed;
}

Exit pack_redacted(const bundle::Stored& stored, const Root& into, const std::string& folder,
                   const Sealing& sealing, const Common& common, Task& task, Io& io) {
  auto bytes = stored.bytes(task);
  if (!bytes) return fail(io, bytes.error());
  const auto report = bundle::verify(*bytes->source, std::optional<Digest>(), task);
  if (!report) return fail(io, report.error());
  if (report->verdict != bundle::Verdict::whole) return refuse_to_pack(io, stored.whole(), *report);
  const Digest parent = *report->manifest_digest;
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
  auto copied = redact::copy_redacted(**reader, parent, **writer, task);
  if (!copied) {
    (void)sys::unlinkat(into.fd(), (*writer)->part_name()).has_value();  // it is a copy, and half of one
    return fail(io, copied.error());
  }
  const bundle::Sealed& sealed = copied->sealed;
  if (const std::string& why = sealed.late_why.empty() ? sealed.custody_why : sealed.late_why; !why.empty()) {
    (void)sys::unlinkat(into.fd(), sealed.path).has_value();
    return fail(io, Error{Errc::io, sealed.path + ": not whole, and removed: " + why});
  }
  PackResult result;
  result.path = Bytes(name_in(folder, sealed.path));
  result.size_bytes = sealed.size_bytes;
  result.manifest_sha256 = to_hex(sealed.manifest_digest);
  result.verified = true;
  result.sealing = Bytes(sealing.told);
  result.redacted_from = to_hex(parent);
  result.values_hidden = copied->values;
  result.places_hidden = copied->hidden;
  result.streams_left_out = copied->left_out;
  if (!sealed.unsigned_why.empty()) result.unsigned_why = Bytes(sealed.unsigned_why);
  auto told = io.out(common.output_format() == report::Format::text ? report::pack_text(result)
                                                                    : report::pack_json(result));
  if (!told) return fail(io, told.error());
  return sealed.unsigned_why.empty() ? Exit::complete : Exit::lost;
}

}  // namespace ctriage
