/* SPDX-License-Identifier: Apache-2.0 */
/* Create a process that ends at once, and wait for it. */
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

uint64_t fork_exit(unsigned repetitions)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < repetitions; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            _exit((int)(i & 127));
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            fail("fork");
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}
