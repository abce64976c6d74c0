#pragma once
#include <cstdint>

#include "lib/model/file.h"

namespace ctriage {

FileType type_of_mode(std::uint32_t mode);  // st_mode, inode(7)

}  // namespace ctriage
