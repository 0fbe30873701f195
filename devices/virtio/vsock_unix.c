/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the socket device.
 *
 * A process of the host connects to PATH and writes "CONNECT <port>\n"; it reads "OK <port>\n"
 * when the guest has accepted, and the end of the stream when it has not. A guest that connects
 * to port P of the host reaches whoever listens at PATH_P. PATH is made with mode 0600, so that
 * only the owner reaches the guest.
 *
 * All descriptors live in an epoll set of their own and the loop watches the set, so that a
 * pause, or a guest without receive buffers, silences all of them with one call. Lines are read
 * byte by byte, because what follows the line belongs to the guest. A process that connects and
 * stalls keeps one of VSOCK_MAX_HELLOS places until a later one needs it.
 */
#include "devices/virtio/vsock_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/stale_socket.h"
#include "vmm/base/units.h"

enum {
    LISTEN_BACKLOG = 128,
    ACCEPT_BATCH = 16,
    PORT_FIRST = 0x40000000, /* the host's end of connections that the host makes */
    PORT_LAST = 0x7fffffff,
    PORT_SUFFIX = sizeof("_4294967295") - 1,
};

/* --- handshake --- */

static uint32_t unix_free_port(struct vsock_dev *dev, uint32_t guest_port)
{
    uint32_t port;

    do { /* ends: there are far more ports than connections */
        port = dev->next_port;
        dev->next_port = port == PORT_LAST ? PORT_FIRST : port + 1;
    } while (vsock_conn_find(dev, port, guest_port) != NULL);
    return port;
}

static void hello_line(struct vsock_conn *conn)
{
    static const char word[] = "CONNECT ";
    const char *digits = conn->hello + sizeof(word) - 1;
    uint64_t port;

    if (strncmp(conn->hello, word, sizeof(word) - 1) != 0 || digits[0] == '\0' ||
        strspn(digits, "0123456789") != strlen(digits) ||
        units_parse_uint(digits, UINT32_MAX, &port, NULL) < 0) {
        vsock_conn_kill(conn, false);
        return;
    }
    vsock_conn_name(conn, unix_free_port(conn->dev, (uint32_t)port), (uint32_t)port);
    vsock_conn_say(conn, VSOCK_SAY_REQUEST);
    vsock_conn_poll(conn, 0, true);
}

static void hello_read(struct vsock_conn *conn)
{
    for (;;) {
        char c;
        ssize_t n = recv(conn->fd, &c, 1, MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n == 1 && c == '\n') {
            conn->hello[conn->hello_len] = '\0';
            hello_line(conn);
            return;
        }
        if (n != 1 || c == '\0' || conn->hello_len == VSOCK_HELLO_MAX - 1) {
            vsock_conn_kill(conn, false);
            return;
        }
        conn->hello[conn->hello_len++] = c;
    }
}

static void hello_drop_oldest(struct vsock_dev *dev)
{
    struct vsock_conn *conn, *oldest = NULL;

    LIST_FOREACH(conn, &dev->all, all) /* the newest comes first */
    {
        if (conn->state == VSOCK_HELLO)
            oldest = conn;
    }
    if (oldest != NULL)
        vsock_conn_kill(oldest, false);
}

/* --- events --- */

static void unix_deafen(struct vsock_dev *dev)
{
    if (dev->listening)
        (void)epoll_ctl(dev->epoll_fd, EPOLL_CTL_DEL, dev->listen_fd, NULL);
    dev->listening = false;
}

void vsock_unix_listen(struct vsock_dev *dev)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

    if (!dev->listening && dev->listen_fd >= 0)
        dev->listening = epoll_ctl(dev->epoll_fd, EPOLL_CTL_ADD, dev->listen_fd, &ev) == 0;
}

static void unix_accept(struct vsock_dev *dev)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct vsock_conn *conn;
        int fd;

        if (dev->n_conns == VSOCK_MAX_CONNS) {
            unix_deafen(dev); /* until a connection ends */
            return;
        }
        fd = accept4(dev->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                unix_deafen(dev); /* out of descriptors or memory: the same */
            return;
        }
        if (dev->n_hellos >= VSOCK_MAX_HELLOS)
            hello_drop_oldest(dev);
        conn = vsock_conn_new(dev, fd);
        if (conn != NULL)
            vsock_conn_poll(conn, EPOLLIN, true);
    }
}

static void unix_ready(void *ctx, uint32_t events)
{
    struct epoll_event evs[VSOCK_EVENTS];
    struct vsock_dev *dev = ctx;
    int n;

    (void)events;
    if (!dev->running)
        return;
    n = epoll_wait(dev->epoll_fd, evs, VSOCK_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        struct vsock_conn *conn = evs[i].data.ptr;

        if (conn == NULL)
            unix_accept(dev);
        else if (conn->state == VSOCK_HELLO)
            hello_read(conn);
        else if (conn->state != VSOCK_DEAD)
            vsock_conn_event(conn, evs[i].events);
    }
    vsock_pump(dev);
    vsock_conn_reap(dev);
}

void vsock_unix_watch(struct vsock_dev *dev, bool on)
{
    evloop_watch_set(dev->watch, on ? EPOLLIN : 0);
}

int vsock_unix_connect(const struct vsock_dev *dev, uint32_t port)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int len;

    if (fd < 0)
        return -errno;
    len = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s_%u", dev->path, port);
    if (len < 0 || (size_t)len >= sizeof(sun.sun_path))
        return -ENAMETOOLONG;
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
        return -errno;
    return take_fd(&fd);
}

/* --- opening --- */

static int unix_bind(struct vsock_dev *dev, const struct sockaddr_un *sun, struct errctx *ec)
{
    const struct sockaddr *sa = (const struct sockaddr *)sun;
    int r;

    /* The file takes its mode from the descriptor, so there is no moment with another one. */
    if (fchmod(dev->listen_fd, 0600) < 0)
        return errctx_set_os(ec, errno, "%s: set the mode", sun->sun_path);
    if (bind(dev->listen_fd, sa, sizeof(*sun)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return errctx_set_os(ec, errno, "bind %s", sun->sun_path);
    r = stale_socket_remove(sun->sun_path, ec);
    if (r < 0)
        return r;
    if (bind(dev->listen_fd, sa, sizeof(*sun)) < 0)
        return errctx_set_os(ec, errno, "bind %s", sun->sun_path);
    return 0;
}

int vsock_unix_open(struct vsock_dev *dev, const char *path, struct errctx *ec)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int r;

    dev->listen_fd = dev->epoll_fd = -1;
    dev->next_port = PORT_FIRST;
    if (path[0] == '\0' || strlen(path) + PORT_SUFFIX >= sizeof(sun.sun_path))
        return errctx_set(ec, EINVAL, "socket: the path is not 1 to %zu bytes long",
                          sizeof(sun.sun_path) - PORT_SUFFIX - 1);
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    dev->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (dev->epoll_fd < 0)
        return errctx_set_os(ec, errno, "epoll_create1");
    dev->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (dev->listen_fd < 0)
        return errctx_set_os(ec, errno, "socket");
    r = unix_bind(dev, &sun, ec);
    if (r < 0)
        return r;
    (void)snprintf(dev->path, sizeof(dev->path), "%s", path);
    if (lstat(path, &dev->path_stat) < 0 || listen(dev->listen_fd, LISTEN_BACKLOG) < 0)
        return errctx_set_os(ec, errno, "listen at %s", path);
    vsock_unix_listen(dev);
    return evloop_watch_fd(dev->vdev.loop, dev->epoll_fd, 0, unix_ready, dev, &dev->watch, ec);
}

void vsock_unix_close(struct vsock_dev *dev)
{
    struct stat st;

    evloop_unwatch(dev->watch);
    /* Ours still? Somebody may have put another file there. */
    if (dev->path[0] != '\0' && lstat(dev->path, &st) == 0 && st.st_dev == dev->path_stat.st_dev &&
        st.st_ino == dev->path_stat.st_ino)
        (void)unlink(dev->path);
    if (dev->listen_fd >= 0)
        (void)close(dev->listen_fd);
    if (dev->epoll_fd >= 0)
        (void)close(dev->epoll_fd);
    dev->listen_fd = dev->epoll_fd = -1;
}
