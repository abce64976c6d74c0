#pragma once
// What an image has that decides how something in its container is to be read.
#include "lib/core/task.h"
#include "lib/image/files.h"
#include "lib/image/packages.h"
#include "lib/model/container.h"
#include "lib/model/content.h"

namespace ctriage::image {

// `packages`: of the same image. What cannot be looked at is a gap ("image.facts", degraded) and counts as
// not there.
ImageFacts read_facts(Files& files, const Packages& packages, Task& task);
// The same with the names that the engine has for it.
ImageFacts read_facts(Files& files, const Packages& packages, const Container& container, Task& task);

}  // namespace ctriage::image
