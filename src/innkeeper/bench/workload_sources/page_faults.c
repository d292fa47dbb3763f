/* SPDX-License-Identifier: Apache-2.0 */
/* Map four megabytes, touch each page, unmap: the kernel's page fault path and TLB flushes. */
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#include "workload.h"

#define BYTES (4 << 20)

uint64_t page_faults(unsigned repetitions)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < repetitions; i++) {
        volatile uint8_t *pages =
            mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED)
            fail("mmap");
        madvise((void *)pages, BYTES, MADV_NOHUGEPAGE);
        for (size_t at = 0; at < BYTES; at += 4096) {
            sum += pages[at] + 1u;
            pages[at] = (uint8_t)i;
        }
        munmap((void *)pages, BYTES);
    }
    return sum;
}
