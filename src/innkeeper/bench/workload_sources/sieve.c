/* SPDX-License-Identifier: Apache-2.0 */
/* The sieve of Eratosthenes over two million numbers: byte stores with strides. */
#include <string.h>
#include "workload.h"

#define LIMIT 2000000

uint64_t sieve(unsigned repetitions)
{
    static uint8_t composite[LIMIT];
    uint64_t sum = 0;
    for (unsigned i = 0; i < repetitions; i++) {
        memset(composite, 0, sizeof composite);
        for (size_t n = 2; n < LIMIT; n++) {
            if (composite[n])
                continue;
            sum += n;
            for (size_t multiple = n * n; multiple < LIMIT; multiple += n)
                composite[multiple] = 1;
        }
    }
    return sum;
}
