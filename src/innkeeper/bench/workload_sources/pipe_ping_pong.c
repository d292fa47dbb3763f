/* SPDX-License-Identifier: Apache-2.0 */
/* Two processes hand a number to and fro: context switches between address spaces. */
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

static void serve(int in, int out)
{
    uint64_t number;
    while (read(in, &number, sizeof number) == sizeof number) {
        number = number * 3 + 1;
        if (write(out, &number, sizeof number) != sizeof number)
            break;
    }
    _exit(0);
}

uint64_t pipe_ping_pong(unsigned repetitions)
{
    int there[2], back[2];
    uint64_t number = 1;
    if (pipe(there) || pipe(back))
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(there[1]);
        close(back[0]);
        serve(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    for (unsigned i = 0; i < repetitions; i++)
        if (write(there[1], &number, sizeof number) != sizeof number ||
            read(back[0], &number, sizeof number) != sizeof number)
            fail("pipe");
    close(there[1]);
    waitpid(pid, NULL, 0);
    return number;
}
