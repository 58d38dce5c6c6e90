/* SPDX-License-Identifier: Apache-2.0
 * filter/kernel_avx2.c - the kernels for x86-64 with AVX2; this file is compiled with -mavx2. */
#include "filter/kernel.h"

#ifdef __AVX2__
#define KERNELS		kernels_here
#define KERNELS_NAME	"avx2"
#define KERNELS_LINKAGE static
#include "filter/kernel_impl.h"

const struct kernels *
kernels_avx2(void)
{
	return &kernels_here;
}
#else
const struct kernels *
kernels_avx2(void)
{
	return NULL;
}
#endif
