#include "lib/bundle/acquisition.h"

#include <algorithm>
#include <functional>

#include "lib/core/stream.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxHeaderBytes = 1 << 20;
constexpr std::size_t kMaxManifestBytes = 256;  // of manifest.json.sha256
constexpr std::size_t kMaxLine = 1 << 20;
constexpr std::size_t kMaxActions = 200;
constexpr std::size_t kMaxWorst = 10;

std::string value_of(const Acquisition::Fields& fields, std::string_view name) {
  const auto found = std::ranges::find(fields, name, &std::pair<std::string, std::string>::first);
  return found == fields.end() ? "" : found->second;
}

// Calls `each` for every line of a stream that is there; what cannot be read of it is the task's gap.
Status each_line(Reader& reader, const std::string& stream, Task& task,
                 const std::function<void(Acquisition::Fields&&)>& each) {
  if (!reader.has(stream)) return Done{};
  auto source = reader.open(stream, task);
  if (!source) return std::move(source).error();
  LineReader lines(**source, kMaxLine);
  for (std::string_view line;;) {
    const auto more = lines.next(line);
    if (!more) return more.error();
    if (!*more) return Done{};
    auto fields = flatten(line);
    if (!fields) return std::move(fields).error().within(stream);
    each(*std::move(fields));
  }
}

}  // namespace

Result<Acquisition> read_acquisition(Reader& reader, Task& task) {
  Acquisition record;
  auto source = reader.open("bundle.json", task);
  auto text = source ? read_all(**source, kMaxHeaderBytes) : Result<std::string>(source.error());
  auto header = text ? flatten(*text) : Result<Acquisition::Fields>(text.error());
  if (!header) return std::move(header).error().within("bundle.json");
  record.header = *std::move(header);

  const auto tell = [&task](const char* stream, Status status) {
    if (!status) task.gaps.add({Impact::lost, "bundle.stream", stream, std::move(status).error()});
  };
  tell("custody.jsonl", each_line(reader, "custody.jsonl", task, [&](Acquisition::Fields&& fields) {
         if (value_of(fields, "action") == "phase" && !record.state_sha256) {
           if (std::string digest = value_of(fields, "sha256"); !digest.empty())
             record.state_sha256 = std::move(digest);
         }
         if (record.actions.size() >= kMaxActions) {
           ++record.actions_left_out;
           return;
         }
         std::erase_if(fields,
                       [](const auto& field) { return field.first == "prev" || field.first == "seq"; });
         record.actions.push_back(std::move(fields));
       }));
  tell("gaps.jsonl", each_line(reader, "gaps.jsonl", task, [&](Acquisition::Fields&& fields) {
         const std::string impact = value_of(fields, "impact");
         ++(impact == "lost" ? record.lost : impact == "degraded" ? record.degraded : record.notes);
         if (impact == "lost" && record.worst.size() < kMaxWorst)
           record.worst.push_back(value_of(fields, "artifact") + ": " + value_of(fields, "origin") + ": " +
                                  value_of(fields, "reason"));
       }));
  if (reader.has("manifest.json.sha256")) {
    auto sums = reader.open("manifest.json.sha256", task);
    const auto line = sums ? read_all(**sums, kMaxManifestBytes) : Result<std::string>(sums.error());
    if (Digest digest{}; line && parse_digest(line->substr(0, 64), digest)) record.manifest = digest;
  }
  return record;
}

}  // namespace ctriage::bundle
