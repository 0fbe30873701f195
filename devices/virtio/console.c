/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console device (virtio 1.2, 5.3) with one port: queue 0 to the guest, queue 1 from it.
 *
 * Nothing here blocks. Output goes through a buffer of fixed size; when the terminal does not
 * take it, requests stay in the ring and the guest waits, as it would behind a slow line. Input
 * is read only when the guest has a buffer for it. No lease is kept between events: a request
 * that did not fit whole goes back to its ring and ->tx_done remembers how much of it is out.
 *
 * The terminal's descriptors are shared with whoever started us, so O_NONBLOCK is set on a
 * description of our own where the kernel gives us one (/proc/self/fd), and put back at the end
 * where not. The window's size is looked at when input arrives; a signal handler for it would
 * have to live in the machine.
 *
 * Threading: loop thread, except config_read, which reads one atomic word.
 */
#include "devices/virtio/console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/macros.h"

enum {
    CON_RX = 0,
    CON_TX = 1,
    CON_QUEUE_SIZE = 64,
    CON_OUT_MAX = 64 * KIB,
    CON_READ_MAX = 4 * KIB, /* of input at once */
    CON_BATCH = 32,         /* requests per kick, see rng.c */
    CON_CLASS = 0x078000,   /* other communication device */
};

/* A descriptor of ours for one of the terminal's. */
struct con_fd {
    int fd;        /* -1: none */
    int old_flags; /* to restore on the shared description; -1: it is our own */
    struct evloop_watch *watch;
    bool gone; /* end of file, or nobody at the other end */
};

struct console {
    struct virtio_dev vdev;
    struct con_fd in, out;
    struct virtq_chain chain;
    bool active; /* started and not quiesced */
    bool started;
    size_t tx_done; /* bytes of the next transmit request that are out already */
    size_t out_start, out_len;
    uint8_t out_buf[CON_OUT_MAX];
    _Atomic uint32_t size; /* columns in the low half, rows in the high half */
};

/* --- descriptors ----------------------------------------------------------------------------- */

static int con_fd_open(struct con_fd *c, int fd, int mode)
{
    char path[32];
    struct stat st;

    c->fd = -1;
    c->old_flags = -1;
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return -errno;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    /* Not for regular files: they share their offset with other writers. */
    if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))
        c->fd = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (c->fd >= 0)
        return 0;
    c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    c->old_flags = fcntl(c->fd, F_GETFL);
    (void)fcntl(c->fd, F_SETFL, c->old_flags | O_NONBLOCK);
    return 0;
}

static void con_fd_close(struct con_fd *c)
{
    if (c->fd < 0)
        return;
    if (c->old_flags >= 0)
        (void)fcntl(c->fd, F_SETFL, c->old_flags);
    (void)close(c->fd);
    c->fd = -1;
}

/* Watch or not. Unwatched altogether when idle, because a hung-up descriptor would wake the loop
 * for ever. A descriptor that cannot be watched (a file) is always ready. */
static void con_fd_watch(struct console *con, struct con_fd *c, uint32_t events,
                         void (*cb)(void *ctx, uint32_t events), bool want)
{
    if (want && c->watch == NULL && c->fd >= 0 && !c->gone) {
        (void)evloop_watch_fd(con->vdev.loop, c->fd, events, cb, con, &c->watch, NULL);
    } else if (!want) {
        evloop_unwatch(c->watch);
        c->watch = NULL;
    }
}

/* --- window size ----------------------------------------------------------------------------- */

static bool read_size(struct console *con)
{
    struct winsize ws;
    uint32_t size;

    if (ioctl(con->out.fd, TIOCGWINSZ, &ws) < 0)
        return false;
    size = (uint32_t)ws.ws_row << 16 | ws.ws_col;
    if (atomic_exchange(&con->size, size) != size && con->active)
        con->vdev.transport->config_interrupt(con->vdev.transport_ctx);
    return true;
}

static void con_config_read(struct virtio_dev *vdev, uint32_t off, void *data, uint32_t len)
{
    const struct console *con = container_of_const(vdev, struct console, vdev);
    uint32_t size = atomic_load(&con->size);
    struct virtio_console_config config = {
        .cols = (uint16_t)size,
        .rows = (uint16_t)(size >> 16),
        .max_nr_ports = 1,
    };

    memcpy(data, (const uint8_t *)&config + off, len);
}

/* --- output ---------------------------------------------------------------------------------- */

static void out_ready(void *ctx, uint32_t events);
static void in_ready(void *ctx, uint32_t events);

/* Write what the buffer holds. Whatever cannot be written now stays. */
static void flush(struct console *con)
{
    while (con->out_len > 0 && !con->out.gone) {
        size_t part = MIN(con->out_len, CON_OUT_MAX - con->out_start);
        ssize_t n = write(con->out.fd, con->out_buf + con->out_start, part);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n <= 0) {
            con->out.gone = true; /* nobody listens any more: swallow, as a wire would */
            break;
        }
        con->out_start = (con->out_start + (size_t)n) % CON_OUT_MAX;
        con->out_len -= (size_t)n;
    }
    if (con->out.gone)
        con->out_len = 0;
}

/* Copy from @chain at ->tx_done into the buffer's free part. Returns whether all of it is in. */
static bool buffer_chain(struct console *con, const struct virtq_chain *chain)
{
    while (con->out_len < CON_OUT_MAX && con->tx_done < chain->read_bytes) {
        size_t end = (con->out_start + con->out_len) % CON_OUT_MAX;
        size_t room = MIN(CON_OUT_MAX - con->out_len, CON_OUT_MAX - end);
        size_t n = virtq_chain_read(chain, con->tx_done, con->out_buf + end, room);

        con->out_len += n;
        con->tx_done += n;
        if (n == 0)
            break;
    }
    return con->tx_done >= chain->read_bytes;
}

/* Take one request. 1: done; 0: none, or no room for the rest of it; negative: broken. */
static int send_one(struct console *con, struct virtqueue *vq)
{
    int r = virtqueue_pop(vq, LEASE_WRITE, &con->chain);

    if (r <= 0)
        return r;
    while (!buffer_chain(con, &con->chain)) {
        flush(con);
        if (con->out_len == CON_OUT_MAX) {
            virtqueue_unpop(vq, &con->chain);
            return 0;
        }
    }
    con->tx_done = 0;
    r = virtqueue_push(vq, &con->chain, 0);
    return r < 0 ? r : 1;
}

static void serve_tx(struct console *con)
{
    struct virtio_dev *vdev = &con->vdev;
    struct virtqueue *vq = &vdev->vqs[CON_TX];
    int r = virtqueue_set_notify(vq, false);
    bool was_full;

    for (unsigned n = 0; r >= 0 && n < CON_BATCH; n++) {
        r = send_one(con, vq);
        if (r == 0)
            break;
    }
    was_full = con->out_len == CON_OUT_MAX; /* so a request may wait for room that comes now */
    flush(con);
    if (r >= 0)
        r = virtqueue_set_notify(vq, true);
    if (r < 0)
        virtio_dev_break(vdev, "the transmit ring makes no sense");
    else if ((r > 0 || was_full) && con->out_len < CON_OUT_MAX)
        vdev->transport->kick_again(vdev->transport_ctx, CON_TX);
    virtio_dev_notify(vdev, vq);
    con_fd_watch(con, &con->out, EPOLLOUT, out_ready, con->out_len > 0 && !vdev->broken);
}

static void out_ready(void *ctx, uint32_t events)
{
    struct console *con = ctx;

    (void)events;
    flush(con);
    serve_tx(con);
}

/* --- input ----------------------------------------------------------------------------------- */

/* Fill one request. 1: done; 0: no request, or no input; negative: broken. */
static int receive_one(struct console *con, struct virtqueue *vq, bool *ret_no_buffer)
{
    uint8_t buf[CON_READ_MAX];
    ssize_t n;
    int r = virtqueue_pop(vq, LEASE_WRITE, &con->chain);

    *ret_no_buffer = r == 0;
    if (r <= 0)
        return r;
    do {
        n = read(con->in.fd, buf, MIN(sizeof(buf), con->chain.write_bytes));
    } while (n < 0 && errno == EINTR);
    if (con->chain.write_bytes == 0)
        n = 0; /* a request for nothing gets it */
    else if (n <= 0) {
        con->in.gone = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
        virtqueue_unpop(vq, &con->chain);
        return 0;
    }
    (void)virtq_chain_write(&con->chain, 0, buf, (size_t)n);
    r = virtqueue_push(vq, &con->chain, (uint32_t)n);
    return r < 0 ? r : 1;
}

static void serve_rx(struct console *con)
{
    struct virtio_dev *vdev = &con->vdev;
    struct virtqueue *vq = &vdev->vqs[CON_RX];
    bool no_buffer = false;
    int r = 1;

    if (con->in.fd < 0 || con->in.gone)
        return;
    for (unsigned n = 0; r > 0 && n < CON_BATCH; n++)
        r = receive_one(con, vq, &no_buffer);
    if (r >= 0 && no_buffer)
        r = virtqueue_set_notify(vq, true);
    if (r < 0)
        virtio_dev_break(vdev, "the receive ring makes no sense");
    else if (r > 0)
        vdev->transport->kick_again(vdev->transport_ctx, CON_RX);
    virtio_dev_notify(vdev, vq);
    /* Without a buffer, input waits in the terminal until the guest rings. */
    con_fd_watch(con, &con->in, EPOLLIN, in_ready, !no_buffer && !con->in.gone && !vdev->broken);
}

static void in_ready(void *ctx, uint32_t events)
{
    struct console *con = ctx;

    (void)events;
    if (virtio_dev_has(&con->vdev, VIRTIO_CONSOLE_F_SIZE))
        (void)read_size(con);
    serve_rx(con);
}

/* --- life cycle ------------------------------------------------------------------------------ */

static void con_kick(struct virtio_dev *vdev, unsigned index)
{
    struct console *con = container_of(vdev, struct console, vdev);

    if (index == CON_RX)
        serve_rx(con);
    else
        serve_tx(con);
}

static int con_start(struct virtio_dev *vdev)
{
    struct console *con = container_of(vdev, struct console, vdev);

    con->started = con->active = true;
    if (virtio_dev_has(vdev, VIRTIO_CONSOLE_F_SIZE))
        (void)read_size(con);
    return 0; /* the kicks that follow do the rest */
}

static void con_quiesce(struct virtio_dev *vdev)
{
    struct console *con = container_of(vdev, struct console, vdev);

    con->active = false;
    con_fd_watch(con, &con->in, 0, NULL, false);
    con_fd_watch(con, &con->out, 0, NULL, false);
    flush(con);
}

static void con_resume(struct virtio_dev *vdev)
{
    struct console *con = container_of(vdev, struct console, vdev);

    con->active = con->started; /* and the kicks that follow watch again */
}

static void con_reset(struct virtio_dev *vdev)
{
    struct console *con = container_of(vdev, struct console, vdev);

    con->started = false;
    con->tx_done = 0;
}

static int con_save(struct virtio_dev *vdev, struct snapshot_writer *w, struct errctx *ec)
{
    const struct console *con = container_of_const(vdev, struct console, vdev);

    (void)ec;
    snapshot_put_u64(w, con->tx_done);
    snapshot_put_u32(w, (uint32_t)con->out_len);
    for (size_t i = 0; i < con->out_len; i++)
        snapshot_put_u8(w, con->out_buf[(con->out_start + i) % CON_OUT_MAX]);
    return 0;
}

static int con_load(struct virtio_dev *vdev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct console *con = container_of(vdev, struct console, vdev);
    uint64_t tx_done = snapshot_get_u64(r);
    uint32_t len = snapshot_get_u32(r);

    (void)version;
    if (len > CON_OUT_MAX)
        return errctx_set(ec, EINVAL, "%s: %u bytes of saved output, at most %d fit", vdev->name,
                          len, CON_OUT_MAX);
    snapshot_get_bytes(r, con->out_buf, len);
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: saved output is cut short", vdev->name);
    con->tx_done = tx_done;
    con->out_start = 0;
    con->out_len = len;
    return 0;
}

static void con_free(struct console *con)
{
    virtq_chain_fini(con->vdev.mem, &con->chain);
    con_fd_close(&con->in);
    con_fd_close(&con->out);
    free(con);
}

static void con_destroy(struct virtio_dev *vdev)
{
    con_free(container_of(vdev, struct console, vdev));
}

static const struct virtio_ops con_ops = {
    .type = "console",
    .version = 1,
    .virtio_id = VIRTIO_ID_CONSOLE,
    .pci_class = CON_CLASS,
    .config_read = con_config_read,
    .start = con_start,
    .kick = con_kick,
    .quiesce = con_quiesce,
    .resume = con_resume,
    .reset = con_reset,
    .save = con_save,
    .load = con_load,
    .destroy = con_destroy,
};

static int con_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct console *con;
    int r;

    (void)args;
    if (env->console_out_fd < 0)
        return errctx_set(ec, ENOTTY, "--console: there is no terminal to attach it to");
    con = calloc(1, sizeof(*con));
    if (con == NULL)
        return errctx_set(ec, ENOMEM, "--console: no memory for the device");
    con->vdev = (struct virtio_dev){
        .ops = &con_ops,
        .n_queues = 2,
        .queue_max = { CON_QUEUE_SIZE, CON_QUEUE_SIZE },
        .config_len = sizeof(struct virtio_console_config),
        .loop = env->loop,
        .mem = env->mem,
    };
    (void)strncpy(con->vdev.name, env->name, sizeof(con->vdev.name) - 1);
    con->out.fd = -1;
    r = con_fd_open(&con->in, env->console_in_fd, O_RDONLY);
    if (r == 0)
        r = con_fd_open(&con->out, env->console_out_fd, O_WRONLY);
    if (r < 0) {
        r = errctx_set_os(ec, -r, "--console: take over the terminal");
        con_free(con);
        return r;
    }
    if (read_size(con))
        con->vdev.host_features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
    *ret_dev = &con->vdev;
    return 0;
}

static const struct device_key con_keys[] = { { .name = NULL } };

const struct device_type console_device_type = {
    .name = "console",
    .single = true,
    .help = "virtio console (hvc0) on the terminal",
    .keys = con_keys,
    .create = con_create,
};
