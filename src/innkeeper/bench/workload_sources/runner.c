/* SPDX-License-Identifier: Apache-2.0 */
/*
 * innkeeper-bench ROUNDS [NAME...]: run each workload ROUNDS times, in a process of its own, and print
 *     innkeeper-bench start
 *     innkeeper-bench result NAME NANOSECONDS CHECKSUM
 *     innkeeper-bench end
 * Time is the CLOCK_MONOTONIC of where it runs around the whole child. "NAME=COMMAND" measures a command of the
 * image, run by "sh -c"; its checksum is that of its standard output. It runs once before anything is measured,
 * so that its files have been read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "workload.h"

/* Name, how often, and what bounds it: CPU, FLOAT (linear algebra in double precision, which is CPU too) or OS. */
#define WORKLOADS(DO) \
    DO(integer_mix, 90, CPU) DO(string_records, 2400000, CPU) DO(sieve, 20, CPU) DO(quicksort, 5, CPU) \
    DO(fibonacci, 35, CPU) DO(interpreter, 3, CPU) DO(regular_expression, 25, CPU) DO(compress, 10, CPU) \
    DO(sha256, 6, CPU) DO(memory_stream, 30, CPU) DO(pointer_chase, 16, CPU) DO(nbody, 300000, CPU) \
    DO(matrix_multiply, 6, FLOAT) DO(linear_solve, 40, FLOAT) \
    DO(system_calls, 90000, OS) DO(page_faults, 20, OS) DO(fork_exit, 500, OS) DO(fork_exec, 200, OS) \
    DO(pipe_ping_pong, 15000, OS) DO(pipe_throughput, 256, OS) DO(context_switch, 3000, OS)

#define DECLARE(name, repetitions, kind) uint64_t name(unsigned);
WORKLOADS(DECLARE)

static const struct {
    const char *name;
    workload_function run;
    unsigned repetitions;
} workloads[] = {
#define ENTRY(name, repetitions, kind) {#name, name, repetitions},
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

static void run_once(const char *command)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            fail("/dev/null");
        execl("/bin/sh", "sh", "-c", command, (char *)0);
        _exit(127);
    }
    waitpid(pid, &status, 0);
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
    if (argc > 1 && !strcmp(argv[1], EXIT_AT_ONCE))
        return 0;
    if (argc > 1 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < COUNT; i++)
            puts(workloads[i].name);
        return 0;
    }
    for (int i = 2; i < argc; i++)
        if (strchr(argv[i], '='))
            run_once(strchr(argv[i], '=') + 1);
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
