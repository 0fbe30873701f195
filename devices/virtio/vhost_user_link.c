/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/vhost_user_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"

enum {
    FLAG_VERSION = 1,
    FLAG_REPLY = 1 << 2,
    FLAG_NEED_REPLY = 1 << 3,
};

struct header {
    uint32_t request;
    uint32_t flags;
    uint32_t len;
};

static const char *name_of(enum vhost_user_request request)
{
    static const char *const names[] = {
        [VU_GET_FEATURES] = "GET_FEATURES",
        [VU_SET_FEATURES] = "SET_FEATURES",
        [VU_SET_OWNER] = "SET_OWNER",
        [VU_SET_MEM_TABLE] = "SET_MEM_TABLE",
        [VU_SET_VRING_NUM] = "SET_VRING_NUM",
        [VU_SET_VRING_ADDR] = "SET_VRING_ADDR",
        [VU_SET_VRING_BASE] = "SET_VRING_BASE",
        [VU_GET_VRING_BASE] = "GET_VRING_BASE",
        [VU_SET_VRING_KICK] = "SET_VRING_KICK",
        [VU_SET_VRING_CALL] = "SET_VRING_CALL",
        [VU_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
        [VU_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
        [VU_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
        [VU_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
        [VU_GET_CONFIG] = "GET_CONFIG",
        [VU_SET_CONFIG] = "SET_CONFIG",
        [VU_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
        [VU_ADD_MEM_REG] = "ADD_MEM_REG",
    };

    return names[request];
}

int vhost_user_connect(const char *path, struct vhost_user_link *ret_link, struct errctx *ec)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = -1;

    if (strlen(path) >= sizeof(sun.sun_path))
        return errctx_set(ec, EINVAL, "the path of the socket is longer than %zu bytes",
                          sizeof(sun.sun_path) - 1);
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    /* Non-blocking: a listener whose queue is full must not hold us up. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errctx_set_os(ec, errno, "socket");
    /* Before there is an other end; older kernels do not know it. */
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){ 0 }, sizeof(int));
    if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
        return errctx_set_os(ec, errno, "connect to %s", path);
    *ret_link = (struct vhost_user_link){ .fd = take_fd(&fd) };
    vhost_user_allow(ret_link, VU_PATIENCE_START_MS);
    return 0;
}

void vhost_user_allow(struct vhost_user_link *link, int ms)
{
    link->until_ns = evloop_now_ns() + (uint64_t)ms * 1000000u;
}

void vhost_user_close(struct vhost_user_link *link)
{
    if (link->fd >= 0)
        (void)close(link->fd);
    *link = (struct vhost_user_link){ .fd = -1 };
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* Until @fd is ready for @events or @deadline_ns is over. */
static int await(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd p = { .fd = fd, .events = events };
        const uint64_t now = evloop_now_ns();
        int n;

        if (now >= deadline_ns)
            return -ETIMEDOUT;
        n = poll(&p, 1, (int)((deadline_ns - now) / 1000000 + 1));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

/* Descriptors go with the first byte. */
static int send_all(int fd, const struct header *header, const struct vhost_user_msg *msg,
                    uint64_t deadline_ns)
{
    char control[CMSG_SPACE(sizeof(int) * VU_TABLE_REGIONS)] = { 0 };
    size_t done = 0, all = sizeof(*header) + msg->len;

    while (done < all) {
        const size_t left = done < sizeof(*header) ? sizeof(*header) - done : 0;
        const size_t from = left > 0 ? 0 : done - sizeof(*header);
        struct iovec iov[2] = {
            { (uint8_t *)(uintptr_t)header + (sizeof(*header) - left), left },
            { msg->len > 0 ? (uint8_t *)(uintptr_t)msg->payload + from : NULL, msg->len - from },
        };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = msg->len > 0 ? 2 : 1 };
        ssize_t n;

        if (done == 0 && msg->n_fds > 0) {
            struct cmsghdr *c;

            m.msg_control = control;
            m.msg_controllen = CMSG_SPACE(sizeof(int) * msg->n_fds);
            c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int) * msg->n_fds);
            memcpy(CMSG_DATA(c), msg->fds, sizeof(int) * msg->n_fds);
        }
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            int r = await(fd, POLLOUT, deadline_ns);

            if (r < 0)
                return r;
        } else if (n < 0 && errno != EINTR) {
            return errno == EPIPE ? -ECONNRESET : -errno;
        } else if (n > 0) {
            done += (size_t)n;
        }
    }
    return 0;
}

/* Without room for descriptors the kernel drops those that come. */
static int receive_all(int fd, void *buf, size_t len, uint64_t deadline_ns)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = recv(fd, (uint8_t *)buf + done, len - done, MSG_DONTWAIT);

        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            return -ECONNRESET;
        } else if (errno == EAGAIN) {
            int r = await(fd, POLLIN, deadline_ns);

            if (r < 0)
                return r;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static int receive_reply(int fd, enum vhost_user_request request, void *buf, uint32_t len,
                         uint64_t deadline_ns)
{
    struct header header;
    int r = receive_all(fd, &header, sizeof(header), deadline_ns);

    if (r < 0)
        return r;
    if (header.request != (uint32_t)request || header.len != len ||
        (header.flags & ~(uint32_t)FLAG_NEED_REPLY) != (FLAG_VERSION | FLAG_REPLY))
        return -EPROTO;
    return receive_all(fd, buf, len, deadline_ns);
}

static int exchange(struct vhost_user_link *link, const struct vhost_user_msg *msg, bool need_reply,
                    void *reply, uint32_t len, struct errctx *ec)
{
    const struct header header = { .request = (uint32_t)msg->request,
                                   .flags = FLAG_VERSION | (need_reply ? FLAG_NEED_REPLY : 0),
                                   .len = msg->len };
    int r = link->fd < 0 ? -ECONNRESET : send_all(link->fd, &header, msg, link->until_ns);

    if (r == 0 && reply != NULL)
        r = receive_reply(link->fd, msg->request, reply, len, link->until_ns);
    if (r == -ETIMEDOUT)
        return errctx_set(ec, ETIMEDOUT, "the back end did not answer %s in time",
                          name_of(msg->request));
    if (r == -EPROTO)
        return errctx_set(ec, EPROTO, "the back end's reply to %s makes no sense",
                          name_of(msg->request));
    if (r == -ECONNRESET)
        return errctx_set(ec, ECONNRESET, "the back end hung up at %s", name_of(msg->request));
    return r < 0 ? errctx_set_os(ec, -r, "%s", name_of(msg->request)) : 0;
}

int vhost_user_tell(struct vhost_user_link *link, const struct vhost_user_msg *msg,
                    struct errctx *ec)
{
    uint64_t result = 0;
    int r = exchange(link, msg, link->acks, link->acks ? &result : NULL, sizeof(result), ec);

    if (r == 0 && result != 0)
        return errctx_set(ec, EREMOTEIO, "the back end refused %s", name_of(msg->request));
    return r;
}

int vhost_user_ask(struct vhost_user_link *link, const struct vhost_user_msg *msg, void *ret_reply,
                   uint32_t len, struct errctx *ec)
{
    return exchange(link, msg, false, ret_reply, len, ec);
}

int vhost_user_tell_u64(struct vhost_user_link *link, enum vhost_user_request request,
                        uint64_t value, struct errctx *ec)
{
    const struct vhost_user_msg msg = { .request = request,
                                        .payload = &value,
                                        .len = sizeof(value) };

    return vhost_user_tell(link, &msg, ec);
}

int vhost_user_ask_u64(struct vhost_user_link *link, enum vhost_user_request request,
                       uint64_t *ret_value, struct errctx *ec)
{
    const struct vhost_user_msg msg = { .request = request };
    uint64_t value;
    int r = vhost_user_ask(link, &msg, &value, sizeof(value), ec);

    if (r == 0)
        *ret_value = value;
    return r;
}

int vhost_user_tell_ring(struct vhost_user_link *link, enum vhost_user_request request,
                         uint32_t index, uint32_t number, struct errctx *ec)
{
    const struct vhost_user_ring ring = { .index = index, .number = number };
    const struct vhost_user_msg msg = { .request = request, .payload = &ring, .len = sizeof(ring) };

    return vhost_user_tell(link, &msg, ec);
}
