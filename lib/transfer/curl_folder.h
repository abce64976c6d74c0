#pragma once
// A folder that libcurl reaches by the URL of each file: what sftp, ftp and https do alike. Not for other
// modules.
#include <memory>
#include <string>

#include "lib/transfer/curl.h"
#include "lib/transfer/folder.h"

namespace ctriage::transfer {

class CurlFolder : public Folder {
 public:
  [[nodiscard]] const std::string& place() const final { return session_->place(); }

 protected:
  explicit CurlFolder(std::unique_ptr<CurlSession> session) : session_(std::move(session)) {}

  // For a file of that name; "": for the folder itself.
  [[nodiscard]] virtual CurlSession::Request request_for(const std::string& name) const = 0;
  [[nodiscard]] virtual bool is_ok(const Reply& reply) const { return is_done(reply); }

  Reply perform(const CurlSession::Request& request, const Task& task) {
    return session_->perform(request, task);
  }
  // What failed is told as `what`: the name, and what was tried unless it was sending or reading.
  Answer<Done> done(const CurlSession::Request& request, const std::string& what, const Task& task);
  [[nodiscard]] Refusal refused(const Reply& reply, const std::string& what) const {
    return refusal_of(*session_, reply, what);
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override;
  Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t size_bytes,
                                       const Task& task) override;

 private:
  std::unique_ptr<CurlSession> session_;
};

}  // namespace ctriage::transfer
