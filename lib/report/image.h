#pragma once
// What `image` says: ctriage.image_packages/1, ctriage.image_verify/1, or text.
#include <string>

#include "lib/model/image.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string image_packages_json(const ImagePackagesResult& result);
std::string image_packages_text(const ImagePackagesResult& result, bool every_gap, const Style& style);
std::string image_verify_json(const ImageVerifyResult& result);
std::string image_verify_text(const ImageVerifyResult& result, bool every_gap, const Style& style);

}  // namespace ctriage::report
