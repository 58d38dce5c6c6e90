/* SPDX-License-Identifier: Apache-2.0
 * base/hash.h - keyed hashing (SipHash-1-3) and CRC32C (RFC 3720, Castagnoli). */
#ifndef FLOWBUS_BASE_HASH_H
#define FLOWBUS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t k0, k1;
};

/** A random key from the kernel. */
struct hash_key hash_key_random(void);
/** SipHash-1-3 of @n bytes. For tables that hostile bytes reach. */
uint64_t hash_bytes(struct hash_key key, const void *p, size_t n);
/** @n random bytes from the kernel; stops the process when there are none. */
void random_bytes(void *p, size_t n);

/** CRC32C over @n bytes, continuing from @crc (0 to start). Uses the CPU's instruction if there. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
