/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A back end for tests: a thread that listens at a path, speaks the protocol as far as asked to,
 * and answers each request in a ring with nothing written. It lies where `lie` says so.
 */
#ifndef DEVICES_VIRTIO_TEST_VU_RIG_H
#define DEVICES_VIRTIO_TEST_VU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/test/fake_driver.h"
#include "devices/virtio/vhost_user_int.h"

enum vu_lie {
    VU_HONEST,
    VU_OTHER_REQUEST, /* replies name another request */
    VU_LONG,          /* replies are longer than they may be */
    VU_NO_REPLY_FLAG,
    VU_NACK, /* every acknowledgement is a refusal */
    VU_WRONG_RING, /* GET_VRING_BASE answers for another ring */
    VU_DESCRIPTORS, /* replies come with descriptors, which is no lie but nothing we want */
    VU_SLOW_STOP, /* GET_VRING_BASE is answered late */
    VU_DEAF,      /* hears no doorbell, and has whoever writes to one wait */
};

enum { VU_RIG_RINGS = 4, VU_RIG_REGIONS = 16, VU_RIG_LATE_MS = 60 };

struct vu_region {
    uint64_t guest, len, user, off;
};

struct vu_rig {
    char dir[32], path[64];
    int listen_fd, stop_fd[2];
    pthread_t thread;
    enum vu_lie lie;
    uint64_t features, protocol, queue_num;
    uint8_t config[VU_CONFIG_MAX];
    /* the thread's, read by tests after it was stopped */
    int fd;
    uint64_t acked_features, acked_protocol;
    unsigned n_regions, n_tables, n_added;
    struct vu_region regions[VU_RIG_REGIONS];
    uint8_t *maps[VU_RIG_REGIONS];
    struct vu_rig_ring {
        uint32_t num;
        uint16_t base;
        uint64_t desc, used, avail;
        int kick, call;
        bool enabled;
        unsigned served;
    } rings[VU_RIG_RINGS];
};

struct vu_rig_msg {
    uint32_t pad, request, flags, len; /* so that the payload follows at once */
    union {
        uint64_t u64;
        uint32_t u32[2];
        uint64_t words[40];
        uint8_t bytes[320];
    } p;
    int fds[VU_TABLE_REGIONS];
    unsigned n_fds;
};

static inline void *vu_rig_at(struct vu_rig *rig, uint64_t user)
{
    for (unsigned i = 0; i < rig->n_regions; i++)
        if (user >= rig->regions[i].user && user - rig->regions[i].user < rig->regions[i].len)
            return rig->maps[i] + rig->regions[i].off + (user - rig->regions[i].user);
    FAKE_MUST(!"an address that nobody told");
    return NULL;
}

static inline void vu_rig_map(struct vu_rig *rig, const uint64_t *words, int fd)
{
    const unsigned i = rig->n_regions++;

    FAKE_MUST(i < VU_RIG_REGIONS);
    memcpy(&rig->regions[i], words, sizeof(rig->regions[i]));
    FAKE_MUST(ftruncate(fd, 0) < 0); /* the size is sealed */
    rig->maps[i] = mmap(NULL, rig->regions[i].len + rig->regions[i].off, PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);
    FAKE_MUST(rig->maps[i] != MAP_FAILED);
    (void)close(fd);
}

static inline void vu_rig_forget(struct vu_rig *rig)
{
    for (unsigned i = 0; i < rig->n_regions; i++)
        (void)munmap(rig->maps[i], rig->regions[i].len + rig->regions[i].off);
    rig->n_regions = 0;
}

static inline void vu_rig_serve(struct vu_rig *rig, struct vu_rig_ring *ring)
{
    struct vring_avail *avail = vu_rig_at(rig, ring->avail);
    struct vring_used *used = vu_rig_at(rig, ring->used);
    const uint64_t one = 1;

    while (__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) != ring->base) {
        const uint16_t at = used->idx;

        used->ring[at % ring->num].id = avail->ring[ring->base++ % ring->num];
        used->ring[at % ring->num].len = 0;
        __atomic_store_n(&used->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
        __atomic_fetch_add(&ring->served, 1, __ATOMIC_RELEASE);
        FAKE_MUST(write(ring->call, &one, sizeof(one)) == sizeof(one));
    }
}

static inline bool vu_rig_receive(struct vu_rig *rig, struct vu_rig_msg *msg)
{
    char control[CMSG_SPACE(sizeof(int) * VU_TABLE_REGIONS)];
    struct iovec iov = { &msg->request, 12 };
    struct msghdr m = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control,
                        .msg_controllen = sizeof(control) };
    struct cmsghdr *c;

    msg->n_fds = 0;
    if (recvmsg(rig->fd, &m, MSG_WAITALL) != 12)
        return false;
    c = CMSG_FIRSTHDR(&m);
    if (c != NULL) {
        msg->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(msg->fds, CMSG_DATA(c), msg->n_fds * sizeof(int));
    }
    FAKE_MUST(msg->len <= sizeof(msg->p));
    return msg->len == 0 || recv(rig->fd, &msg->p, msg->len, MSG_WAITALL) == (ssize_t)msg->len;
}

static inline void vu_rig_reply(struct vu_rig *rig, struct vu_rig_msg *msg, uint32_t len)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { &msg->request, 12 + len };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

    msg->flags = rig->lie == VU_NO_REPLY_FLAG ? 1 : 5;
    msg->request += rig->lie == VU_OTHER_REQUEST;
    msg->len = len + (rig->lie == VU_LONG ? 8 : 0);
    iov.iov_len += rig->lie == VU_LONG ? 8 : 0;
    if (rig->lie == VU_DESCRIPTORS) {
        struct cmsghdr *c;

        m.msg_control = control;
        m.msg_controllen = sizeof(control);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &rig->listen_fd, sizeof(int));
    }
    /* From Linux 6.16 on the front end has them refused; the words are taken. Otherwise a lie may
     * have ended it. */
    if (sendmsg(rig->fd, &m, MSG_NOSIGNAL) < 0 && errno == EPERM && m.msg_control != NULL) {
        m.msg_control = NULL;
        m.msg_controllen = 0;
        (void)!sendmsg(rig->fd, &m, MSG_NOSIGNAL);
    }
}

/* Whether a reply was sent. */
static inline bool vu_rig_answer(struct vu_rig *rig, struct vu_rig_msg *msg)
{
    struct vu_rig_ring *ring = &rig->rings[msg->len >= 4 ? msg->p.u32[0] % VU_RIG_RINGS : 0];
    uint64_t value = 0;

    switch (msg->request) {
    case VU_GET_FEATURES: value = rig->features; break;
    case VU_GET_PROTOCOL_FEATURES: value = rig->protocol; break;
    case VU_GET_QUEUE_NUM: value = rig->queue_num; break;
    case VU_GET_MAX_MEM_SLOTS: value = VU_RIG_REGIONS; break;
    case VU_GET_VRING_BASE:
        if (rig->lie == VU_SLOW_STOP)
            (void)usleep(VU_RIG_LATE_MS * 1000);
        msg->p.u32[0] += rig->lie == VU_WRONG_RING;
        msg->p.u32[1] = ring->base;
        ring->enabled = false;
        (void)close(ring->kick);
        (void)close(ring->call);
        ring->kick = ring->call = -1;
        vu_rig_reply(rig, msg, 8);
        return true;
    case VU_GET_CONFIG:
        memcpy(msg->p.bytes + 12, rig->config, msg->len - 12);
        vu_rig_reply(rig, msg, msg->len);
        return true;
    case VU_SET_FEATURES: rig->acked_features = msg->p.u64; return false;
    case VU_SET_PROTOCOL_FEATURES: rig->acked_protocol = msg->p.u64; return false;
    case VU_SET_MEM_TABLE:
        vu_rig_forget(rig);
        rig->n_tables++;
        for (unsigned i = 0; i < msg->n_fds; i++)
            vu_rig_map(rig, &msg->p.words[1 + i * 4], msg->fds[i]);
        return false;
    case VU_ADD_MEM_REG:
        rig->n_added++;
        vu_rig_map(rig, &msg->p.words[1], msg->fds[0]);
        return false;
    case VU_SET_VRING_NUM: ring->num = msg->p.u32[1]; return false;
    case VU_SET_VRING_BASE: ring->base = (uint16_t)msg->p.u32[1]; return false;
    case VU_SET_VRING_ADDR:
        ring->desc = msg->p.words[1];
        ring->used = msg->p.words[2];
        ring->avail = msg->p.words[3];
        return false;
    case VU_SET_VRING_KICK:
        ring->kick = msg->fds[0];
        if (rig->lie == VU_DEAF)
            FAKE_MUST(fcntl(ring->kick, F_SETFL, 0) == 0);
        return false;
    case VU_SET_VRING_CALL: ring->call = msg->fds[0]; return false;
    case VU_SET_VRING_ENABLE: ring->enabled = msg->p.u32[1] != 0; return false;
    default: return false;
    }
    msg->p.u64 = value;
    vu_rig_reply(rig, msg, 8);
    return true;
}

static inline bool vu_rig_message(struct vu_rig *rig)
{
    struct vu_rig_msg msg;

    if (!vu_rig_receive(rig, &msg))
        return false;
    if (!vu_rig_answer(rig, &msg) && (msg.flags & 8)) {
        msg.p.u64 = rig->lie == VU_NACK;
        vu_rig_reply(rig, &msg, 8);
    }
    return true;
}

static inline void vu_rig_hang_up(struct vu_rig *rig)
{
    for (unsigned i = 0; i < VU_RIG_RINGS; i++) {
        if (rig->rings[i].kick >= 0) {
            (void)close(rig->rings[i].kick);
            (void)close(rig->rings[i].call);
        }
        rig->rings[i].kick = rig->rings[i].call = -1;
        rig->rings[i].enabled = false;
    }
    vu_rig_forget(rig);
    if (rig->fd >= 0)
        (void)close(rig->fd);
    rig->fd = -1;
}

static inline void *vu_rig_main(void *arg)
{
    struct vu_rig *rig = arg;

    for (;;) {
        struct pollfd p[3 + VU_RIG_RINGS] = {
            { .fd = rig->stop_fd[0], .events = POLLIN },
            { .fd = rig->fd < 0 ? rig->listen_fd : -1, .events = POLLIN },
            { .fd = rig->fd, .events = POLLIN },
        };

        for (unsigned i = 0; i < VU_RIG_RINGS; i++)
            p[3 + i] = (struct pollfd){
                .fd = rig->rings[i].enabled && rig->lie != VU_DEAF ? rig->rings[i].kick : -1,
                .events = POLLIN
            };
        FAKE_MUST(poll(p, ARRAY_SIZE(p), -1) > 0);
        if (p[0].revents != 0)
            break;
        if (p[1].revents != 0)
            rig->fd = accept(rig->listen_fd, NULL, NULL);
        for (unsigned i = 0; i < VU_RIG_RINGS; i++) {
            uint64_t count;

            if (p[3 + i].revents != 0 && read(p[3 + i].fd, &count, sizeof(count)) > 0)
                vu_rig_serve(rig, &rig->rings[i]);
        }
        if (p[2].revents != 0 && !vu_rig_message(rig))
            vu_rig_hang_up(rig);
    }
    vu_rig_hang_up(rig);
    return NULL;
}

static inline void vu_rig_start(struct vu_rig *rig)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", rig->path);
    rig->fd = -1;
    for (unsigned i = 0; i < VU_RIG_RINGS; i++)
        rig->rings[i].kick = rig->rings[i].call = -1;
    (void)unlink(rig->path);
    rig->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FAKE_MUST(bind(rig->listen_fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
    FAKE_MUST(listen(rig->listen_fd, 4) == 0 && pipe(rig->stop_fd) == 0);
    FAKE_MUST(pthread_create(&rig->thread, NULL, vu_rig_main, rig) == 0);
}

/* The back end dies. */
static inline void vu_rig_stop(struct vu_rig *rig)
{
    FAKE_MUST(write(rig->stop_fd[1], "", 1) == 1);
    (void)pthread_join(rig->thread, NULL);
    (void)close(rig->listen_fd);
    (void)close(rig->stop_fd[0]);
    (void)close(rig->stop_fd[1]);
}

static inline void vu_rig_init(struct vu_rig *rig)
{
    *rig = (struct vu_rig){
        .features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VU_F_PROTOCOL_FEATURES |
                    1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_BLK_F_FLUSH,
        .protocol = 1ull << VU_PROTOCOL_MQ | 1ull << VU_PROTOCOL_REPLY_ACK |
                    1ull << VU_PROTOCOL_CONFIG | 1ull << VU_PROTOCOL_CONFIGURE_MEM_SLOTS |
                    1ull << 40,
        .queue_num = VU_RIG_RINGS,
    };
    (void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/nv-vu-XXXXXX");
    FAKE_MUST(mkdtemp(rig->dir) != NULL);
    (void)snprintf(rig->path, sizeof(rig->path), "%s/back.sock", rig->dir);
}

static inline void vu_rig_fini(struct vu_rig *rig)
{
    (void)unlink(rig->path);
    (void)rmdir(rig->dir);
}

#endif
