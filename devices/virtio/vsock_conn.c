/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections between a port of the guest and a Unix socket of the host.
 *
 *   HELLO --line read--> REQUESTED --guest: RESPONSE--> ESTABLISHED      (the host connects)
 *   (new) --guest: REQUEST, socket connected--> ESTABLISHED              (the guest connects)
 *   ESTABLISHED --host process gone--> CLOSING --guest: RST--> freed
 *   ESTABLISHED --guest: SHUTDOWN of both, bytes left for the host--> DRAINING --out--> freed
 *   any --guest: RST, protocol error, host gone before an answer--> freed
 *
 * Each direction ends on its own. The guest's SHUTDOWN(SEND) becomes shutdown(SHUT_WR) once its
 * bytes are out, its SHUTDOWN(RCV) shutdown(SHUT_RD) at once; the end of the host's stream
 * becomes SHUTDOWN(SEND). When the host's process has gone altogether the guest gets
 * SHUTDOWN(RCV|SEND) behind the last byte and answers with RST when its application has read
 * everything; resetting at once would take these bytes away from it.
 *
 * Credit keeps memory bounded both ways: we announce VSOCK_BUF_BYTES and reset a guest that
 * sends more; the host's socket is only read as far as the guest has announced room.
 */
#include "devices/virtio/vsock_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/base/macros.h"

enum { CONN_IOV = 64 };

/* --- from the host to the guest --- */

static uint32_t conn_credit(const struct vsock_conn *conn)
{
    uint32_t in_flight = conn->tx_cnt - conn->peer_fwd_cnt;

    return in_flight < conn->peer_buf_alloc ? conn->peer_buf_alloc - in_flight : 0;
}

/* Does anything more go to the guest on this connection? */
static bool conn_may_read(const struct vsock_conn *conn)
{
    return conn->state == VSOCK_ESTABLISHED && !(conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
           !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND);
}

/* Bring the epoll set in line with what the connection can do now. */
static void conn_update_poll(struct vsock_conn *conn)
{
    uint32_t events = conn->buf_len > 0 ? EPOLLOUT : 0;
    bool hangup = true;

    if (conn_may_read(conn)) {
        if (conn_credit(conn) > 0)
            events |= EPOLLIN;
        else
            hangup = false; /* its last bytes must be read before its end */
    } else if (conn->state == VSOCK_DRAINING || conn->host_deaf) {
        hangup = false;
    }
    vsock_conn_poll(conn, events, hangup);
}

static uint32_t conn_header(struct vsock_conn *conn, const struct virtq_chain *chain, uint16_t op,
                            uint32_t flags, uint32_t len)
{
    struct virtio_vsock_hdr hdr = {
        .src_cid = VSOCK_HOST_CID,
        .dst_cid = conn->dev->cid,
        .src_port = conn->host_port,
        .dst_port = conn->guest_port,
        .len = len,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = VSOCK_BUF_BYTES,
        .fwd_cnt = conn->fwd_cnt,
    };

    conn->told_fwd_cnt = conn->fwd_cnt;
    conn->say &= ~(unsigned)VSOCK_SAY_CREDIT; /* every header carries it */
    (void)virtq_chain_write(chain, 0, &hdr, sizeof(hdr));
    return VSOCK_HDR_LEN + len;
}

/* Segments [@first, @first+@n) of @chain without their first VSOCK_HDR_LEN bytes, at most @max
 * bytes. Returns the number of segments. */
static unsigned conn_iov(const struct virtq_chain *chain, unsigned first, unsigned n, size_t max,
                         struct iovec iov[CONN_IOV])
{
    size_t skip = VSOCK_HDR_LEN;
    unsigned used = 0;

    for (unsigned i = first; i < first + n && used < CONN_IOV && max > 0; i++) {
        struct iovec part = chain->iov[i];

        if (part.iov_len <= skip) {
            skip -= part.iov_len;
            continue;
        }
        part.iov_base = (uint8_t *)part.iov_base + skip;
        part.iov_len = MIN(part.iov_len - skip, max);
        skip = 0;
        max -= part.iov_len;
        iov[used++] = part;
    }
    return used;
}

/* The host's process has left: nothing it sends is missing, nothing sent to it arrives. */
static void conn_host_gone(struct vsock_conn *conn)
{
    conn->host_shut = VSOCK_SHUT_BOTH;
    conn->state = VSOCK_CLOSING;
    vsock_conn_close_fd(conn);
    vsock_conn_say(conn, VSOCK_SAY_SHUTDOWN);
}

/* The host's stream has ended: is the other direction over as well? */
static void conn_host_eof(struct vsock_conn *conn)
{
    conn->readable = false;
    conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
    vsock_conn_say(conn, VSOCK_SAY_SHUTDOWN);
    if (conn->host_deaf)
        conn_host_gone(conn);
    else
        conn_update_poll(conn); /* a hang-up is reported from now on */
}

/* Data straight from the socket into @chain. Returns the packet's bytes or 0. */
static uint32_t conn_emit_data(struct vsock_conn *conn, const struct virtq_chain *chain)
{
    size_t room = chain->write_bytes - VSOCK_HDR_LEN, max = MIN(room, conn_credit(conn));
    struct iovec iov[CONN_IOV];
    unsigned n_iov;
    ssize_t n;

    if (max == 0) {
        conn->readable = false;
        if (room > 0)
            conn->say |= VSOCK_SAY_ASK_CREDIT;
        conn_update_poll(conn);
        return 0;
    }
    n_iov = conn_iov(chain, chain->n_read, chain->n_write, max, iov);
    n = readv(conn->fd, iov, (int)n_iov);
    if (n > 0) {
        conn->readable = (size_t)n == max;
        conn->tx_cnt += (uint32_t)n;
        return conn_header(conn, chain, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)n);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        conn->readable = false;
        conn_update_poll(conn);
    } else {
        conn_host_eof(conn);
    }
    return 0;
}

uint32_t vsock_conn_emit(struct vsock_conn *conn, const struct virtq_chain *chain)
{
    uint32_t bytes = 0;

    if (conn->say & VSOCK_SAY_REQUEST) {
        conn->say &= ~(unsigned)VSOCK_SAY_REQUEST;
        return conn_header(conn, chain, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
    }
    if (conn->say & VSOCK_SAY_RESPONSE) {
        conn->say &= ~(unsigned)VSOCK_SAY_RESPONSE;
        bytes = conn_header(conn, chain, VIRTIO_VSOCK_OP_RESPONSE, 0, 0);
    }
    if (bytes == 0 && conn->readable && conn_may_read(conn))
        bytes = conn_emit_data(conn, chain);
    if (conn->state == VSOCK_DEAD)
        return 0;
    if (bytes == 0 && (conn->say & VSOCK_SAY_SHUTDOWN)) {
        conn->say &= ~(unsigned)VSOCK_SAY_SHUTDOWN;
        bytes = conn_header(conn, chain, VIRTIO_VSOCK_OP_SHUTDOWN, conn->host_shut, 0);
    }
    if (bytes == 0 && (conn->say & VSOCK_SAY_CREDIT))
        bytes = conn_header(conn, chain, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
    if (bytes == 0 && (conn->say & VSOCK_SAY_ASK_CREDIT)) {
        conn->say &= ~(unsigned)VSOCK_SAY_ASK_CREDIT;
        bytes = conn_header(conn, chain, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0);
    }
    return bytes;
}

/* --- from the guest to the host --- */

static void conn_forwarded(struct vsock_conn *conn, size_t n)
{
    conn->fwd_cnt += (uint32_t)n;
    if (conn->fwd_cnt - conn->told_fwd_cnt >= VSOCK_BUF_BYTES / 2 && vsock_conn_in_table(conn))
        vsock_conn_say(conn, VSOCK_SAY_CREDIT);
}

/* The host's process reads no more. What it wrote before may still be on its way to the guest. */
static void conn_host_deaf(struct vsock_conn *conn)
{
    conn->host_deaf = true;
    conn_forwarded(conn, conn->buf_len); /* dropped */
    free(conn->buf);
    conn->buf = NULL;
    conn->buf_len = 0;
    if (conn->state != VSOCK_ESTABLISHED)
        return;
    conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
    vsock_conn_say(conn, VSOCK_SAY_SHUTDOWN);
    if (conn->host_shut == VSOCK_SHUT_BOTH)
        conn_host_gone(conn);
}

/* All of the guest's bytes are out: what it wanted to happen then happens now. */
static void conn_drained(struct vsock_conn *conn)
{
    if (conn->state == VSOCK_DRAINING)
        vsock_conn_kill(conn, false);
    else if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
        (void)shutdown(conn->fd, SHUT_WR);
}

/* Write what is buffered. */
static void conn_flush(struct vsock_conn *conn)
{
    while (conn->buf_len > 0) {
        uint32_t first = MIN(conn->buf_len, VSOCK_BUF_BYTES - conn->buf_at);
        struct iovec iov[2] = { { conn->buf + conn->buf_at, first },
                                { conn->buf, conn->buf_len - first } };
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
        ssize_t n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            conn_host_deaf(conn);
            break;
        }
        conn->buf_at = (conn->buf_at + (uint32_t)n) % VSOCK_BUF_BYTES;
        conn->buf_len -= (uint32_t)n;
        conn_forwarded(conn, (size_t)n);
    }
    if (conn->buf_len == 0) {
        free(conn->buf);
        conn->buf = NULL;
        conn_drained(conn);
    }
}

/* Keep the last @len bytes of @chain's payload from @off on. The credit check made room. */
static bool conn_buffer(struct vsock_conn *conn, const struct virtq_chain *chain, size_t off,
                        uint32_t len)
{
    if (conn->buf == NULL) {
        conn->buf = malloc(VSOCK_BUF_BYTES);
        conn->buf_at = 0;
    }
    if (conn->buf == NULL)
        return false;
    while (len > 0) {
        uint32_t at = (conn->buf_at + conn->buf_len) % VSOCK_BUF_BYTES;
        uint32_t part = MIN(len, VSOCK_BUF_BYTES - at);

        (void)virtq_chain_read(chain, off, conn->buf + at, part);
        conn->buf_len += part;
        off += part;
        len -= part;
    }
    return true;
}

static void conn_data(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr,
                      const struct virtq_chain *chain)
{
    struct iovec iov[CONN_IOV];
    struct msghdr msg = { .msg_iov = iov };
    uint32_t len = hdr->len, sent = 0;
    ssize_t n;

    if ((conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) ||
        len > VSOCK_BUF_BYTES - (conn->rx_cnt - conn->fwd_cnt)) {
        vsock_conn_kill(conn, true); /* more than we announced, or after its end */
        return;
    }
    conn->rx_cnt += len;
    if (conn->host_deaf || conn->state == VSOCK_CLOSING) {
        conn_forwarded(conn, len);
        return;
    }
    if (conn->buf_len == 0 && len > 0) {
        msg.msg_iovlen = conn_iov(chain, 0, chain->n_read, len, iov);
        n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            conn_forwarded(conn, len);
            conn_host_deaf(conn);
            return;
        }
        sent = n > 0 ? (uint32_t)n : 0;
        conn_forwarded(conn, sent);
    }
    if (sent < len && !conn_buffer(conn, chain, VSOCK_HDR_LEN + sent, len - sent))
        vsock_conn_kill(conn, true);
    else
        conn_update_poll(conn);
}

/* The guest is done with the connection; its ports are free, its bytes still go out. */
static void conn_drain(struct vsock_conn *conn)
{
    vsock_conn_unready(conn);
    LIST_REMOVE(conn, bucket);
    conn->state = VSOCK_DRAINING;
    conn->say = 0;
    conn->readable = false;
}

static void conn_shutdown(struct vsock_conn *conn, uint32_t flags)
{
    uint32_t news = flags & VSOCK_SHUT_BOTH & ~conn->guest_shut;

    conn->guest_shut |= news;
    if (conn->guest_shut == VSOCK_SHUT_BOTH) {
        if (conn->buf_len == 0) {
            vsock_conn_kill(conn, true);
            return;
        }
        vsock_rst(conn->dev, conn->host_port, conn->guest_port);
        conn_drain(conn);
    } else if (conn->fd >= 0) {
        if (news & VIRTIO_VSOCK_SHUTDOWN_RCV)
            (void)shutdown(conn->fd, SHUT_RD);
        if ((news & VIRTIO_VSOCK_SHUTDOWN_SEND) && conn->buf_len == 0)
            (void)shutdown(conn->fd, SHUT_WR);
    }
    conn_update_poll(conn);
}

static void conn_response(struct vsock_conn *conn)
{
    char line[24];
    int len = snprintf(line, sizeof(line), "OK %u\n", conn->host_port);

    conn->state = VSOCK_ESTABLISHED;
    if (send(conn->fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len)
        vsock_conn_kill(conn, true);
    else
        conn_update_poll(conn);
}

void vsock_conn_packet(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr,
                       const struct virtq_chain *chain)
{
    bool answered = conn->state != VSOCK_REQUESTED;

    conn->peer_buf_alloc = hdr->buf_alloc;
    conn->peer_fwd_cnt = hdr->fwd_cnt;
    switch (hdr->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        if (answered || (conn->say & VSOCK_SAY_REQUEST))
            vsock_conn_kill(conn, true);
        else
            conn_response(conn);
        return;
    case VIRTIO_VSOCK_OP_RST:
        if (conn->buf_len > 0 && (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
            conn_drain(conn);
            conn_update_poll(conn);
        } else {
            vsock_conn_kill(conn, false);
        }
        return;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        conn_shutdown(conn, hdr->flags);
        return;
    case VIRTIO_VSOCK_OP_RW:
        if (answered)
            conn_data(conn, hdr, chain);
        else
            vsock_conn_kill(conn, true);
        return;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        vsock_conn_say(conn, VSOCK_SAY_CREDIT);
        conn_update_poll(conn);
        return;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        conn_update_poll(conn);
        return;
    default: /* a second REQUEST, or no operation at all */
        vsock_conn_kill(conn, true);
    }
}

void vsock_conn_event(struct vsock_conn *conn, uint32_t events)
{
    if (events & EPOLLOUT)
        conn_flush(conn);
    if (conn->state == VSOCK_DEAD)
        return;
    if (conn_may_read(conn) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        conn->readable = true;
        vsock_conn_say(conn, 0);
        return;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        if (conn->state == VSOCK_ESTABLISHED)
            conn_host_gone(conn);
        else
            vsock_conn_kill(conn, true);
        return;
    }
    conn_update_poll(conn);
}
