/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket device in the hands of a guest that was written by the fuzzer, with a real listener
 * behind port 1 and a host connection that waits for the guest's answer.
 *
 * The input is a list of packets and acts, 12 bytes each:
 *
 *   byte 0       act: packet, or the host writes, reads, closes, connects, the guest offers
 *                buffers, a pause
 *   byte 1       operation (0 to 15, with 8 and more out of range)
 *   byte 2, 3    host's and guest's port (few values, so that they meet)
 *   byte 4       1 wrong type, 2 wrong source, 4 wrong destination, 8 length is a lie
 *   byte 5       flags
 *   4 bytes      buf_alloc and fwd_cnt, 16 bits each
 *   2 bytes      payload length
 *
 * After each input the bounds hold: connections, ring of resets, leases, descriptors.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/fuzz/fuzz_ring.h"
#include "devices/virtio/vsock.h"
#include "devices/virtio/vsock_int.h"

enum {
    CID = 5,
    QUEUE = 64,
    STEP = 12,
    STEPS_MAX = 200,
    RX_BASE = FAKE_DATA_BASE,
    TX_BASE = FAKE_DATA_BASE + MIB,
};

struct target {
    struct fake_mem fm;
    struct fake_dev fd;
    struct evloop *loop;
    struct evloop_timer *stopper;
    struct vsock_dev *dev;
    char dir[32], path[64];
    int listener, host_fd, guest_fd; /* connections made by the host and accepted from the guest */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill_addr(struct sockaddr_un *sun, const char *path, const char *suffix)
{
    *sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
    FAKE_MUST(snprintf(sun->sun_path, sizeof(sun->sun_path), "%s%s", path, suffix) > 0);
}

static struct target *the_target;

static void target_cleanup(void)
{
    struct sockaddr_un sun;

    fill_addr(&sun, the_target->path, "_1");
    (void)unlink(sun.sun_path);
    (void)unlink(the_target->path);
    (void)rmdir(the_target->dir);
}

static void stop_loop(void *ctx)
{
    evloop_stop(ctx);
}

static struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));
    struct device_env env;
    struct virtio_dev *dev;
    struct sockaddr_un sun;

    FAKE_MUST(t != NULL);
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/nv-fuzz-XXXXXX");
    FAKE_MUST(mkdtemp(t->dir) != NULL);
    FAKE_MUST(snprintf(t->path, sizeof(t->path), "%s/v", t->dir) > 0);
    env = fuzz_env(&t->fm, "vsock0");
    t->loop = env.loop;
    FAKE_MUST(evloop_timer_new(t->loop, stop_loop, t->loop, &t->stopper, NULL) == 0);
    FAKE_MUST(vsock_new(&env, CID, t->path, &dev, NULL) == 0);
    t->dev = container_of(dev, struct vsock_dev, vdev);
    fake_dev_init(&t->fd, dev, &t->fm, 0, QUEUE);
    t->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fill_addr(&sun, t->path, "_1");
    FAKE_MUST(bind(t->listener, (struct sockaddr *)&sun, sizeof(sun)) == 0);
    FAKE_MUST(listen(t->listener, 16) == 0);
    t->host_fd = t->guest_fd = -1;
    the_target = t;
    FAKE_MUST(atexit(target_cleanup) == 0);
    return t;
}

/* Let the loop serve what is ready now. */
static void turn(struct target *t)
{
    evloop_timer_arm(t->stopper, 1); /* a time long past: it ends the first round */
    FAKE_MUST(evloop_run(t->loop, NULL) == 0);
}

static void offer(struct target *t, unsigned n)
{
    struct fake_queue *q = &t->fd.q[VSOCK_RX];

    for (unsigned i = 0; i < n && (uint16_t)(q->avail_idx - q->used->idx) < QUEUE; i++) {
        struct fake_buf buf = { RX_BASE + (uint64_t)(q->next_desc * 4096u), 1000 };

        fake_queue_add(q, &buf, 0, 1);
    }
    fake_dev_kick(&t->fd, VSOCK_RX);
}

static void packet(struct target *t, const uint8_t *s)
{
    struct virtio_vsock_hdr hdr = {
        .src_cid = s[4] & 2 ? CID + 1 : CID,
        .dst_cid = s[4] & 4 ? 1 : VSOCK_HOST_CID,
        .dst_port = s[2] & 8 ? 0x40000000u + (s[2] & 7) : s[2] & 1,
        .src_port = s[3] & 3,
        .type = s[4] & 1 ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM,
        .op = s[1] & 15,
        .flags = s[5],
        .buf_alloc = (uint32_t)(s[6] | s[7] << 8),
        .fwd_cnt = (uint32_t)(s[8] | s[9] << 8),
    };
    uint32_t len = (uint32_t)(s[10] | s[11] << 8);
    struct fake_buf bufs[2] = { { TX_BASE, VSOCK_HDR_LEN }, { TX_BASE + 64, len } };

    hdr.len = s[4] & 8 ? len * 3 : len;
    FAKE_MUST(guest_mem_write(t->fm.mem, (struct gpa){ TX_BASE }, &hdr, sizeof(hdr)) == 0);
    fake_queue_add(&t->fd.q[VSOCK_TX], bufs, len > 0 ? 2 : 1, 0);
    fake_dev_kick(&t->fd, VSOCK_TX);
}

static void drop(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void host_act(struct target *t, const uint8_t *s)
{
    static uint8_t buf[65536];
    int fd = s[2] & 1 ? t->host_fd : t->guest_fd;
    size_t len = (size_t)(s[10] | s[11] << 8);
    struct sockaddr_un sun;

    switch (s[1] & 7) {
    case 0:
        drop(&t->host_fd);
        t->host_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        fill_addr(&sun, t->path, "");
        (void)connect(t->host_fd, (struct sockaddr *)&sun, sizeof(sun));
        (void)send(t->host_fd, "CONNECT 2\n", s[5] & 1 ? 10 : 4, MSG_NOSIGNAL);
        break;
    case 1:
        drop(&t->guest_fd);
        t->guest_fd = accept4(t->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        break;
    case 2:
        (void)send(fd, buf, len, MSG_NOSIGNAL);
        break;
    case 3:
        (void)recv(fd, buf, sizeof(buf), 0);
        break;
    case 4:
        (void)shutdown(fd, s[5] % 3);
        break;
    case 5:
        drop(s[2] & 1 ? &t->host_fd : &t->guest_fd);
        break;
    default:
        offer(t, s[5] & 31);
    }
}

static void step(struct target *t, const uint8_t *s)
{
    if (s[0] & 1) {
        packet(t, s);
    } else if (s[0] & 2) {
        host_act(t, s);
    } else if (s[0] & 4) {
        fake_dev_quiesce(&t->fd);
        FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
        fake_dev_resume(&t->fd);
    }
    if (s[0] & 0x80)
        turn(t);
}

static void begin(struct target *t)
{
    for (unsigned i = 0; i < VSOCK_N_QUEUES; i++) {
        fake_queue_init(&t->fd.q[i], t->fm.mem, FAKE_RING_BASE + i * FAKE_RING_STRIDE, QUEUE);
        fake_queue_attach(&t->fd.q[i], &t->dev->vdev.vqs[i], i, false);
    }
    t->dev->vdev.broken = false;
    t->dev->next_port = 0x40000000;
    FAKE_MUST(fake_dev_start(&t->fd) == 0);
    offer(t, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target *t; /* one device for all inputs; it is reset after each */
    int fd;

    if (t == NULL)
        t = target_new();
    begin(t);
    for (size_t n = 0; size >= STEP && n < STEPS_MAX; data += STEP, size -= STEP, n++) {
        step(t, data);
        FAKE_MUST(guest_mem_leases(t->fm.mem) == 0);
        FAKE_MUST(t->dev->n_conns <= VSOCK_MAX_CONNS && t->dev->rst_n <= VSOCK_RST_RING);
    }
    turn(t);
    fake_dev_quiesce(&t->fd);
    t->dev->vdev.ops->reset(&t->dev->vdev);
    FAKE_MUST(t->dev->n_conns == 0 && t->dev->n_hellos == 0 && TAILQ_EMPTY(&t->dev->ready));
    drop(&t->host_fd);
    drop(&t->guest_fd);
    while ((fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        (void)close(fd);
    return 0;
}
