#include "lib/report/hands.h"

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

// `text` as it is shown: safe() already.
std::string row(std::string_view label, const std::string& text) {
  constexpr std::size_t kLabel = 12;
  std::string line(label);
  line.resize(std::max(kLabel, line.size() + 1), ' ');
  return line + text + "\n";
}

std::string line_of(const LaterHand& hand) {
  std::string line = std::to_string(hand.seq) + "  " + safe(hand.at.raw) + "  " + safe(hand.by.raw) + "  " +
                     safe(hand.action.raw) + "\n";
  if (!hand.note.raw.empty()) line += "   note      " + safe(hand.note.raw) + "\n";
  if (hand.attached)
    line += "   attached  " + safe(hand.attached->raw) + "  " + hand.attached_sha256.value_or("") + "\n";
  return line;
}

std::string action_line(const CustodyDeed& action) {
  std::string line;
  for (const CustodyField& field : action.members) {
    if (field.value.raw.empty()) continue;
    const bool bare = field.name == "at" || field.name == "action";
    line += (line.empty() ? "" : "  ") + (bare ? "" : safe(field.name) + "=") + safe(field.value.raw);
  }
  return "  " + line + "\n";
}

}  // namespace

std::string custody_json(const CustodyPage& page) { return document(page); }
std::string pack_json(const PackResult& result) { return document(result); }
std::string receive_json(const ReceiveResult& result) { return document(result); }

std::string custody_page_text(const CustodyPage& page) {
  std::string text = row("bundle", safe(page.bundle.raw));
  text += row("sha256", page.sha256 ? safe(*page.sha256) + "   of manifest.json, which names every byte"
                                    : "NOT SEALED: nothing names every byte");
  if (page.state_sha256)
    text += row("state", safe(*page.state_sha256) + "   of the first bytes, up to the state");
  constexpr std::string_view kSource = "source.";
  for (const CustodyField& field : page.header) {
    const std::string_view name = field.name;
    if (name != "schema")
      text +=
          row(safe(name.starts_with(kSource) ? name.substr(kSource.size()) : name), safe(field.value.raw));
  }
  text += "\nwhat was done\n";
  for (const CustodyDeed& action : page.actions) text += action_line(action);
  if (page.actions_left_out > 0)
    text += "  and " + with_commas(page.actions_left_out) + " more, in custody.jsonl\n";
  text +=
      "\n" + row("deviations", with_commas(page.lost) + " lost, " + with_commas(page.degraded) +
                                   " degraded, " + counted(page.notes, "note", "notes") + " (gaps.jsonl)");
  for (const Bytes& one : page.worst) text += "  lost  " + safe(one.raw) + "\n";
  text += "\nlater hands\n";
  if (!page.has_sidecar) text += "  none\n";
  for (const LaterHand& hand : page.hands) text += "  " + line_of(hand);
  for (const Bytes& problem : page.problems) text += "  WRONG  " + safe(problem.raw) + "\n";
  return text;
}

std::string custody_hands_text(const CustodyPage& page) {
  std::string text = page.sha256.value_or("") + "  " + page.sha256_of + "\n";
  if (!page.has_sidecar) return text + "no later hands: " + safe(page.sidecar.raw) + " is not there\n";
  for (const LaterHand& hand : page.hands) text += line_of(hand);
  for (const Bytes& problem : page.problems)
    text += "WRONG  " + safe(page.sidecar.raw + ": " + problem.raw) + "\n";
  return text;
}

std::string custody_added_text(const CustodyPage& page) {
  std::string text = safe(page.sidecar.raw) + "\n";
  for (const LaterHand& hand : page.hands) text += line_of(hand);
  return text;
}

std::string pack_text(const PackResult& result) {
  std::string text = safe(result.path.raw);
  if (result.volumes > 1) text += " and " + counted(result.volumes - 1, "more", "more");
  text += "\n";
  if (result.manifest_sha256) text += *result.manifest_sha256 + "  manifest.json\n";
  if (result.redacted_from) {
    text += "redacted copy of " + *result.redacted_from + ": " +
            counted(result.values_hidden, "value", "values") + " hidden in " +
            counted(result.places_hidden, "place", "places") + ", " +
            counted(result.streams_left_out, "stream", "streams") + " of bytes left out\n";
  }
  if (!result.sealing.raw.empty() || result.verified)
    text += (result.sealing.raw.empty() ? "NOT ENCRYPTED" : safe(result.sealing.raw)) + "\n";
  if (result.unsigned_why) text += "NOT SIGNED: " + safe(result.unsigned_why->raw) + "\n";
  if (!result.verified) text += "encrypted: copied as it is, not verified\n";
  return text;
}

std::string receive_text(const ReceiveResult& result) {
  return safe(result.path.raw) + "\n" +
         (result.verified ? result.manifest_sha256.value_or("") + "  manifest.json\n"
                          : "encrypted: received as it is, not verified\n");
}

}  // namespace ctriage::report
