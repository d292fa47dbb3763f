/* SPDX-License-Identifier: Apache-2.0 */
/* Copy, scale and add over arrays larger than the caches. */
#include "workload.h"

#define COUNT (1 << 19)

uint64_t memory_stream(unsigned repetitions)
{
    static uint64_t a[COUNT], b[COUNT], c[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        a[i] = i;
    for (unsigned r = 0; r < repetitions; r++) {
        for (size_t i = 0; i < COUNT; i++)
            c[i] = a[i];
        for (size_t i = 0; i < COUNT; i++)
            b[i] = 3 * c[i];
        for (size_t i = 0; i < COUNT; i++)
            a[i] = b[i] + c[i] + r;
        __asm__ volatile("" ::: "memory");
    }
    return mix(mix(a[1], a[COUNT / 2]), a[COUNT - 1]);
}
