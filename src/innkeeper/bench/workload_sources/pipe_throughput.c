/* SPDX-License-Identifier: Apache-2.0 */
/* One process writes megabytes into a pipe, another reads them: copies in the kernel. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

#define CHUNK_BYTES (1 << 16)
#define CHUNKS_A_MEGABYTE 16

static uint8_t chunk[CHUNK_BYTES];

static void produce(int out, unsigned chunks)
{
    memset(chunk, 1, sizeof chunk);
    for (unsigned i = 0; i < chunks; i++) {
        chunk[0] = (uint8_t)i;
        for (size_t done = 0; done < sizeof chunk;) {
            ssize_t written = write(out, chunk + done, sizeof chunk - done);
            if (written <= 0)
                _exit(1);
            done += (size_t)written;
        }
    }
    _exit(0);
}

uint64_t pipe_throughput(unsigned repetitions)
{
    int ends[2], status;
    uint64_t sum = 0;
    if (pipe(ends))
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(ends[0]);
        produce(ends[1], repetitions * CHUNKS_A_MEGABYTE);
    }
    close(ends[1]);
    for (size_t filled = 0;;) {
        ssize_t got = read(ends[0], chunk + filled, sizeof chunk - filled);
        if (got <= 0)
            break;
        filled += (size_t)got;
        if (filled == sizeof chunk) {
            sum = mix(sum, chunk[0] + 256u * chunk[CHUNK_BYTES - 1]);
            filled = 0;
        }
    }
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid || status)
        fail("the writer");
    return sum;
}
