/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xcat - carry standard input to a stream socket and what comes back to standard output.
 *
 *     xcat tcp ADDRESS PORT       connect
 *     xcat vsock CID PORT
 *     xcat -l tcp PORT            accept one connection; "listening" on stderr when it can come
 *     xcat -l vsock PORT
 *
 * Both directions move at the same time, and the end of one is told to the other side by closing
 * half of the connection: that is what a busybox guest has no program for, least of all for
 * AF_VSOCK. Status 0 when both directions came to their end. A process for each direction.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536, STATUS_USAGE = 2 };

union address {
    struct sockaddr any;
    struct sockaddr_in tcp;
    struct sockaddr_vm vsock;
};

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "xcat: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* Return: the length of the address, 0 when the words make none. NULL @host: any. */
static socklen_t make_address(union address *ret, const char *family, const char *host,
                              const char *port)
{
    unsigned long number = strtoul(port, NULL, 10);

    memset(ret, 0, sizeof(*ret));
    if (strcmp(family, "vsock") == 0) {
        ret->vsock.svm_family = AF_VSOCK;
        ret->vsock.svm_port = (unsigned)number;
        ret->vsock.svm_cid = host != NULL ? (unsigned)strtoul(host, NULL, 10) : VMADDR_CID_ANY;
        return sizeof(ret->vsock);
    }
    ret->tcp.sin_family = AF_INET;
    ret->tcp.sin_port = htons((uint16_t)number);
    if (strcmp(family, "tcp") != 0 || number > UINT16_MAX ||
        (host != NULL && inet_pton(AF_INET, host, &ret->tcp.sin_addr) != 1))
        return 0;
    return sizeof(ret->tcp);
}

static int accept_one(int fd, const union address *at, socklen_t len)
{
    int on = 1, peer;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, &at->any, len) < 0 || listen(fd, 1) < 0)
        fail("listen");
    (void)fprintf(stderr, "listening\n");
    peer = accept(fd, NULL, NULL);
    if (peer < 0)
        fail("accept");
    return peer;
}

static void copy(int from, int to)
{
    static char buf[CHUNK_BYTES];
    ssize_t n;

    while ((n = read(from, buf, sizeof(buf))) > 0) {
        for (ssize_t sent = 0, m; sent < n; sent += m) {
            m = write(to, buf + sent, (size_t)(n - sent));
            if (m < 0)
                fail("write");
        }
    }
    if (n < 0)
        fail("read");
}

int main(int argc, char **argv)
{
    bool listens = argc == 4 && strcmp(argv[1], "-l") == 0;
    union address at;
    socklen_t len = 0;
    pid_t sender;
    int fd, status;

    if (argc == 4)
        len = make_address(&at, listens ? argv[2] : argv[1], listens ? NULL : argv[2], argv[3]);
    if (len == 0) {
        (void)fprintf(stderr, "usage: xcat tcp|vsock HOST PORT, or xcat -l tcp|vsock PORT\n");
        return STATUS_USAGE;
    }
    fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    if (listens)
        fd = accept_one(fd, &at, len);
    else if (connect(fd, &at.any, len) < 0)
        fail("connect");

    sender = fork();
    if (sender < 0)
        fail("fork");
    if (sender == 0) {
        copy(STDIN_FILENO, fd);
        if (shutdown(fd, SHUT_WR) < 0)
            fail("shutdown");
        return 0;
    }
    copy(fd, STDOUT_FILENO);
    if (waitpid(sender, &status, 0) < 0)
        fail("wait");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EXIT_FAILURE;
}
