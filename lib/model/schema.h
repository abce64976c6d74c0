#pragma once
// The page that says what our JSON holds, made from the fields tables. SCHEMA.md beside this file is its
// copy; a test compares them, so the page cannot be behind what is written.
#include <string>

namespace ctriage {

std::string schema_markdown();

}  // namespace ctriage
