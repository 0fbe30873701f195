/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device's connections as objects: the table by port pair, the list of those that have
 * something to say, the epoll set, the ring of resets, and their end.
 *
 * A connection that ends may still stand in the batch of events that is being served, so its
 * memory stays until vsock_conn_reap() at the end of each entry from the loop.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/virtio/vsock_int.h"

static struct vsock_list *conn_bucket(struct vsock_dev *dev, uint32_t host, uint32_t guest)
{
    uint32_t h = (host * 2654435761u) ^ (guest * 2246822519u);

    return &dev->buckets[h >> 24 & (VSOCK_BUCKETS - 1)];
}

struct vsock_conn *vsock_conn_find(struct vsock_dev *dev, uint32_t host_port, uint32_t guest_port)
{
    struct vsock_conn *conn;

    LIST_FOREACH(conn, conn_bucket(dev, host_port, guest_port), bucket)
    {
        if (conn->host_port == host_port && conn->guest_port == guest_port)
            return conn;
    }
    return NULL;
}

struct vsock_conn *vsock_conn_new(struct vsock_dev *dev, int fd)
{
    struct vsock_conn *conn = NULL;

    if (dev->n_conns < VSOCK_MAX_CONNS)
        conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        (void)close(fd);
        return NULL;
    }
    conn->dev = dev;
    conn->fd = fd;
    LIST_INSERT_HEAD(&dev->all, conn, all);
    dev->n_conns++;
    dev->n_hellos++;
    return conn;
}

bool vsock_conn_in_table(const struct vsock_conn *conn)
{
    return conn->state == VSOCK_REQUESTED || conn->state == VSOCK_ESTABLISHED ||
           conn->state == VSOCK_CLOSING;
}

void vsock_conn_name(struct vsock_conn *conn, uint32_t host_port, uint32_t guest_port)
{
    conn->state = VSOCK_REQUESTED;
    conn->dev->n_hellos--;
    conn->host_port = host_port;
    conn->guest_port = guest_port;
    LIST_INSERT_HEAD(conn_bucket(conn->dev, host_port, guest_port), conn, bucket);
}

void vsock_conn_unready(struct vsock_conn *conn)
{
    if (conn->is_ready)
        TAILQ_REMOVE(&conn->dev->ready, conn, ready);
    conn->is_ready = false;
}

void vsock_conn_poll(struct vsock_conn *conn, uint32_t events, bool hangup)
{
    struct epoll_event ev = { .events = events, .data.ptr = conn };
    bool want = events != 0 || hangup; /* epoll reports an end of both ways unasked */
    int op = !want ? EPOLL_CTL_DEL : conn->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (conn->fd < 0 || (!want && !conn->polled) ||
        (want && conn->polled && conn->events == events))
        return;
    if (epoll_ctl(conn->dev->epoll_fd, op, conn->fd, &ev) < 0) {
        /* No memory in the kernel: without events the connection would hang for ever. */
        vsock_conn_kill(conn, true);
        return;
    }
    conn->polled = want;
    conn->events = events;
}

void vsock_conn_close_fd(struct vsock_conn *conn)
{
    if (conn->fd < 0)
        return;
    if (conn->polled)
        (void)epoll_ctl(conn->dev->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    conn->polled = false;
    (void)close(conn->fd);
    conn->fd = -1;
    free(conn->buf);
    conn->buf = NULL;
    conn->buf_len = 0;
    conn->readable = false;
}

void vsock_rst(struct vsock_dev *dev, uint32_t host_port, uint32_t guest_port)
{
    if (dev->rst_n == VSOCK_RST_RING)
        return; /* the guest will find out by its next packet */
    dev->rst[(dev->rst_first + dev->rst_n++) % VSOCK_RST_RING] =
        (struct vsock_ports){ .host = host_port, .guest = guest_port };
}

void vsock_conn_kill(struct vsock_conn *conn, bool rst)
{
    struct vsock_dev *dev = conn->dev;

    if (conn->state == VSOCK_DEAD)
        return;
    /* A request that the guest has not seen needs no reset. */
    if (rst && vsock_conn_in_table(conn) && !(conn->say & VSOCK_SAY_REQUEST))
        vsock_rst(dev, conn->host_port, conn->guest_port);
    if (conn->state == VSOCK_HELLO)
        dev->n_hellos--;
    if (vsock_conn_in_table(conn))
        LIST_REMOVE(conn, bucket);
    vsock_conn_unready(conn);
    vsock_conn_close_fd(conn);
    LIST_REMOVE(conn, all);
    LIST_INSERT_HEAD(&dev->dead, conn, all);
    conn->state = VSOCK_DEAD;
    dev->n_conns--;
}

void vsock_conn_kill_all(struct vsock_dev *dev)
{
    while (!LIST_EMPTY(&dev->all))
        vsock_conn_kill(LIST_FIRST(&dev->all), false);
    dev->rst_n = 0;
    vsock_conn_reap(dev);
}

void vsock_conn_reap(struct vsock_dev *dev)
{
    bool any = !LIST_EMPTY(&dev->dead);

    while (!LIST_EMPTY(&dev->dead)) {
        struct vsock_conn *conn = LIST_FIRST(&dev->dead);

        LIST_REMOVE(conn, all);
        free(conn);
    }
    if (any)
        vsock_unix_listen(dev);
}

void vsock_conn_say(struct vsock_conn *conn, unsigned say)
{
    conn->say |= say;
    if (!conn->is_ready)
        TAILQ_INSERT_TAIL(&conn->dev->ready, conn, ready);
    conn->is_ready = true;
}
