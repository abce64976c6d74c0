#include "lib/transfer/connect.h"

#include <algorithm>
#include <functional>
#include <random>

#include "lib/core/sys.h"
#include "lib/transfer/folders.h"

namespace ctriage::transfer {
namespace {

constexpr std::int64_t kFirstWaitMs = 1'000;
constexpr std::int64_t kMostWaitMs = 60'000;
constexpr std::int64_t kNsPerMs = 1'000'000;

template <class T>
Answer<T> again_and_again(const Retry& retry, const Task& task, const std::function<Answer<T>()>& attempt) {
  std::minstd_rand random(static_cast<std::minstd_rand::result_type>(sys::boottime_ns() ^ sys::own_pid()));
  const std::int64_t until_ns = sys::boottime_ns() + retry.for_ns;
  for (std::int64_t most_ms = kFirstWaitMs;; most_ms = std::min(2 * most_ms, kMostWaitMs)) {
    Answer<T> answer = attempt();
    auto* refused = std::get_if<Refusal>(&answer);
    if (refused == nullptr || !refused->can_pass) return answer;
    const std::int64_t wait_ms =
        std::max(refused->wait_ms, std::uniform_int_distribution<std::int64_t>(0, most_ms)(random));
    const std::int64_t wake_ns = sys::boottime_ns() + wait_ms * kNsPerMs;
    if (wake_ns >= until_ns) {
      refused->error.what +=
          "; given up after " + std::to_string(retry.for_ns / (1000 * kNsPerMs)) + " s of trying";
      return answer;
    }
    while (sys::boottime_ns() < wake_ns) {
      if (auto going = task.check(); !going) {
        refused->error.code = going.error().code;
        return answer;
      }
      sys::sleep_ns(std::min(wake_ns - sys::boottime_ns(), 100 * kNsPerMs));
    }
  }
}

}  // namespace

Answer<std::unique_ptr<Destination>> connect(const Url& url, const Options& options, const Task& task) {
  switch (url.scheme) {
    case Scheme::file:
      return open_local(url);
    case Scheme::sftp:
      return open_sftp(url, options, task);
    case Scheme::ftps:
    case Scheme::ftpes:
    case Scheme::ftp:
      return open_ftp(url, options, task);
    case Scheme::https:
      return open_https(url, options, task);
    case Scheme::s3:
      return open_s3(url, options, task);
    case Scheme::rsync_ssh:
    case Scheme::rsync:
      return open_rsync(url, options, task);
    case Scheme::smb:
      return open_smb(url, options, task);
  }
  return refusal(Errc::unsupported, place_of(url) + ": no scheme of ours");
}

Answer<std::unique_ptr<Destination>> connect_again(const Url& url, const Options& options, const Retry& retry,
                                                   const Task& task) {
  return again_and_again<std::unique_ptr<Destination>>(retry, task,
                                                       [&] { return connect(url, options, task); });
}

Answer<Proof> send_item(Destination& destination, Item& item, Proof wanted, const Retry& retry,
                        const Task& task) {
  return again_and_again<Proof>(retry, task, [&]() -> Answer<Proof> {
    auto put = destination.put(item, task);
    if (auto* refused = std::get_if<Refusal>(&put)) return std::move(*refused);
    if (!item.sha256 && item.measured) item.sha256 = *item.measured;
    if (!item.sha256) {  // a program read it
      const auto digest = digest_of(item);
      if (!digest) return refusal(digest.error().code, digest.error().what);
      item.sha256 = *digest;
    }
    return destination.prove(item, wanted, task);
  });
}

}  // namespace ctriage::transfer
