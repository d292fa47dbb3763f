/* SPDX-License-Identifier: Apache-2.0 */
/* Doubly recursive Fibonacci: calls and returns. `repetitions` is the number asked for. */
#include "workload.h"

static uint64_t __attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline"))) recurse(unsigned n)
{
    return n < 2 ? n : recurse(n - 1) + recurse(n - 2);
}

uint64_t fibonacci(unsigned repetitions)
{
    return recurse(repetitions);
}
