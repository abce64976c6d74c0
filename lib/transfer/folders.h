#pragma once
// The destinations that are folders, each opened by the URL of its scheme. Not for other modules.
#include <memory>

#include "lib/transfer/destination.h"
#include "lib/transfer/folder.h"
#include "lib/transfer/options.h"
#include "lib/transfer/url.h"

namespace ctriage::transfer {

Answer<std::unique_ptr<Destination>> open_local(const Url& url);
// Each logs in here: a bad login, an unknown host key and an unknown certificate are refused before the first
// byte.
Answer<std::unique_ptr<Destination>> open_sftp(const Url& url, const Options& options, const Task& task);
Answer<std::unique_ptr<Destination>> open_ftp(const Url& url, const Options& options, const Task& task);
Answer<std::unique_ptr<Destination>> open_https(const Url& url, const Options& options, const Task& task);

// By programs of the node's: the manual pages rsync(1), ssh(1), smbclient(1).
Answer<std::unique_ptr<Destination>> open_rsync(const Url& url, const Options& options, const Task& task);
Answer<std::unique_ptr<Destination>> open_smb(const Url& url, const Options& options, const Task& task);

Answer<std::unique_ptr<Destination>> open_s3(const Url& url, const Options& options, const Task& task);

}  // namespace ctriage::transfer
