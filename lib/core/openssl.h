#pragma once

namespace ctriage {

// Before anything else of OpenSSL's: it reads no configuration. A node's openssl.cnf (config(5)) names
// modules that are loaded into whoever reads it, and the node may be the intruder's.
void ignore_openssl_configuration();

}  // namespace ctriage
