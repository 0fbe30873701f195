/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entropy device (virtio 1.2, 5.4): the host's getrandom() into the guest's buffers.
 *
 * One request gets at most RNG_REQUEST_MAX bytes and one kick serves at most RNG_BATCH requests,
 * so that a guest that asks for entropy in a loop does not keep the loop from its neighbours.
 * A driver may get less than it asked for (5.4.6.1). Everything happens inside kick, so there is
 * never anything to drain.
 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/macros.h"

enum {
    RNG_QUEUE_SIZE = 64,
    RNG_REQUEST_MAX = 16 * KIB,
    RNG_BATCH = 16,
    RNG_CLASS = 0x00ff00, /* no PCI class fits */
};

struct rng {
    struct virtio_dev vdev;
    struct virtq_chain chain; /* the one being served */
};

/* Fill the writable part. Returns the bytes written: fewer than asked when the host refuses. */
static uint32_t fill(const struct virtq_chain *chain)
{
    uint32_t done = 0;

    for (unsigned i = chain->n_read; i < chain->n_read + chain->n_write; i++) {
        const struct iovec *v = &chain->iov[i];
        size_t len = MIN(v->iov_len, (size_t)RNG_REQUEST_MAX - done);
        ssize_t n = getrandom(v->iov_base, len, 0);

        if (n > 0)
            done += (uint32_t)n;
        if (n != (ssize_t)v->iov_len)
            break; /* the limit, a signal, or an error: a short answer is an answer */
    }
    return done;
}

static int serve_one(struct rng *rng, struct virtqueue *vq)
{
    int r = virtqueue_pop(vq, LEASE_WRITE, &rng->chain);

    if (r <= 0)
        return r;
    r = virtqueue_push(vq, &rng->chain, fill(&rng->chain));
    return r < 0 ? r : 1;
}

static void rng_kick(struct virtio_dev *vdev, unsigned index)
{
    struct rng *rng = container_of(vdev, struct rng, vdev);
    struct virtqueue *vq = &vdev->vqs[index];
    int r = virtqueue_set_notify(vq, false);

    for (unsigned n = 0; r >= 0 && n < RNG_BATCH; n++) {
        r = serve_one(rng, vq);
        if (r == 0)
            break;
    }
    if (r >= 0)
        r = virtqueue_set_notify(vq, true);
    if (r < 0)
        virtio_dev_break(vdev, "the ring makes no sense");
    else if (r > 0)
        vdev->transport->kick_again(vdev->transport_ctx, index);
    virtio_dev_notify(vdev, vq);
}

static int rng_start(struct virtio_dev *vdev)
{
    (void)vdev;
    return 0;
}

static void rng_quiesce(struct virtio_dev *vdev)
{
    (void)vdev; /* nothing outlives a kick */
}

static void rng_reset(struct virtio_dev *vdev)
{
    (void)vdev;
}

static void rng_destroy(struct virtio_dev *vdev)
{
    struct rng *rng = container_of(vdev, struct rng, vdev);

    virtq_chain_fini(vdev->mem, &rng->chain);
    free(rng);
}

static const struct virtio_ops rng_ops = {
    .type = "rng",
    .version = 1,
    .virtio_id = VIRTIO_ID_RNG,
    .pci_class = RNG_CLASS,
    .start = rng_start,
    .kick = rng_kick,
    .quiesce = rng_quiesce,
    .reset = rng_reset,
    .destroy = rng_destroy,
};

static int rng_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    struct rng *rng = calloc(1, sizeof(*rng));

    (void)args;
    if (rng == NULL)
        return errctx_set(ec, ENOMEM, "--rng: no memory for the device");
    rng->vdev = (struct virtio_dev){
        .ops = &rng_ops,
        .n_queues = 1,
        .queue_max = { RNG_QUEUE_SIZE },
        .loop = env->loop,
        .mem = env->mem,
    };
    (void)strncpy(rng->vdev.name, env->name, sizeof(rng->vdev.name) - 1);
    *ret_dev = &rng->vdev;
    return 0;
}

static const struct device_key rng_keys[] = { { .name = NULL } };

const struct device_type rng_device_type = {
    .name = "rng",
    .single = true,
    .help = "entropy from the host",
    .keys = rng_keys,
    .create = rng_create,
};
