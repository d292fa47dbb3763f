/* SPDX-License-Identifier: Apache-2.0 */
/* One byte written to and read from a pipe: two system calls a turn, no other process. */
#include <unistd.h>
#include "workload.h"

uint64_t system_calls(unsigned repetitions)
{
    int ends[2];
    uint64_t sum = 0;
    if (pipe(ends))
        fail("pipe");
    for (unsigned i = 0; i < repetitions; i++) {
        uint8_t byte = (uint8_t)i;
        if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
            fail("pipe");
        sum += byte;
    }
    return sum;
}
