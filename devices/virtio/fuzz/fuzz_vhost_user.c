/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vhost-user back end may send: the input is all that it ever says, as one stream. The device
 * agrees on features, starts its rings, stops them and starts them again, as far as it gets.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/test/fake_driver.h"
#include "devices/virtio/vhost_user_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* So that one address after the other is a piece, and more of them than one table takes. */
enum { PIECES = 3, MANY = 12 };

static void init(struct vu_dev *dev, struct vu_kind *kind, struct guest_mem *mem,
                 struct virtqueue *vqs, struct guest_mem_piece *pieces, uint8_t how)
{
    *kind = (struct vu_kind){ .name = "blk",
                              .features = 0xffffff,
                              .config_len = how & 1 ? 60 : 0,
                              .asks_config = how & 1 };
    *dev = (struct vu_dev){ .kind = kind, .pieces = pieces };
    dev->n_pieces = how & 2 ? MANY : PIECES;
    (void)guest_mem_pieces(mem, pieces, PIECES);
    for (size_t i = PIECES; i < MANY; i++)
        pieces[i] = pieces[0];
    dev->vdev = (struct virtio_dev){ .n_queues = 2, .mem = mem, .vqs = vqs };
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t base = FAKE_RING_BASE + i * FAKE_RING_STRIDE;

        vqs[i] = (struct virtqueue){ .mem = mem,
                                     .index = i,
                                     .size = 16,
                                     .enabled = true,
                                     .desc = { base },
                                     .avail = { base + 4096 },
                                     .used = { base + 8192 } };
        dev->rings[i] = (struct vu_ring){ .dev = dev, .kick_fd = { 0, 0 }, .call.fd = 0 };
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_mem_piece pieces[MANY];
    struct virtqueue vqs[2];
    struct fake_mem fm;
    struct vu_kind kind;
    struct vu_dev dev;
    struct errctx ec = { 0 };
    int pair[2];

    if (size < 1 || size > 4096)
        return 0;
    fake_mem_init(&fm);
    init(&dev, &kind, fm.mem, vqs, pieces, data[0]);
    FAKE_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    FAKE_MUST(send(pair[1], data + 1, size - 1, MSG_NOSIGNAL) == (ssize_t)size - 1);
    FAKE_MUST(shutdown(pair[1], SHUT_WR) == 0);
    dev.link = (struct vhost_user_link){ .fd = pair[0] };
    vhost_user_allow(&dev.link, 100);
    if (vu_hello(&dev, data[0] & 4, &ec) == 0 && vu_rings_start(&dev, &ec) == 0 &&
        vu_rings_stop(&dev, &ec) == 0)
        (void)vu_rings_start(&dev, &ec);
    FAKE_MUST(dev.vdev.n_queues == 2);
    vhost_user_close(&dev.link);
    (void)close(pair[1]);
    fake_mem_fini(&fm);
    return 0;
}
