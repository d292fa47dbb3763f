/* SPDX-License-Identifier: Apache-2.0 */
/*
 * innkeeper-bench ROUNDS [NAME...]: run each workload ROUNDS times, in a process of its own, and print
 *     innkeeper-bench start
 *     innkeeper-bench result NAME NANOSECONDS CHECKSUM
 *     innkeeper-bench end
 * Time is the guest's CLOCK_MONOTONIC around the whole child. A NAME that is a path is executed, with "sh -c",
 * and its checksum is that of its standard output; so commands of the image are measured too:
 * "python3=python3 -c 'print(1)'" gives it the name before the equals sign.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "workload.h"

#define WORKLOADS(DO) \
    DO(integer_mix, 90) DO(string_records, 2400000) DO(sieve, 20) DO(quicksort, 5) DO(fibonacci, 35) \
    DO(interpreter, 3) DO(memory_stream, 10) DO(pointer_chase, 16) DO(matrix_multiply, 4) DO(nbody, 300000) \
    DO(compress, 10) DO(sha256, 6) DO(system_calls, 90000) DO(page_faults, 20) DO(fork_exit, 500) \
    DO(pipe_ping_pong, 7000)

#define DECLARE(name, repetitions) uint64_t name(unsigned);
WORKLOADS(DECLARE)

static const struct {
    const char *name;
    workload_function run;
    unsigned repetitions;
} workloads[] = {
#define ENTRY(name, repetitions) {#name, name, repetitions},
    WORKLOADS(ENTRY)
};
#define COUNT (sizeof workloads / sizeof workloads[0])

void fail(const char *what)
{
    perror(what);
    _exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The child: write the checksum to the pipe, or be the command whose output the parent sums up. */
static void child(int out, int index, const char *command)
{
    if (command) {
        dup2(out, 1);
        execl("/bin/sh", "sh", "-c", command, (char *)0);
        _exit(127);
    }
    char line[24];
    int length = snprintf(line, sizeof line, "%016llx",
                          (unsigned long long)workloads[index].run(workloads[index].repetitions));
    if (write(out, line, (size_t)length) != length)
        fail("write");
    _exit(0);
}

static void measure(const char *name, int index, const char *command)
{
    int ends[2], status;
    char buffer[4096];
    uint64_t sum = 0;
    ssize_t got;
    if (pipe(ends))
        fail("pipe");
    fflush(stdout);
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(ends[0]);
        child(ends[1], index, command);
    }
    close(ends[1]);
    while ((got = read(ends[0], buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < got; i++)
            sum = mix(sum, (unsigned char)buffer[i]);
    close(ends[0]);
    waitpid(pid, &status, 0);
    uint64_t elapsed = now_ns() - start;
    if (status)
        printf("innkeeper-bench failed %s %d\n", name, status);
    else
        printf("innkeeper-bench result %s %llu %016llx\n", name, (unsigned long long)elapsed,
               (unsigned long long)sum);
}

static void measure_named(const char *wanted)
{
    const char *equals = strchr(wanted, '=');
    if (equals) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(equals - wanted), wanted);
        measure(name, -1, equals + 1);
        return;
    }
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(workloads[i].name, wanted)) {
            measure(wanted, (int)i, NULL);
            return;
        }
    printf("innkeeper-bench failed %s 127\n", wanted);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    if (argc > 1 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < COUNT; i++)
            puts(workloads[i].name);
        return 0;
    }
    puts("innkeeper-bench start");
    fflush(stdout);
    for (int round = 0; round < rounds; round++) {
        if (argc > 2)
            for (int i = 2; i < argc; i++)
                measure_named(argv[i]);
        else
            for (size_t i = 0; i < COUNT; i++)
                measure(workloads[i].name, (int)i, NULL);
    }
    puts("innkeeper-bench end");
    return 0;
}
