#pragma once
// A place that evidence is sent to, as a person types it.
//
//   file:/mnt/usb   sftp://user@host:22/dir   ftps://host/dir (implicit; on port 21 explicit)
//   ftpes://host/dir ftp://host/dir   https://host/dir   s3://bucket/prefix   rsync+ssh://host/dir
//   rsync://host/module/dir smb://host/share/dir   @FILE: the URL stands in that file, and may have a token
//   in its query
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/core/result.h"

namespace ctriage::transfer {

enum class Scheme : std::uint8_t { file, sftp, ftps, ftpes, ftp, https, s3, rsync_ssh, rsync, smb };

struct Url {
  Scheme scheme = Scheme::file;
  std::string user;         // empty: by the login that is found, secrets.h
  std::string host;         // without brackets; s3: the bucket
  std::uint16_t port = 0;   // 0: the scheme's own
  std::string path;         // decoded, from its "/"; never ends in one but for "/"
  std::string query;        // a secret: of a URL out of a file only, without "?"
  bool one_object = false;  // a signed URL whose path does not end in "/": names one object, not a folder
};

// Errc::malformed names what is wrong, never the URL where it may hold a secret: a password or a fragment is
// refused, and a query unless the URL is from a file and https. Control bytes, and a path with "..", are
// refused. At most 4 KiB.
Result<Url> parse_url(std::string_view text, bool from_file);

// The same out of a file that only we may read where `typed` is "@FILE".
Result<Url> read_url(const std::string& typed);

std::string_view scheme_name(Scheme scheme);
// It goes on inside a file that was cut, so that a bundle goes as one file.
bool resumes_inside(Scheme scheme);
// For people and the journal: "sftp://host:2222/dir", without user and query.
std::string place_of(const Url& url);
// "/a b" as "/a%20b": all but unreserved characters and "/", RFC 3986.
std::string encode_path(std::string_view path);
// Of a folder's path and a name in it.
std::string join_path(std::string_view folder, std::string_view name);

}  // namespace ctriage::transfer
