#include "lib/transfer/curl_folder.h"

namespace ctriage::transfer {

Answer<Done> CurlFolder::done(const CurlSession::Request& request, const std::string& what,
                              const Task& task) {
  const Reply reply = perform(request, task);
  if (!is_ok(reply)) return refused(reply, what);
  return Done{};
}

Answer<Done> CurlFolder::upload(const Item& item, const std::string& name, const Task& task) {
  CurlSession::Request request = request_for(name);
  request.upload = &item;
  return done(request, name, task);
}

Answer<std::optional<Digest>> CurlFolder::reread(const std::string& name, std::uint64_t size_bytes,
                                                 const Task& task) {
  Sha256 hash;
  CurlSession::Request request = request_for(name);
  request.hash = &hash;
  request.most_bytes = size_bytes;
  auto read = done(request, name, task);
  if (auto* no = std::get_if<Refusal>(&read)) return std::move(*no);
  return std::optional<Digest>(hash.digest());
}

}  // namespace ctriage::transfer
