#pragma once
// What `image` says: ctriage.image_packages/1, ctriage.image_verify/1, ctriage.image_deps/1, or text.
#include <string>

#include "lib/model/image.h"
#include "lib/model/image_deps.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string image_packages_json(const ImagePackagesResult& result);
std::string image_packages_text(const ImagePackagesResult& result, bool every_gap, const Style& style);
std::string image_verify_json(const ImageVerifyResult& result);
std::string image_verify_text(const ImageVerifyResult& result, bool every_gap, const Style& style);
std::string image_deps_json(const ImageDepsResult& result);
// Its list of loaded files is one to pin: package, version, SHA-256, path.
std::string image_deps_text(const ImageDepsResult& result, bool every_gap, const Style& style);

}  // namespace ctriage::report
