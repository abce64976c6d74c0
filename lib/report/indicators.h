#pragma once
// `hashes` and `iocs` in the forms of other tools.
#include <span>
#include <string>

#include "lib/model/container.h"
#include "lib/model/indicator.h"
#include "lib/report/report.h"

namespace ctriage::report {

// As sha256sum(1) writes it; `tagged`, for who asked for others: a line with its name for each, as cksum(1)
// does. A name with a backslash or line end is escaped as coreutils do, and the line begins with a backslash.
// `terminal`: for eyes, with what would move a cursor escaped as well; no tool takes such a name back.
std::string hash_lines(const FileHash& hash, bool tagged, bool terminal);

// "type,value,context": what `sweep -f` reads.
std::string indicators_csv(std::span<const Indicator> indicators);
// A MISP event and a STIX 2.1 bundle. Identifiers are made of the content: the same evidence, the same ids.
std::string indicators_misp(std::span<const Indicator> indicators, const Source& source);
std::string indicators_stix(std::span<const Indicator> indicators, const Source& source);

}  // namespace ctriage::report
