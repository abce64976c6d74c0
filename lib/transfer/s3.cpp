// s3://bucket/prefix : an object is there whole or not at all, so nothing is renamed. A volume is one PUT, a
// large one a multipart upload that goes on with the part that was cut; each digest is signed, and asked for
// again (x-amz-checksum-sha256). The node's own role is never asked for.
#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>

#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/transfer/curl.h"
#include "lib/transfer/folders.h"
#include "lib/transfer/sigv4.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxKeysBytes = 64 << 10;
constexpr std::uint64_t kMaxPutBytes = std::uint64_t{5} << 30;
constexpr std::uint64_t kPartBytes = 64 << 20;  // what is sent again after a cut
constexpr std::uint64_t kMaxParts = 10'000;     // Amazon S3, "Multipart upload limits"
constexpr std::int64_t kAbortNs = 5'000'000'000;
constexpr std::size_t kMaxWordBytes = 200;  // of what a server says

// ~/.aws/credentials: "[profile]" and "name = value".
AwsKeys keys_of(std::string_view text, std::string_view profile) {
  AwsKeys keys;
  bool ours = false;
  for (std::string_view line : split(text, '\n')) {
    line = trim(line);
    if (line.starts_with('[')) {
      ours = line.substr(1, line.find(']') - 1) == profile;
      continue;
    }
    const std::size_t equals = line.find('=');
    if (!ours || equals == std::string_view::npos || line.starts_with('#')) continue;
    const std::string_view name = trim(line.substr(0, equals));
    const std::string value(trim(line.substr(equals + 1)));
    if (name == "aws_access_key_id") keys.access_key = value;
    if (name == "aws_secret_access_key") keys.secret_key = Secret(value);
    if (name == "aws_session_token") keys.session_token = Secret(value);
    if (name == "region") keys.region = value;
  }
  return keys;
}

Result<AwsKeys> find_keys(const Options& options) {
  AwsKeys keys;
  const auto from = [](const char* name) { return sys::environment(name).value_or(""); };
  keys.access_key = from("AWS_ACCESS_KEY_ID");
  keys.secret_key = Secret(from("AWS_SECRET_ACCESS_KEY"));
  keys.session_token = Secret(from("AWS_SESSION_TOKEN"));
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    const auto named = sys::environment("AWS_SHARED_CREDENTIALS_FILE");
    const std::string path = named ? *named : from("HOME") + "/.aws/credentials";
    const auto file = read_private_file(path, kMaxKeysBytes);
    if (!file)
      return Error(file.error()).within("keys for S3: not in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    keys = keys_of(file->view(), sys::environment("AWS_PROFILE").value_or("default"));
    if (keys.access_key.empty() || keys.secret_key.empty())
      return Error{Errc::denied, path + ": has no keys of that profile"};
  }
  if (!options.s3_region.empty()) keys.region = options.s3_region;
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (keys.region.empty()) keys.region = from(name);
  }
  if (keys.region.empty()) keys.region = "us-east-1";
  const auto plain = [](char c) { return c > ' ' && c < 0x7f && c != ',' && c != '/'; };
  if (!std::ranges::all_of(keys.access_key, plain) || !std::ranges::all_of(keys.region, plain))
    return Error{Errc::malformed, "keys for S3: the access key or the region has characters that none has"};
  return keys;
}

struct Endpoint {
  std::string base;  // "https://host:9000"
  std::string host;  // as it is signed
  std::string root;  // "/bucket", or "" where the host names it
};

Result<Endpoint> endpoint_of(const Url& url, const Options& options, const std::string& region) {
  std::string typed = options.s3_endpoint;
  if (typed.empty()) typed = sys::environment("AWS_ENDPOINT_URL_S3").value_or("");
  if (typed.empty()) typed = sys::environment("AWS_ENDPOINT_URL").value_or("");
  Endpoint endpoint;
  if (typed.empty()) {
    // A name with dots does not fit the certificate of *.s3.amazonaws.com.
    const bool in_host = url.host.find('.') == std::string::npos;
    endpoint.host = (in_host ? url.host + "." : "") + "s3." + region + ".amazonaws.com";
    endpoint.root = in_host ? "" : "/" + url.host;
  } else {
    const auto place = parse_url(typed, false);
    if (!place || place->scheme != Scheme::https || place->path != "/")
      return Error{Errc::malformed, "--s3-endpoint: https://HOST or https://HOST:PORT"};
    endpoint.host = place_of(*place).substr(std::string_view("https://").size());
    while (endpoint.host.ends_with('/')) endpoint.host.pop_back();
    endpoint.root = "/" + url.host;
  }
  endpoint.base = "https://" + endpoint.host;
  return endpoint;
}

// "<Code>NoSuchBucket</Code>"; what a server says is evidence of nothing.
std::string element(std::string_view xml, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">";
  const std::size_t from = xml.find(open);
  const std::size_t end = from == std::string_view::npos ? from : xml.find("</", from);
  if (end == std::string_view::npos) return "";
  return std::string(xml.substr(from + open.size(), std::min(end - from - open.size(), kMaxWordBytes)));
}

std::string header(std::string_view headers, std::string_view name) {
  for (const std::string_view line : split(headers, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon != name.size()) continue;
    const bool same = std::ranges::equal(line.substr(0, colon), name, [](char a, char b) {
      return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
    });
    if (same) return std::string(trim(line.substr(colon + 1)).substr(0, kMaxWordBytes));
  }
  return "";
}

class S3 final : public Folder {
 public:
  S3(std::unique_ptr<CurlSession> session, const Url& url, Endpoint endpoint, AwsKeys keys)
      : session_(std::move(session)),
        place_(place_of(url)),
        endpoint_(std::move(endpoint)),
        keys_(std::move(keys)) {
    folder_ = endpoint_.root + url.path;
  }
  S3(const S3&) = delete;
  S3& operator=(const S3&) = delete;
  ~S3() override {
    // Parts of an upload that nobody completes are paid for, and never seen.
    GapLog gaps;
    const std::atomic<bool> never{false};
    abort(Task{gaps, never, [] { return sys::realtime(); }, sys::boottime_ns() + kAbortNs});
  }
  [[nodiscard]] const std::string& place() const override { return place_; }

  // The bucket is there, and takes our keys.
  Answer<Done> log_in(const Task& task) {
    const std::string path = endpoint_.root.empty() ? "/" : endpoint_.root;
    const Reply reply = ask("GET", path, {{"list-type", "2"}, {"max-keys", "0"}}, {}, nullptr, nullptr, task);
    // Who may only put may not list.
    if (is_done(reply) || (reply.code == CURLE_OK && element(reply.body, "Code") == "AccessDenied"))
      return Done{};
    return refused(reply, "open");
  }

 protected:
  [[nodiscard]] bool renames() const override { return false; }

  Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) override {
    const Reply reply = ask("HEAD", path_of(name), {}, {}, nullptr, nullptr, task);
    if (reply.code == CURLE_OK && reply.response == 404) return std::optional<std::uint64_t>();
    if (!is_done(reply)) return refused(reply, name);
    if (reply.size_bytes < 0)
      return refusal(Errc::unsupported, place_ + ": " + name + ": the server says no size");
    return std::optional<std::uint64_t>(static_cast<std::uint64_t>(reply.size_bytes));
  }

  Answer<Done> upload(const Item& item, const std::string& name, const Task& task) override {
    if (item.open_part && item.size_bytes > kPartBytes) return upload_parts(item, name, task);
    if (item.size_bytes > kMaxPutBytes)
      return refusal(Errc::limit, place_ + ": " + name + ": S3 takes 5 GiB at a time: --split 1G");
    const auto digest = digest_of(item);
    if (!digest) return refusal(digest.error().code, digest.error().what);
    const Reply reply =
        ask("PUT", path_of(name), {}, {{"if-none-match", "*"}, {"x-amz-checksum-sha256", base64_of(*digest)}},
            &item, nullptr, task, *digest);
    if (!is_done(reply)) return refused_put(reply, name);
    return Done{};
  }

  Answer<Done> rename(const std::string& /*from*/, const std::string& to, const Task& /*task*/) override {
    return refusal(Errc::unsupported, place_ + ": " + to + ": S3 does not rename");
  }

  Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t size_bytes,
                                       const Task& task) override {
    Sha256 hash;
    const Reply reply = ask("GET", path_of(name), {}, {}, nullptr, &hash, task, std::nullopt, size_bytes);
    if (!is_done(reply)) return refused(reply, name);
    return std::optional<Digest>(hash.digest());
  }

  Answer<std::optional<Digest>> server_digest(const std::string& name, const Task& task) override {
    const Reply reply =
        ask("HEAD", path_of(name), {}, {{"x-amz-checksum-mode", "ENABLED"}}, nullptr, nullptr, task);
    if (!is_done(reply)) return refused(reply, name);
    const std::string told = header(reply.headers, "x-amz-checksum-sha256");
    if (const auto ours = composites_.find(name); ours != composites_.end() && told == ours->second.text)
      return std::optional<Digest>(ours->second.whole);
    const auto raw = from_base64(told);
    Digest digest{};
    if (!raw || raw->size() != digest.size()) return std::optional<Digest>();
    std::ranges::transform(*raw, digest.begin(), [](char c) { return static_cast<std::byte>(c); });
    return std::optional<Digest>(digest);
  }

 private:
  // CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload of Amazon S3's API. It
  // lives on from one attempt to the next.
  struct Multipart {
    std::string name;
    std::string id;
    struct Part {
      Digest sha256{};
      std::string etag;  // empty: not there yet
    };
    std::vector<Part> parts;  // those that were read so far
    Sha256 whole;             // of their bytes
  };
  struct Composite {
    std::string text;  // as S3 tells it: SHA-256 over the parts' digests, "-", how many
    Digest whole{};
  };

  static std::string base64_of(const Digest& digest) {
    return to_base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  }

  Answer<Done> upload_parts(const Item& item, const std::string& name, const Task& task) {
    auto done = go_on(item, name, task);
    if (const auto* no = std::get_if<Refusal>(&done); no != nullptr && !no->can_pass) abort(task);
    return done;
  }

  Answer<Done> go_on(const Item& item, const std::string& name, const Task& task) {
    if (multipart_ && multipart_->name != name) abort(task);
    if (!multipart_) {
      const Reply reply = ask("POST", path_of(name), {{"uploads", ""}},
                              {{"x-amz-checksum-algorithm", "SHA256"}}, nullptr, nullptr, task);
      if (!is_done(reply)) return refused(reply, name);
      const std::string id = element(reply.body, "UploadId");
      if (id.empty()) return refusal(Errc::malformed, place_ + ": " + name + ": the server says no UploadId");
      multipart_.emplace();
      multipart_->name = name;
      multipart_->id = id;
    }
    const std::uint64_t each = std::max(kPartBytes, item.size_bytes / kMaxParts + 1);
    for (std::uint64_t offset = 0, number = 1; offset < item.size_bytes; offset += each, ++number) {
      Item part;
      part.size_bytes = std::min(each, item.size_bytes - offset);
      part.open = [&item, offset, size = part.size_bytes] { return item.open_part(offset, size); };
      auto sent = send_part(part, number, task);
      if (auto* no = std::get_if<Refusal>(&sent)) return std::move(*no);
    }
    return complete(item, task);
  }

  Answer<Done> send_part(const Item& part, std::uint64_t number, const Task& task) {
    Multipart& upload = *multipart_;
    if (upload.parts.size() < number) {
      auto source = part.open();
      if (!source) return refusal(source.error().code, source.error().what);
      Sha256 hash;
      std::vector<std::byte> block(1 << 20);
      for (;;) {
        const auto got = (*source)->read(block);
        if (!got) return refusal(got.error().code, got.error().what);
        if (*got == 0) break;
        hash.update(std::span(block).first(*got));
        upload.whole.update(std::span(block).first(*got));
      }
      upload.parts.push_back({hash.digest(), ""});
    }
    Multipart::Part& known = upload.parts[number - 1];
    if (!known.etag.empty()) return Done{};
    const Reply reply =
        ask("PUT", path_of(upload.name), {{"partNumber", std::to_string(number)}, {"uploadId", upload.id}},
            {{"x-amz-checksum-sha256", base64_of(known.sha256)}}, &part, nullptr, task, known.sha256);
    if (!is_done(reply)) {
      Refusal no = refused(reply, upload.name + ", part " + std::to_string(number));
      if (element(reply.body, "Code") == "NoSuchUpload") {  // from the start
        multipart_.reset();
        no.can_pass = true;
      }
      return no;
    }
    known.etag = header(reply.headers, "etag");
    if (known.etag.find_first_of("<>&") != std::string::npos || known.etag.empty())
      return refusal(Errc::malformed, place_ + ": " + upload.name + ": the server says no ETag");
    return Done{};
  }

  Answer<Done> complete(const Item& item, const Task& task) {
    const Multipart& upload = *multipart_;
    std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    Sha256 over;
    for (std::size_t i = 0; i < upload.parts.size(); ++i) {
      over.update(upload.parts[i].sha256);
      xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + upload.parts[i].etag +
             "</ETag><ChecksumSHA256>" + base64_of(upload.parts[i].sha256) + "</ChecksumSHA256></Part>";
    }
    xml += "</CompleteMultipartUpload>";
    Item body;
    body.size_bytes = xml.size();
    body.open = [&xml] {
      return Result<std::unique_ptr<ByteSource>>(std::make_unique<MemorySource>(std::string_view(xml)));
    };
    Sha256 payload;
    payload.update(xml);
    const Reply reply = ask("POST", path_of(upload.name), {{"uploadId", upload.id}},
                            {{"if-none-match", "*"}, {"content-type", "application/xml"}}, &body, nullptr,
                            task, payload.digest());
    // A status of 200 may come before it is done, and an error after it.
    const bool failed_late = is_done(reply) && !element(reply.body, "Code").empty();
    if (!is_done(reply) || failed_late) {
      Refusal no = refused_put(reply, upload.name);
      no.can_pass = no.can_pass || failed_late;
      return no;
    }
    const Digest whole = upload.whole.digest();
    composites_[upload.name] = {base64_of(over.digest()) + "-" + std::to_string(upload.parts.size()), whole};
    if (item.measured) *item.measured = whole;
    multipart_.reset();
    return Done{};
  }

  void abort(const Task& task) {
    if (!multipart_) return;
    (void)ask("DELETE", path_of(multipart_->name), {{"uploadId", multipart_->id}}, {}, nullptr, nullptr,
              task);
    multipart_.reset();
  }

  [[nodiscard]] std::string path_of(const std::string& name) const {
    return encode_path(join_path(folder_, name));
  }

  Reply ask(const std::string& method, const std::string& path, std::map<std::string, std::string> query,
            std::map<std::string, std::string> headers, const Item* upload, Sha256* hash, const Task& task,
            std::optional<Digest> payload = std::nullopt, std::uint64_t most_bytes = 0) {
    AwsRequest request{method, endpoint_.host, path, std::move(query), std::move(headers),
                       {},     sys::realtime()};
    request.payload = payload ? *payload : Sha256().digest();
    CurlSession::Request asked;
    const std::string sent = canonical_query(request.query);
    asked.url = endpoint_.base + path + (sent.empty() ? "" : "?" + sent);
    asked.headers = sign(request, keys_);
    asked.no_body = method == "HEAD";
    if (method == "POST" || method == "DELETE") asked.method = method;
    asked.upload = upload;
    asked.hash = hash;
    asked.most_bytes = most_bytes;
    return session_->perform(asked, task);
  }

  Refusal refused_put(const Reply& reply, const std::string& name) {
    if (reply.code == CURLE_OK && reply.response == 412)
      return not_replaced(place_, name, "somebody put another object there");
    return refused(reply, name);
  }

  Refusal refused(const Reply& reply, const std::string& what) {
    Refusal no = refusal_of(*session_, reply, what);
    if (reply.code != CURLE_OK) return no;
    const std::string code = element(reply.body, "Code");
    if (!code.empty()) no.error.what += " " + code + " " + element(reply.body, "Message");
    const std::string region = header(reply.headers, "x-amz-bucket-region");
    if (!region.empty() && region != keys_.region)
      no.error.what += "; the bucket is in " + region + ": --s3-region";
    if (code == "RequestTimeTooSkewed") no.error.what += "; the clock of this node is wrong";
    if (reply.response == 409) no.can_pass = true;
    return no;
  }

  std::unique_ptr<CurlSession> session_;
  std::string place_;
  Endpoint endpoint_;
  AwsKeys keys_;
  std::string folder_;
  std::optional<Multipart> multipart_;
  std::map<std::string, Composite> composites_;  // of this run
};

}  // namespace

Answer<std::unique_ptr<Destination>> open_s3(const Url& url, const Options& options, const Task& task) {
  auto keys = find_keys(options);
  if (!keys) return refusal(keys.error().code, keys.error().what);
  auto endpoint = endpoint_of(url, options, keys->region);
  if (!endpoint) return refusal(endpoint.error().code, endpoint.error().what);
  auto session = CurlSession::open(url, options, Login(), [](CURL* handle) {
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https");
  });
  if (!session) return refusal(session.error().code, session.error().what);
  auto bucket = std::make_unique<S3>(*std::move(session), url, *std::move(endpoint), *std::move(keys));
  const auto in = bucket->log_in(task);
  if (const auto* no = std::get_if<Refusal>(&in)) return *no;
  return std::unique_ptr<Destination>(std::move(bucket));
}

}  // namespace ctriage::transfer
