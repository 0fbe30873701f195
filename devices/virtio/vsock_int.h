/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device's parts and how they fit together.
 *
 *   vsock.c       the device: queues, packets in and out, life cycle
 *   vsock_table.c connections as objects: table, lists, epoll set, end
 *   vsock_conn.c  connections as streams: their states, credit and buffers
 *   vsock_unix.c  the host's side: listening socket, handshake, ways out to other sockets
 *
 * Everything runs on the device's loop thread. A port pair names a connection: the host's port
 * and the guest's. Packets for the guest are not queued: a connection that has something to say
 * stands in the ready list, and what it says is made when a receive buffer is there. Only
 * resets of connections that are already gone wait in a ring of fixed size; while it is full,
 * the guest's packets are left in their queue.
 */
#ifndef DEVICES_VIRTIO_VSOCK_INT_H
#define DEVICES_VIRTIO_VSOCK_INT_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/evloop.h"

enum {
    VSOCK_HOST_CID = 2,
    VSOCK_CID_MIN = 3,      /* 0 to 2 are reserved */
    VSOCK_MAX_CONNS = 1024, /* handshakes included */
    VSOCK_MAX_HELLOS = 64,
    VSOCK_BUCKETS = 256,
    VSOCK_BUF_BYTES = 64 * 1024, /* from the guest, until the host's socket takes it */
    VSOCK_RST_RING = 2048,
    VSOCK_RST_HIGH = 256, /* from here on the guest's packets wait */
    VSOCK_HELLO_MAX = 32, /* "CONNECT 4294967295\n" and some room */
    VSOCK_BUDGET = 256,   /* packets before other work of the loop gets a turn */
    VSOCK_EVENTS = 64,
    VSOCK_HDR_LEN = sizeof(struct virtio_vsock_hdr),
    VSOCK_SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
};

enum vsock_queue { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_N_QUEUES };

enum vsock_state {
    VSOCK_HELLO,     /* a host process connected; its line is being read */
    VSOCK_REQUESTED, /* the guest was, or will be, asked */
    VSOCK_ESTABLISHED,
    VSOCK_CLOSING,  /* the host's side is gone; the guest was, or will be, told */
    VSOCK_DRAINING, /* the guest's side is gone; its last bytes go to the host */
    VSOCK_DEAD,     /* freed at the end of the current batch of events */
};

/* What a connection wants to tell the guest besides data. */
enum vsock_say {
    VSOCK_SAY_REQUEST = 1,
    VSOCK_SAY_RESPONSE = 2,
    VSOCK_SAY_SHUTDOWN = 4,
    VSOCK_SAY_CREDIT = 8,
    VSOCK_SAY_ASK_CREDIT = 16,
};

struct vsock_dev;

struct vsock_conn {
    struct vsock_dev *dev;
    enum vsock_state state;
    uint32_t host_port, guest_port;
    int fd;              /* -1 in VSOCK_CLOSING */
    bool polled;         /* in the device's epoll set, with ... */
    uint32_t events;     /* ... these events */
    bool readable;       /* fd may have data or an end for the guest */
    bool is_ready;       /* in the ready list */
    bool host_deaf;      /* the host's process reads no more: bytes for it are dropped */
    unsigned say;        /* enum vsock_say */
    uint32_t guest_shut; /* directions that the guest has shut down */
    uint32_t host_shut;  /* directions that we told, or will tell, the guest are shut down */

    /* Credit (5.10.6.3): free-running byte counts. */
    uint32_t peer_buf_alloc, peer_fwd_cnt, tx_cnt; /* towards the guest */
    uint32_t rx_cnt, fwd_cnt, told_fwd_cnt;        /* from the guest */

    uint8_t *buf; /* VSOCK_BUF_BYTES, a ring; NULL while empty */
    uint32_t buf_at, buf_len;
    char hello[VSOCK_HELLO_MAX];
    unsigned hello_len;

    LIST_ENTRY(vsock_conn) all, bucket;
    TAILQ_ENTRY(vsock_conn) ready;
};

LIST_HEAD(vsock_list, vsock_conn);
TAILQ_HEAD(vsock_fifo, vsock_conn);

struct vsock_ports {
    uint32_t host, guest;
};

struct vsock_dev {
    struct virtio_dev vdev; /* first */
    uint64_t cid;
    bool running;
    bool started;
    bool rx_stalled;    /* there is something to say and no receive buffer */
    bool tx_blocked;    /* the ring of resets is full */
    bool event_pending; /* the guest is to learn that every connection is gone */
    struct evloop_timer *again;
    unsigned again_mask; /* queues to serve once more */
    struct virtq_chain rx_chain, tx_chain, event_chain;

    struct vsock_list all, buckets[VSOCK_BUCKETS];
    struct vsock_list dead;
    struct vsock_fifo ready;
    unsigned n_conns, n_hellos;
    struct vsock_ports rst[VSOCK_RST_RING];
    unsigned rst_first, rst_n;
    uint32_t next_port;

    /* vsock_unix.c */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct stat path_stat; /* of the socket file that we made */
    int listen_fd, epoll_fd;
    bool listening; /* listen_fd is in the epoll set */
    struct evloop_watch *watch;
};

/* --- vsock.c --- */

/** vsock_again() - have @queue served once more after other work of the loop. */
void vsock_again(struct vsock_dev *dev, enum vsock_queue queue);
/** vsock_pump() - tell the guest what is to be told, as far as it has buffers. */
void vsock_pump(struct vsock_dev *dev);

/* --- vsock_table.c --- */

/** vsock_conn_new() - in VSOCK_HELLO, in no table; takes @fd over. NULL: the limit is reached or
 *  there is no memory, and @fd is closed. */
struct vsock_conn *vsock_conn_new(struct vsock_dev *dev, int fd);
/** vsock_conn_find() - by ports, or NULL. */
struct vsock_conn *vsock_conn_find(struct vsock_dev *dev, uint32_t host_port, uint32_t guest_port);
/** vsock_conn_name() - give @conn its ports and enter it into the table. */
void vsock_conn_name(struct vsock_conn *conn, uint32_t host_port, uint32_t guest_port);
/** vsock_conn_kill() - close and forget it; @rst tells the guest. The memory stays until
 *  vsock_conn_reap(). */
void vsock_conn_kill(struct vsock_conn *conn, bool rst);
void vsock_conn_kill_all(struct vsock_dev *dev);
void vsock_conn_reap(struct vsock_dev *dev);
/** vsock_conn_say() - have the guest told. */
void vsock_conn_say(struct vsock_conn *conn, unsigned say);
/** vsock_conn_poll() - watch fd for @events; also for its end when @hangup. */
void vsock_conn_poll(struct vsock_conn *conn, uint32_t events, bool hangup);
/** vsock_rst() - remember to reset a pair of ports. */
void vsock_rst(struct vsock_dev *dev, uint32_t host_port, uint32_t guest_port);
/** vsock_conn_in_table() - is it one that the guest can name? */
bool vsock_conn_in_table(const struct vsock_conn *conn);
/** vsock_conn_unready() - out of the ready list. */
void vsock_conn_unready(struct vsock_conn *conn);
/** vsock_conn_close_fd() - the host's side and what is buffered for it. */
void vsock_conn_close_fd(struct vsock_conn *conn);

/* --- vsock_conn.c --- */

/** vsock_conn_event() - epoll events of its descriptor, not in VSOCK_HELLO. */
void vsock_conn_event(struct vsock_conn *conn, uint32_t events);
/** vsock_conn_packet() - a packet of the guest's for it; @data_bytes really follow the header
 *  in @chain. */
void vsock_conn_packet(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr,
                       const struct virtq_chain *chain);
/** vsock_conn_emit() - put its next packet into @chain. Return: bytes, 0 when it has none. */
uint32_t vsock_conn_emit(struct vsock_conn *conn, const struct virtq_chain *chain);

/* --- vsock_unix.c --- */

/** vsock_unix_open() - bind and listen. Same results as vsock_new(). */
int vsock_unix_open(struct vsock_dev *dev, const char *path, struct errctx *ec);
void vsock_unix_close(struct vsock_dev *dev);
/** vsock_unix_watch() - serve the host's side, or let it wait. */
void vsock_unix_watch(struct vsock_dev *dev, bool on);
/** vsock_unix_listen() - accept again after descriptors or slots had run out. */
void vsock_unix_listen(struct vsock_dev *dev);
/** vsock_unix_connect() - to PATH_PORT. Return: a descriptor or -errno. */
int vsock_unix_connect(const struct vsock_dev *dev, uint32_t port);

#endif
