/* SPDX-License-Identifier: Apache-2.0 */
/* Eight processes in a ring hand on a number; each works on 16 pages of its own before, so that every switch
 * brings another working set. */
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

#define PROCESSES 8
#define PAGES 16
#define PAGE_WORDS 512

struct token {
    uint64_t number;
    uint64_t is_last;
};

static volatile uint64_t memory[PAGES][PAGE_WORDS];

static uint64_t work(uint64_t number, unsigned process)
{
    for (unsigned page = 0; page < PAGES; page++) {
        number = mix(number, memory[page][page * 8] + process);
        memory[page][page * 8] = number;
    }
    return number;
}

static void stay_in_ring(int in, int out, unsigned process)
{
    struct token token;
    do {
        if (read(in, &token, sizeof token) != sizeof token)
            _exit(1);
        token.number = work(token.number, process);
        if (write(out, &token, sizeof token) != sizeof token)
            _exit(1);
    } while (!token.is_last);
    _exit(0);
}

uint64_t context_switch(unsigned repetitions)
{
    int pipes[PROCESSES][2];
    struct token token = {1, 0};
    for (unsigned i = 0; i < PROCESSES; i++)
        if (pipe(pipes[i]))
            fail("pipe");
    for (unsigned i = 1; i < PROCESSES; i++) {
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        if (pid == 0)
            stay_in_ring(pipes[i - 1][0], pipes[i][1], i);
    }
    for (unsigned turn = 1; turn <= repetitions; turn++) {
        token.number = work(token.number, 0);
        token.is_last = turn == repetitions;
        if (write(pipes[0][1], &token, sizeof token) != sizeof token ||
            read(pipes[PROCESSES - 1][0], &token, sizeof token) != sizeof token)
            fail("pipe");
    }
    while (wait(NULL) > 0)
        ;
    return token.number;
}
