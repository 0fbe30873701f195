/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-tests/bare/lib/memdev.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "guest-tests/bare/lib/bare.h"

static uint64_t config64(const struct memdev *m, size_t off)
{
    return read64(m->dev.config + off);
}

bool memdev_open(struct memdev *ret_m)
{
    if (!vdev_open(VIRTIO_ID_MEM, 0, &ret_m->dev))
        return false;
    ret_m->block = config64(ret_m, offsetof(struct virtio_mem_config, block_size));
    ret_m->base = config64(ret_m, offsetof(struct virtio_mem_config, addr));
    ret_m->size = config64(ret_m, offsetof(struct virtio_mem_config, region_size));
    return true;
}

bool memdev_start(struct memdev *m, uint64_t features)
{
    if (!vdev_reset(&m->dev) || !vdev_negotiate(&m->dev, features) ||
        !vq_setup(&m->dev, &m->q, 0, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(&m->dev);
    return true;
}

uint64_t memdev_requested(const struct memdev *m)
{
    return config64(m, offsetof(struct virtio_mem_config, requested_size));
}

unsigned memdev_ask(struct memdev *m, uint16_t type, uint64_t addr, uint16_t blocks)
{
    static struct virtio_mem_req req;
    static volatile struct virtio_mem_resp resp;
    struct vpart part[2] = { { phys(&req), sizeof(req), false },
                             { phys(&resp), sizeof(resp), true } };

    memset(&req, 0, sizeof(req));
    req.type = type;
    req.u.plug.addr = addr;
    req.u.plug.nb_blocks = blocks;
    resp.type = MEMDEV_NO_ANSWER;
    vq_request(&m->q, part, 2);
    if (vq_wait(&m->q, MEMDEV_SECONDS) < 0)
        return MEMDEV_NO_ANSWER;
    m->state = resp.u.state.state;
    return resp.type;
}

bool memdev_is_no_memory(uint64_t addr)
{
    map_range(addr & ~(uint64_t)(PAGE_BYTES - 1), PAGE_BYTES);
    write64(addr, 0x1234567812345678ull);
    return read64(addr) == ~0ull;
}
