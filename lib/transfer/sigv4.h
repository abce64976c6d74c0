#pragma once
// AWS Signature Version 4 (docs.aws.amazon.com, "Create a signed AWS API request"), for S3: the path is
// encoded once, and the payload's digest is always signed.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/values.h"
#include "lib/transfer/secrets.h"

namespace ctriage::transfer {

struct AwsKeys {
  std::string access_key;
  Secret secret_key;
  Secret session_token;  // empty: none
  std::string region;
};

struct AwsRequest {
  std::string method;
  std::string host;                            // with the port, where it is not the scheme's
  std::string path;                            // encoded, encode_path()
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // further ones to sign, names in lower case
  Digest payload{};
  Timestamp at;
};

// The headers to send, as "name: value": those of the request, host left out, x-amz-date,
// x-amz-content-sha256, the token and authorization.
std::vector<std::string> sign(const AwsRequest& request, const AwsKeys& keys,
                              std::string_view service = "s3");
// The query as it is signed and sent: sorted and encoded, without "?".
std::string canonical_query(const std::map<std::string, std::string>& query);

}  // namespace ctriage::transfer
