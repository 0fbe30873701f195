/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request and response over one TCP connection, one byte each way, one at a time.
 *
 * "pingpong" alone serves on port 5299 for ever, one client after another; "pingpong ADDRESS
 * SECONDS" asks for that long and prints the number of round trips and the seconds they took.
 * Linked statically, so that host and guest run the same file.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 5299 };

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int serve(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
    char byte;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (s < 0 || bind(s, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(s, 1) < 0)
        return fail("listen");
    while ((c = accept4(s, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        while (read(c, &byte, 1) == 1 && write(c, &byte, 1) == 1)
            ;
        close(c);
    }
    return fail("accept");
}

static int ask(const char *address, double seconds)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned long trips = 0;
    double start, end;
    char byte = 0;

    if (inet_pton(AF_INET, address, &addr.sin_addr) != 1 || s < 0 ||
        connect(s, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return fail("connect");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    start = now();
    do {
        if (write(s, &byte, 1) != 1 || read(s, &byte, 1) != 1)
            return fail("exchange");
        trips++;
        end = now();
    } while (end - start < seconds);
    printf("%lu %.6f\n", trips, end - start);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return serve();
    if (argc != 3) {
        fprintf(stderr, "usage: pingpong [ADDRESS SECONDS]\n");
        return 2;
    }
    return ask(argv[1], strtod(argv[2], NULL));
}
