/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of the network benchmark: network ADDRESS PORT MEASUREMENT STREAMS AMOUNT ...
 *
 * Each measurement takes three arguments and prints `result NAME AMOUNT NANOSECONDS`:
 *   send S B     S connections at once, together B bytes to the host; ends when the host has confirmed all
 *   receive S B  the same from the host
 *   http S N     N requests of a small page, S at a time, each on a connection of its own
 *   udp S N      N datagrams of 1400 bytes; ends with how many the host has counted
 * Ports: PORT takes and confirms bytes, PORT+1 gives them, PORT+2 is HTTP, PORT+3 counts datagrams.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256 << 10)
#define DATAGRAM_BYTES 1400
#define PAGE_REQUEST "GET / HTTP/1.0\r\nHost: host\r\n\r\n"

static struct sockaddr_in host;
static char buffer[BUFFER_BYTES];

static void fail(const char *what)
{
    perror(what);
    _exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + time.tv_nsec;
}

static int open_socket(int type, int port_offset)
{
    struct sockaddr_in address = host;
    int fd = socket(AF_INET, type, 0);
    address.sin_port = htons(ntohs(host.sin_port) + port_offset);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    return fd;
}

static void send_bytes(uint64_t amount)
{
    int fd = open_socket(SOCK_STREAM, 0);
    while (amount) {
        ssize_t sent = write(fd, buffer, amount < BUFFER_BYTES ? amount : BUFFER_BYTES);
        if (sent <= 0)
            fail("write");
        amount -= sent;
    }
    shutdown(fd, SHUT_WR);
    if (read(fd, buffer, 1) != 1)
        fail("confirmation");
    close(fd);
}

static void receive_bytes(uint64_t amount)
{
    int fd = open_socket(SOCK_STREAM, 1);
    uint64_t wanted = amount;
    if (write(fd, &wanted, sizeof wanted) != sizeof wanted)
        fail("write");
    while (amount) {
        ssize_t got = read(fd, buffer, BUFFER_BYTES);
        if (got <= 0)
            fail("read");
        amount -= got;
    }
    close(fd);
}

static void request_pages(uint64_t count)
{
    while (count--) {
        int fd = open_socket(SOCK_STREAM, 2);
        ssize_t got, total = 0;
        if (write(fd, PAGE_REQUEST, strlen(PAGE_REQUEST)) < 0)
            fail("write");
        while ((got = read(fd, buffer, BUFFER_BYTES)) > 0)
            total += got;
        if (got < 0 || total < 100)
            fail("page");
        close(fd);
    }
}

/* Returns how many datagrams arrived: an empty one asks, and is repeated until it is answered. */
static uint64_t send_datagrams(uint64_t count)
{
    int fd = open_socket(SOCK_DGRAM, 3);
    struct timeval patience = {0, 200000};
    uint64_t counted = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (count)
        if (send(fd, buffer, DATAGRAM_BYTES, 0) == DATAGRAM_BYTES)
            count--;
        else if (errno != ENOBUFS && errno != EAGAIN)
            fail("send");
    for (int tries = 0; tries < 25; tries++) {
        send(fd, buffer, 0, 0);
        if (recv(fd, &counted, sizeof counted, 0) == sizeof counted)
            break;
    }
    close(fd);
    return counted;
}

static void together(void (*work)(uint64_t), unsigned streams, uint64_t amount)
{
    int status, failed = 0;
    for (unsigned i = 0; i < streams; i++)
        if (fork() == 0) {
            work(amount / streams);
            _exit(0);
        }
    while (wait(&status) > 0)
        failed |= status;
    if (failed)
        fail("a stream");
}

int main(int count, char **words)
{
    if (count < 3)
        return 2;
    host.sin_family = AF_INET;
    host.sin_addr.s_addr = inet_addr(words[1]);
    host.sin_port = htons(atoi(words[2]));
    for (int i = 3; i + 2 < count; i += 3) {
        const char *name = words[i];
        unsigned streams = atoi(words[i + 1]);
        uint64_t amount = strtoull(words[i + 2], NULL, 10), start = now_ns();
        if (!strcmp(name, "send"))
            together(send_bytes, streams, amount);
        else if (!strcmp(name, "receive"))
            together(receive_bytes, streams, amount);
        else if (!strcmp(name, "http"))
            together(request_pages, streams, amount);
        else
            amount = send_datagrams(amount) * DATAGRAM_BYTES;
        printf("result %s%u %llu %llu\n", name, streams, (unsigned long long)amount,
               (unsigned long long)(now_ns() - start));
        fflush(stdout);
    }
    return 0;
}
