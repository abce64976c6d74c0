#pragma once
// One reader for each package database. False: the image has none of it. Errors: it is there and cannot be
// read, or not to its end. Private to lib/image and its tests.
#include "lib/image/packages.h"

namespace ctriage::image {

Result<bool> read_dpkg(Files& files, Packages& into, Task& task);
Result<bool> read_apk(Files& files, Packages& into, Task& task);
Result<bool> read_rpm(Files& files, Packages& into, Task& task);

constexpr std::size_t kMaxStanzaLineBytes = 256 << 10;  // a line of Depends
constexpr std::size_t kMaxDiversions = 10'000;

// The parts, of bytes that stay with the caller. A stanza file's package is given when its stanza ends.
Status parse_dpkg_status(ByteSource& in, bool status_of_all, const Emit<InstalledPackage>& emit);
Status parse_apk_installed(ByteSource& in, Packages& into);
// One header of rpm: signed or not, big-endian; lib/header.c of rpm.
Status parse_rpm_header(std::string_view blob, Packages& into);

}  // namespace ctriage::image
