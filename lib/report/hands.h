#pragma once
// What `custody`, `pack` and `receive` say: ctriage.custody/1, ctriage.pack/1, ctriage.receive/1, or text.
#include <string>

#include "lib/model/hands.h"

namespace ctriage::report {

std::string custody_json(const CustodyPage& page);
std::string custody_page_text(const CustodyPage& page);   // show: who, when, what, with what, what was done
std::string custody_hands_text(const CustodyPage& page);  // check: the later hands and what is wrong
std::string custody_added_text(const CustodyPage& page);

std::string pack_json(const PackResult& result);
std::string pack_text(const PackResult& result);
std::string receive_json(const ReceiveResult& result);
std::string receive_text(const ReceiveResult& result);

}  // namespace ctriage::report
