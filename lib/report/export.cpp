#include "lib/report/export.h"

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {

std::string export_json(const ExportResult& result, Format format) {
  if (format == Format::json) return document(result);
  std::string lines;
  for (const ExportDestination& destination : result.destinations) lines += document(destination);
  return lines;
}

std::string collect_sent_json(const CollectResult& result,
                              const std::vector<ExportDestination>& destinations) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.member_value("schema", schema_of<CollectResult>());
  writer.members(result);
  writer.member_value("destinations", destinations);
  writer.end_object();
  return out += '\n';
}

std::string destination_text(const ExportDestination& destination) {
  std::string text = destination.place.raw + ": ";
  if (destination.why) {
    text += "NOT COMPLETE: " + destination.why->raw;
    if (destination.volumes > 0)
      text += "; " + counted(destination.volumes, "volume is", "volumes are") + " there";
    return text;
  }
  if (!destination.complete) {  // --dry-run; these two are asked with the first volume only
    const bool asked =
        !destination.place.raw.starts_with("https:") && !destination.place.raw.starts_with("file:");
    return text + (asked ? "takes our login; nothing was sent (--dry-run)"
                         : "nothing was sent (--dry-run), and whether it takes anything was not tried");
  }
  text += "complete, " + counted(destination.volumes, "volume", "volumes");
  if (destination.volumes_before == destination.volumes) {
    text += ", all were there before";
  } else {
    if (destination.volumes_before > 0)
      text += " (" + with_commas(destination.volumes_before) + " were there before)";
    if (destination.took_ns > 0)
      text += ", " + human_size(destination.size_bytes) + " in " + seconds_text(destination.took_ns);
  }
  switch (destination.proof) {
    case Proof::none:
      return text + ", not proved";
    case Proof::size:
      return text + ", as many bytes are there";
    case Proof::hash:
      return text + ", the far end's SHA-256 is ours";
    case Proof::reread:
      return text + ", read back: the same bytes";
  }
  return text;
}

std::string export_text(const ExportResult& result, std::string_view again, const Style& style) {
  std::string out =
      labelled("bundle", safe(result.bundle.raw) + "   " + human_size(result.size_bytes) + " in " +
                             counted(result.volumes, "volume", "volumes") +
                             (result.encrypted ? "" : ", NOT ENCRYPTED") +
                             (result.insecure ? ", NOBODY WAS ASKED WHO HE IS (--insecure)" : ""));
  for (const ExportDestination& destination : result.destinations)
    out += labelled("to", safe(destination_text(destination)));
  if (!again.empty()) out += next_lines("next", {{std::string(again), "sends what is missing"}}, style);
  return out;
}

}  // namespace ctriage::report
