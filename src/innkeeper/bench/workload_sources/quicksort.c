/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's qsort of pseudo-random numbers: calls through a pointer, unpredictable branches. */
#include <stdlib.h>
#include "workload.h"

#define COUNT 200000

static int compare(const void *one, const void *two)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)two;
    return (a > b) - (a < b);
}

uint64_t quicksort(unsigned repetitions)
{
    static uint64_t numbers[COUNT];
    uint64_t seed = 42, sum = 0;
    for (unsigned i = 0; i < repetitions; i++) {
        for (size_t k = 0; k < COUNT; k++)
            numbers[k] = next_random(&seed);
        qsort(numbers, COUNT, sizeof numbers[0], compare);
        for (size_t k = 0; k < COUNT; k += 1000)
            sum = mix(sum, numbers[k]);
    }
    return sum;
}
