#include "lib/core/openssl.h"

#include <openssl/crypto.h>

namespace ctriage {

// Whatever asks for the configuration later finds that this was settled: OPENSSL_init_crypto(3).
void ignore_openssl_configuration() { OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr); }

}  // namespace ctriage
