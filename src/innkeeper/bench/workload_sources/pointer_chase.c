/* SPDX-License-Identifier: Apache-2.0 */
/* One random cycle through 16 MiB: each load depends on the one before, nearly each on another page. */
#include "workload.h"

#define COUNT (1 << 18)

struct cell {
    struct cell *next;
    uint64_t filler[7];
};

uint64_t pointer_chase(unsigned repetitions)
{
    static struct cell cells[COUNT];
    static uint32_t order[COUNT];
    uint64_t seed = 7;
    for (uint32_t i = 0; i < COUNT; i++)
        order[i] = i;
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t other = (uint32_t)(next_random(&seed) % i);
        uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (uint32_t i = 0; i < COUNT; i++)
        cells[order[i]].next = &cells[order[(i + 1) % COUNT]];
    struct cell *at = cells;
    for (uint64_t step = 0; step < (uint64_t)repetitions * (COUNT / 2); step++)
        at = at->next;
    return (uint64_t)(at - cells);
}
