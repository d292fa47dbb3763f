/* SPDX-License-Identifier: Apache-2.0 */
/* A workload does its work `repetitions` times and gives a checksum, equal on every machine. */
#ifndef WORKLOAD_H
#define WORKLOAD_H
#include <stdint.h>
#include <stddef.h>

typedef uint64_t (*workload_function)(unsigned repetitions);

static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum ^= value;
    sum *= 0x9e3779b97f4a7c15u;
    return sum ^ (sum >> 29);
}

/* xorshift64: the same numbers everywhere. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Stop the process with a message: a workload that fails must not look fast. */
void fail(const char *what) __attribute__((noreturn));

/* The argument with which the program does nothing. */
#define EXIT_AT_ONCE "--exit"
#endif
