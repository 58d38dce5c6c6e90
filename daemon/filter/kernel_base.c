/* SPDX-License-Identifier: Apache-2.0
 * filter/kernel_base.c - the kernels for any CPU. */
#define KERNELS	     kernels_base
#define KERNELS_NAME "base"
#define KERNELS_LINKAGE
#include "filter/kernel_impl.h"
