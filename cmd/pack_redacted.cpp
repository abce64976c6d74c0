#include "cmd/pack_redacted.h"

#include "lib/bundle/verify.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/redact/copy.h"
#include "lib/report/hands.h"

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
  const bool cut = report->verdict == bundle::Verdict::cut;
  return Error{cut ? Errc::truncated : Errc::mismatch,
               stored.whole() + (cut ? ": is cut" : ": is not whole") + ": no copy is made of it"};
}

}  // namespace

Exit pack_redacted(const bundle::Stored& stored, const Root& into, const std::string& folder,
                   const Sealing& sealing, const Common& common, Task& task, Io& io) {
  const auto parent = parent_of(stored, task, io);
  if (!parent) {
    const Exit failed = fail(io, parent.error());
    return parent.error().code == Errc::truncated ? Exit::lost : failed;
  }
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
  PackResult result;
  result.path = Bytes(name_in(folder, sealed.path));
  result.size_bytes = sealed.size_bytes;
  result.manifest_sha256 = to_hex(sealed.manifest_digest);
  result.verified = true;
  result.sealing = Bytes(sealing.told);
  result.redacted_from = to_hex(*parent);
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
