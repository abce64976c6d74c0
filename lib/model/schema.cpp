#include "lib/model/schema.h"

#include <array>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include "lib/model/archive.h"
#include "lib/model/credential.h"
#include "lib/model/difference.h"
#include "lib/model/event.h"
#include "lib/model/fields.h"
#include "lib/model/hands.h"
#include "lib/model/image.h"
#include "lib/model/image_deps.h"
#include "lib/model/indicator.h"
#include "lib/model/kinds.h"
#include "lib/model/memory.h"
#include "lib/model/object.h"
#include "lib/model/rule.h"
#include "lib/model/search.h"
#include "lib/model/selftest.h"
#include "lib/model/sweep.h"
#include "lib/model/transfer.h"
#include "lib/model/verdict.h"
#include "lib/model/yara.h"

namespace ctriage {
namespace {

constexpr std::string_view kHead =
    R"(# What ctriage's JSON holds

Made from the tables in lib/model/*.h by `schema_markdown()`; change them, then run the tests with CTRIAGE_UPDATE_GOLDEN=1.

- Pure ASCII; one artifact is one line. Keys come in this order. A reader skips keys that it does not know.
- *bytes*: text from evidence. What is not UTF-8 shows as U+FFFD, and `<key>_b64` beside it has the exact bytes
  in base64; of a list, `<key>_b64` has all elements.
- *hex*: "0x1f", since jq rounds large integers. *time*: RFC 3339 in UTC with nanoseconds, "@seconds" outside the years 0 to 9999.
- *optional*: the key is left out where nothing is recorded.

- A document and a line of a view (`--json`, `--format jsonl`) name their form in their first key, `schema`:
  a document of `show`, `show SOURCE FINDING`, `diff` and `list` is ctriage.show/1, ctriage.show_finding/1,
  ctriage.diff/1 and ctriage.list/1; a line is one artifact of the tables below, as ctriage.KIND/1. Lines of `show`
  and `diff` are first the source, then the artifacts, then the coverage, then the gaps. `collect`, `verify`, `dump` and `selftest` end
  with one document, ctriage.collect/1, ctriage.verify/1, ctriage.dump/1 and ctriage.selftest/1, in either format. A document of `search` or
  `strings` is ctriage.search/1 or ctriage.strings/1, with `matches` or `strings`, then `summary`, then `gaps`; lines are
  match or string, then the gaps, and last search_summary. Those of `scan` are ctriage.scan/1 likewise, lines of matches are yara_match. Documents of `drift`, `timeline`, `hashes`, `iocs` and `rotate` are ctriage.drift/1,
  ctriage.timeline/1, ctriage.hashes/1, ctriage.iocs/1 and ctriage.rotate/1, their lists `findings`, `events`, `hashes`, `indicators` and
  `credentials`, with `gaps` at the end; lines are finding, event, hash, indicator or credential, and at the end the gaps. `list DIR` is ctriage.list_archives/1; lines are archive, then the gaps.
  A document of `diff` of two sources is ctriage.comparison/1, with
  `before` and `after` (each a source), `containers`, `differences`, `compared` and `gaps`; its lines are these in that order.
- The lines of a bundle's .jsonl streams are bare: which artifact they hold is in this table. Those of the file
  CORE.pages.jsonl beside a core of `dump` are page_range.

| in a bundle | holds | first key of it |
| --- | --- | --- |
)";

struct Stream {
  std::string_view name;
  std::string_view holds;
  std::string_view schema;  // empty: lines without one
};
constexpr std::array kStreams{
    Stream{"bundle.json", "the members of source in `source`, and how it was taken", "bundle"},
    Stream{"pod/pod.json", kKind<Pod>, kKind<Pod>},
    Stream{"containers/C/container.json", kKind<Container>, kKind<Container>},
    Stream{"containers/C/processes.jsonl", kKind<Process>, {}},
    Stream{"containers/C/threads.jsonl", kKind<Thread>, {}},
    Stream{"containers/C/mappings.jsonl", kKind<Mapping>, {}},
    Stream{"containers/C/descriptors.jsonl", kKind<Descriptor>, {}},
    Stream{"containers/C/sockets.jsonl", kKind<Socket>, {}},
    Stream{"containers/C/mounts.jsonl", kKind<Mount>, {}},
    Stream{"containers/C/layers.jsonl", kKind<Layer>, {}},
    Stream{"containers/C/memory/PID.pages.jsonl", kKind<PageRange>, {}},
    Stream{"containers/C/changes.jsonl", kKind<FileChange>, {}},
    Stream{"containers/C/tmpfs/MOUNT.jsonl", kKind<TreeFile>, {}},
    Stream{"containers/C/volumes/MOUNT.jsonl", kKind<TreeFile>, {}},
    Stream{"containers/C/logs.jsonl", kKind<LogFile>, {}},
    Stream{"pod/network.jsonl", kKind<NetworkEntry>, {}},
    Stream{"pod/flows.jsonl", kKind<Flow>, {}},
    Stream{"node/newer.jsonl", kKind<NodeFact>, {}},
    Stream{"findings.jsonl", kKind<Finding>, {}},
    Stream{"gaps.jsonl", kKind<GapRecord>, {}},
};

template <class T>
std::string type_of() {
  if constexpr (std::same_as<T, bool>) {
    return "boolean";
  } else if constexpr (std::integral<T>) {
    return "integer";
  } else if constexpr (std::same_as<T, std::string>) {
    return "string";
  } else if constexpr (std::same_as<T, Bytes>) {
    return "bytes";
  } else if constexpr (std::same_as<T, Hex>) {
    return "hex";
  } else if constexpr (std::same_as<T, Timestamp>) {
    return "time";
  } else if constexpr (NamedEnum<T>) {
    std::string names;
    for (const std::string_view name : enum_names(T{})) names.append(names.empty() ? "" : ", ").append(name);
    return "one of " + names;
  } else if constexpr (Artifact<T>) {
    static_assert(!kKind<T>.empty(), "name the artifact in kinds.h");
    return std::string(kKind<T>);
  } else if constexpr (requires(T & item) { item.has_value(); }) {
    return "optional " + type_of<typename T::value_type>();
  } else {
    return "list of " + type_of<typename T::value_type>();
  }
}

// A '|' ends a cell of a Markdown table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

template <Artifact T>
void append_table(std::string& out) {
  out.append("\n## ").append(kKind<T>).append("\n\n| key | type | meaning |\n| --- | --- | --- |\n");
  auto row = [&]<class M>(std::string_view name, const M&, std::string_view meaning) {
    out.append("| ").append(name).append(" | ").append(type_of<M>()).append(" | ");
    out.append(cell(meaning)).append(" |\n");
  };
  const T sample{};
  T::fields(sample, row);
}

template <Artifact... T>
void append_tables(std::string& out) {
  (append_table<T>(out), ...);
}

}  // namespace

std::string schema_markdown() {
  std::string out(kHead);
  for (const Stream& stream : kStreams) {
    out.append("| ").append(stream.name).append(" | ").append(stream.holds).append(" | ");
    if (stream.schema.empty()) {
      out.append("none, one artifact a line |\n");
    } else {
      out.append("`\"schema\": \"ctriage.").append(stream.schema).append("/1\"` |\n");
    }
  }
  append_tables<
      Source, Pod, Posture, Grant, TokenClaims, ExecTrace, Container, PodRef, HostMount, Process, Executable,
      Content, PackageOwner, Credentials, Capabilities, NamespaceId, Limit, Signals, SignalHandler, Timer,
      SeccompFilter, SeccompRule, Thread, Mapping, Descriptor, Watch, BpfMap, Socket, Mount, Layer,
      FileChange, FileState, XattrRecord, TreeFile, FileEntry, LogFile, NetworkEntry, Flow, NodeFact,
      ImageFacts, Finding, GapRecord, CoverageRecord, CollectResult, CollectCounts, CollectManyResult,
      CollectedTarget, PlanResult, PlannedStep, PlanManyResult, WhoisResult, WhoisMatch, VerifyResult,
      SalvagedStream, PageRange, RuleList, RuleCheck, RuleEntry, RuleMistake, DumpResult, DumpedProcess,
      SelftestResult, SelftestCheck, MemoryMatch, FoundString, SearchSummary, PatternCount, ExtractResult,
      ObjectCount, ExtractedObject, ObjectPacket, ArchiveList, ListedArchive, Difference, DifferingField,
      ComparedContainer, ComparedList, ImagePackagesResult, ImagePackage, ChangedPackageFile,
      ImageVerifyResult, LayerCheck, EntryDifference, PackageCheck, ImageDepsResult, LoadedFile,
      NeededPackage, SweepResult, SweptTarget, SweptContainer, SweptProgram, IndicatorMatch, SharedThing,
      Replica, VerdictCounts, KeptBack, ExplainedChanges, ExplainedChange, Event, FileHash, Indicator,
      Credential, CredentialSearch, YaraMatch, YaraMeta, YaraString, ExportResult, ExportDestination,
      ProgramUsed, SentItem, CustodyPage, CustodyField, CustodyDeed, LaterHand, PackResult, ReceiveResult>(
      out);
  return out;
}

}  // namespace ctriage
