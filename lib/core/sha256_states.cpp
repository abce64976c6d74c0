#include "lib/core/sha256_states.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

namespace ctriage {
namespace {

alignas(16) constexpr std::uint32_t kRoundConstants[64] = {  // FIPS 180-4, 4.2.2
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::size_t kBlockBytes = 64;

__m128i* at(std::uint32_t* words) { return reinterpret_cast<__m128i*>(words); }

// The instructions want the eight words as (F, E, B, A) and (H, G, D, C).
struct State {
  __m128i abef;
  __m128i cdgh;
};

[[gnu::target("sha,ssse3,sse4.1")]] State load(std::uint32_t* words) {
  const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(at(words)), 0xB1);
  const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(at(words + 4)), 0x1B);
  return {_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xF0)};
}

[[gnu::target("sha,ssse3,sse4.1")]] void store(const State& state, std::uint32_t* words) {
  const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(state.cdgh, 0xB1);
  _mm_storeu_si128(at(words), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(at(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

[[gnu::target("sha,ssse3,sse4.1")]] void add(State& to, const State& what) {
  to.abef = _mm_add_epi32(to.abef, what.abef);
  to.cdgh = _mm_add_epi32(to.cdgh, what.cdgh);
}

template <std::size_t N>
[[gnu::target("sha,ssse3,sse4.1")]] void compress_block(std::array<State, N>& states,
                                                        const std::byte* block) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i w[4];  // sixteen words of the message schedule, four rounds' in each
  for (std::size_t i = 0; i < 4; ++i)
    w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i), big_endian);
  const std::array<State, N> before = states;
#pragma GCC unroll 16
  for (std::size_t step = 0; step < 16; ++step) {  // four rounds each
    __m128i& now = w[step % 4];
    const __m128i low =
        _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants) + step));
    const __m128i high = _mm_shuffle_epi32(low, 0x0E);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < N; ++i)
      states[i].cdgh = _mm_sha256rnds2_epu32(states[i].cdgh, states[i].abef, low);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < N; ++i)
      states[i].abef = _mm_sha256rnds2_epu32(states[i].abef, states[i].cdgh, high);
    if (step >= 12) continue;  // all 64 words are there
    const __m128i last = w[(step + 3) % 4];
    const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(step + 1) % 4]),
                                      _mm_alignr_epi8(last, w[(step + 2) % 4], 4));
    now = _mm_sha256msg2_epu32(sum, last);
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < N; ++i) add(states[i], before[i]);
}

template <std::size_t N>
[[gnu::target("sha,ssse3,sse4.1")]] void compress_blocks(std::array<std::uint32_t*, N> words,
                                                         std::span<const std::byte> blocks) {
  std::array<State, N> states;
  for (std::size_t i = 0; i < N; ++i) states[i] = load(words[i]);
  for (; !blocks.empty(); blocks = blocks.subspan(kBlockBytes)) compress_block(states, blocks.data());
  for (std::size_t i = 0; i < N; ++i) store(states[i], words[i]);
}

}  // namespace

bool has_sha_extensions() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  const bool vectors = (ecx & bit_SSSE3) != 0 && (ecx & bit_SSE4_1) != 0;
  return vectors && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

void compress(std::array<std::uint32_t*, 2> states, std::span<const std::byte> blocks) {
  compress_blocks(states, blocks);
}
void compress(std::array<std::uint32_t*, 3> states, std::span<const std::byte> blocks) {
  compress_blocks(states, blocks);
}

}  // namespace ctriage

#else

namespace ctriage {

bool has_sha_extensions() { return false; }
void compress(std::array<std::uint32_t*, 2>, std::span<const std::byte>) {}
void compress(std::array<std::uint32_t*, 3>, std::span<const std::byte>) {}

}  // namespace ctriage

#endif
