/* SPDX-License-Identifier: Apache-2.0
 * base/hash.c - SipHash-1-3 (Aumasson and Bernstein's design) and CRC32C. */
#include "base/hash.h"

#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

void
random_bytes(void *p, size_t n)
{
	uint8_t *to = p;
	while (n > 0) {
		ssize_t got = getrandom(to, n < 256 ? n : 256, 0);
		assert_always(got > 0);
		to += got;
		n -= (size_t)got;
	}
}

struct hash_key
hash_key_random(void)
{
	struct hash_key k;
	random_bytes(&k, sizeof(k));
	return k;
}

static inline uint64_t
rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

struct sip {
	uint64_t a, b, c, d;
};

static inline void
sip_round(struct sip *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = rotl(s->b, 13) ^ s->a;
	s->d = rotl(s->d, 16) ^ s->c;
	s->a = rotl(s->a, 32);
	s->c += s->b;
	s->a += s->d;
	s->b = rotl(s->b, 17) ^ s->c;
	s->d = rotl(s->d, 21) ^ s->a;
	s->c = rotl(s->c, 32);
}

uint64_t
hash_bytes(struct hash_key key, const void *p, size_t n)
{
	struct sip s = {key.k0 ^ UINT64_C(0x736f6d6570736575), key.k1 ^ UINT64_C(0x646f72616e646f6d),
	    key.k0 ^ UINT64_C(0x6c7967656e657261), key.k1 ^ UINT64_C(0x7465646279746573)};
	const uint8_t *in = p;
	uint64_t last = (uint64_t)n << 56, w;
	for (; n >= 8; n -= 8, in += 8) {
		memcpy(&w, in, 8);
		s.d ^= w;
		sip_round(&s);
		s.a ^= w;
	}
	w = 0;
	if (n > 0)
		memcpy(&w, in, n);
	last |= w;
	s.d ^= last;
	sip_round(&s);
	s.a ^= last;
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

static uint32_t
crc32c_byte(uint32_t crc, uint8_t byte)
{
	crc ^= byte;
	for (int i = 0; i < 8; i++)
		crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	return crc;
}

static uint32_t
crc32c_plain(uint32_t crc, const uint8_t *p, size_t n)
{
	/* four bits at a time: small, and only for CPUs without the instruction */
	uint32_t table[16];
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t c = i;
		for (int k = 0; k < 4; k++)
			c = c >> 1 ^ (0x82f63b78u & (0u - (c & 1)));
		table[i] = c;
	}
	if (n < 16) {
		while (n-- > 0)
			crc = crc32c_byte(crc, *p++);
		return crc;
	}
	for (; n > 0; n--, p++) {
		crc ^= *p;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc, w;
	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&w, p, 8);
		c = _mm_crc32_u64(c, w);
	}
	uint32_t r = (uint32_t)c;
	while (n-- > 0)
		r = _mm_crc32_u8(r, *p++);
	return r;
}
#endif

uint32_t
crc32c(uint32_t crc, const void *p, size_t n)
{
	crc = ~crc;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_sse(crc, p, n);
#endif
	return ~crc32c_plain(crc, p, n);
}
