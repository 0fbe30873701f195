/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user network's two parts: net_slirp.c moves frames and owns the object, net_slirp_poll.c
 * tells libslirp about sockets and time. Loop thread only.
 */
#ifndef DEVICES_VIRTIO_NET_SLIRP_INT_H
#define DEVICES_VIRTIO_NET_SLIRP_INT_H

#include "devices/virtio/net_int.h"
#include "devices/virtio/net_slirp_lib.h"
#include "vmm/base/macros.h"

enum {
    SLIRP_MTU = 65520,
    SLIRP_SOCKETS = 512, /* new connections are not let out beyond this */
    SLIRP_BACKLOG = 256 * KIB,
    SLIRP_CONFIG_VERSION = 1, /* nothing of the later ones is needed */
};

/* A socket of libslirp's, by its number. */
struct slirp_fd {
    uint32_t events;  /* in the epoll set; 0: not there */
    uint32_t wanted;  /* by the last slirp_pollfds_fill() */
    uint32_t revents; /* while slirp_pollfds_poll() runs */
    bool open;        /* libslirp has it now */
};

struct net_slirp {
    struct net_backend be; /* first */
    struct slirp_lib lib;
    Slirp *slirp;
    struct evloop *loop;
    int epoll_fd;
    struct evloop_watch *watch;
    struct evloop_timer *timer;
    uint64_t deadline_ns; /* of timer; 0: not armed */
    bool running;
    bool polling;         /* the loop watches epoll_fd for input */
    bool address_news;    /* the guest sent something that may name its address */
    struct slirp_fd *fds; /* n_fds, grows to the highest number seen */
    size_t n_fds;
    unsigned n_open;   /* libslirp's sockets */
    uint8_t rx_flags;  /* of every frame's header */
    uint8_t *tx_frame; /* NET_FRAME_MAX: libslirp wants one piece that nobody changes */
    uint8_t *backlog;  /* frames behind their 32-bit lengths, back to back from backlog_at */
    size_t backlog_at, backlog_end;
};

/** net_slirp_sync() - after every call into libslirp: bring the epoll set and the timer in line
 *  with what it waits for now. */
void net_slirp_sync(struct net_slirp *s);
/** net_slirp_expire() - let libslirp look at its timers and at packets that wait. */
void net_slirp_expire(struct net_slirp *s);

/* Callbacks of the loop ... */
void net_slirp_ready(void *ctx, uint32_t events);
void net_slirp_timeout(void *ctx);

/* ... and of libslirp. */
void net_slirp_register_fd(int fd, void *opaque);
void net_slirp_unregister_fd(int fd, void *opaque);
void *net_slirp_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque);
void net_slirp_timer_free(void *timer, void *opaque);
void net_slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque);

#endif
