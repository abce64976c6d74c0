#pragma once
// The packages of a container's image, and which of their files the container has changed.
#include "lib/core/task.h"
#include "lib/image/packages.h"
#include "lib/model/image.h"
#include "lib/model/snapshot.h"

namespace ctriage::image {

constexpr std::size_t kMaxChangedPackageFiles = 100'000;

// In order of name.
std::vector<ImagePackage> list_packages(const Packages& packages);
// Adds to `into` what the container has done to files of packages. Errors of the listing.
Status list_changed(Snapshot& snapshot, const std::string& container, const Packages& packages,
                    ImagePackagesResult& into, Task& task);
// All files of the image against the digests of their packages.
Result<PackageCheck> check_packages(Files& files, const Packages& packages, Task& task);

}  // namespace ctriage::image
