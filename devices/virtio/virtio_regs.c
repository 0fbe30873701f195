/* SPDX-License-Identifier: Apache-2.0 */
/* Common configuration registers; see virtio_regs.h for states, rules and locking. */
#include "devices/virtio/virtio_regs.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

/* Bits a driver may set; NEEDS_RESET is the device's. */
enum {
    STATUS_DRIVER_BITS = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                         VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
                         VIRTIO_CONFIG_S_FAILED,
};

#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)

static void clear_locked(struct virtio_regs *regs)
{
    regs->device_feature_select = regs->driver_feature_select = 0;
    regs->driver_features = 0;
    __atomic_store_n(regs->features, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&regs->config_vector, VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
    regs->queue_select = 0;
    regs->status = 0;
    regs->reset_pending = false;
    for (unsigned i = 0; i < regs->n_queues; i++) {
        struct virtio_queue_regs *q = &regs->q[i];

        __atomic_store_n(&q->vector, VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
        q->size = regs->queue_max[i];
        q->enabled = false;
        q->desc = q->avail = q->used = 0;
    }
}

void virtio_regs_init(struct virtio_regs *regs, struct virtio_dev *dev, unsigned n_vectors)
{
    *regs = (struct virtio_regs){
        .offered = (dev->host_features | VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
                    1ull << VIRTIO_RING_F_EVENT_IDX) &
                   ~dev->lacking_features,
        .n_queues = dev->n_queues,
        .n_vectors = n_vectors,
        .queue_max = dev->queue_max,
        .features = &dev->features,
    };
    (void)pthread_mutex_init(&regs->lock, NULL);
    clear_locked(regs);
}

void virtio_regs_fini(struct virtio_regs *regs)
{
    (void)pthread_mutex_destroy(&regs->lock);
}

/* --- reads ----------------------------------------------------------------------------------- */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static void fill_locked(const struct virtio_regs *regs, struct virtio_pci_common_cfg *c)
{
    *c = (struct virtio_pci_common_cfg){
        .device_feature_select = regs->device_feature_select,
        .device_feature = feature_word(regs->offered, regs->device_feature_select),
        .guest_feature_select = regs->driver_feature_select,
        .guest_feature = feature_word(regs->driver_features, regs->driver_feature_select),
        .msix_config = regs->config_vector,
        .num_queues = (uint16_t)regs->n_queues,
        .device_status = regs->status,
        .config_generation = __atomic_load_n(&regs->generation, __ATOMIC_ACQUIRE),
        .queue_select = regs->queue_select,
        .queue_msix_vector = VIRTIO_MSI_NO_VECTOR,
    };
    if (regs->queue_select < regs->n_queues) { /* else size 0: no such queue */
        const struct virtio_queue_regs *q = &regs->q[regs->queue_select];

        c->queue_size = q->size;
        c->queue_msix_vector = q->vector;
        c->queue_enable = q->enabled;
        c->queue_notify_off = regs->queue_select;
        c->queue_desc_lo = (uint32_t)q->desc;
        c->queue_desc_hi = (uint32_t)(q->desc >> 32);
        c->queue_avail_lo = (uint32_t)q->avail;
        c->queue_avail_hi = (uint32_t)(q->avail >> 32);
        c->queue_used_lo = (uint32_t)q->used;
        c->queue_used_hi = (uint32_t)(q->used >> 32);
    }
}

void virtio_regs_read(struct virtio_regs *regs, uint64_t off, void *data, size_t size)
{
    struct virtio_pci_common_cfg c;

    memset(data, 0, size);
    if (off >= sizeof(c))
        return;
    LOCK_SCOPE(&regs->lock);
    fill_locked(regs, &c);
    memcpy(data, (const uint8_t *)&c + off, MIN(size, sizeof(c) - off));
}

/* --- writes ---------------------------------------------------------------------------------- */

static enum virtio_regs_event write_status_locked(struct virtio_regs *regs, uint8_t val)
{
    uint8_t added = val & STATUS_DRIVER_BITS & (uint8_t)~regs->status;

    if (regs->reset_pending)
        return VIRTIO_REGS_NOTHING;
    if (val == 0) {
        /* Nothing runs before DRIVER_OK, and status 0 must read back at once then. */
        if (regs->status == 0) {
            clear_locked(regs);
            return VIRTIO_REGS_NOTHING;
        }
        regs->reset_pending = true;
        return VIRTIO_REGS_RESET;
    }
    if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
        if ((regs->driver_features & ~regs->offered) != 0 || !(regs->driver_features & VERSION_1))
            added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK; /* 2.2.2: refused */
        else
            __atomic_store_n(regs->features, regs->driver_features, __ATOMIC_RELAXED);
    }
    regs->status |= added;
    if (!(added & VIRTIO_CONFIG_S_DRIVER_OK))
        return VIRTIO_REGS_NOTHING;
    if (!(regs->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        regs->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK; /* 3.1.1: out of order */
        return VIRTIO_REGS_NOTHING;
    }
    return VIRTIO_REGS_START;
}

static uint16_t vector_or_none(const struct virtio_regs *regs, uint32_t val)
{
    return val < regs->n_vectors ? (uint16_t)val : VIRTIO_MSI_NO_VECTOR;
}

static void set_half(uint64_t *v, bool high, uint32_t half)
{
    *v = high ? (*v & UINT32_MAX) | (uint64_t)half << 32 : (*v & ~(uint64_t)UINT32_MAX) | half;
}

static void write_queue_locked(struct virtio_regs *regs, unsigned off, uint32_t val)
{
    struct virtio_queue_regs *q = &regs->q[regs->queue_select];
    bool frozen;

    if (regs->queue_select >= regs->n_queues)
        return;
    if (off == VIRTIO_PCI_COMMON_Q_MSIX) {
        __atomic_store_n(&q->vector, vector_or_none(regs, val), __ATOMIC_RELAXED);
        return;
    }
    frozen = q->enabled || (regs->status & VIRTIO_CONFIG_S_DRIVER_OK);
    if (frozen)
        return;
    switch (off) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        if (is_pow2(val) && val <= regs->queue_max[regs->queue_select])
            q->size = (uint16_t)val;
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        q->enabled = val == 1;
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_half(&q->desc, off == VIRTIO_PCI_COMMON_Q_DESCHI, val);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_half(&q->avail, off == VIRTIO_PCI_COMMON_Q_AVAILHI, val);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_half(&q->used, off == VIRTIO_PCI_COMMON_Q_USEDHI, val);
        break;
    default:
        break;
    }
}

static enum virtio_regs_event write_field_locked(struct virtio_regs *regs, unsigned off,
                                                 uint32_t val)
{
    switch (off) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        regs->device_feature_select = val;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        regs->driver_feature_select = val;
        break;
    case VIRTIO_PCI_COMMON_GF:
        if (!(regs->status & VIRTIO_CONFIG_S_FEATURES_OK) && regs->driver_feature_select < 2)
            set_half(&regs->driver_features, regs->driver_feature_select == 1, val);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        __atomic_store_n(&regs->config_vector, vector_or_none(regs, val), __ATOMIC_RELAXED);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        return write_status_locked(regs, (uint8_t)val);
    case VIRTIO_PCI_COMMON_Q_SELECT:
        regs->queue_select = (uint16_t)val;
        break;
    default:
        write_queue_locked(regs, off, val);
        break;
    }
    return VIRTIO_REGS_NOTHING;
}

/* Width of the writable field that starts at @off; 0: none does. */
static size_t field_width(uint64_t off)
{
    switch (off) {
    case VIRTIO_PCI_COMMON_STATUS:
        return 1;
    case VIRTIO_PCI_COMMON_MSIX:
    case VIRTIO_PCI_COMMON_Q_SELECT:
    case VIRTIO_PCI_COMMON_Q_SIZE:
    case VIRTIO_PCI_COMMON_Q_MSIX:
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        return 2;
    case VIRTIO_PCI_COMMON_DFSELECT:
    case VIRTIO_PCI_COMMON_GFSELECT:
    case VIRTIO_PCI_COMMON_GF:
        return 4;
    default:
        return off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDHI &&
                       off % 4 == 0
                   ? 4
                   : 0;
    }
}

enum virtio_regs_event virtio_regs_write(struct virtio_regs *regs, uint64_t off, const void *data,
                                         size_t size)
{
    uint32_t val = 0;

    LOCK_SCOPE(&regs->lock);
    if (size == 8 && off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDLO &&
        off % 8 == 0) {
        memcpy(&val, data, 4);
        (void)write_field_locked(regs, (unsigned)off, val);
        memcpy(&val, (const uint8_t *)data + 4, 4);
        (void)write_field_locked(regs, (unsigned)off + 4, val);
        return VIRTIO_REGS_NOTHING;
    }
    if (size != field_width(off))
        return VIRTIO_REGS_NOTHING;
    memcpy(&val, data, size);
    return write_field_locked(regs, (unsigned)off, val);
}

/* --- the device's side ----------------------------------------------------------------------- */

void virtio_regs_reset(struct virtio_regs *regs)
{
    LOCK_SCOPE(&regs->lock);

    clear_locked(regs);
}

void virtio_regs_needs_reset(struct virtio_regs *regs)
{
    LOCK_SCOPE(&regs->lock);

    if (regs->status != 0)
        regs->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
}

void virtio_regs_config_changed(struct virtio_regs *regs)
{
    __atomic_fetch_add(&regs->generation, 1, __ATOMIC_RELEASE);
}

uint16_t virtio_regs_config_vector(const struct virtio_regs *regs)
{
    return __atomic_load_n(&regs->config_vector, __ATOMIC_RELAXED);
}

uint16_t virtio_regs_queue_vector(const struct virtio_regs *regs, unsigned index)
{
    return __atomic_load_n(&regs->q[index].vector, __ATOMIC_RELAXED);
}

struct virtio_queue_regs virtio_regs_queue(struct virtio_regs *regs, unsigned index)
{
    LOCK_SCOPE(&regs->lock);

    return regs->q[index];
}

/* --- saved state ----------------------------------------------------------------------------- */

void virtio_regs_save(struct virtio_regs *regs, struct snapshot_writer *w)
{
    LOCK_SCOPE(&regs->lock);

    snapshot_put_u64(w, regs->offered);
    snapshot_put_u16(w, (uint16_t)regs->n_queues);
    snapshot_put_u32(w, regs->device_feature_select);
    snapshot_put_u32(w, regs->driver_feature_select);
    snapshot_put_u64(w, regs->driver_features);
    snapshot_put_u16(w, regs->config_vector);
    snapshot_put_u16(w, regs->queue_select);
    snapshot_put_u8(w, regs->status);
    snapshot_put_u8(w, regs->generation);
    for (unsigned i = 0; i < regs->n_queues; i++) {
        const struct virtio_queue_regs *q = &regs->q[i];

        snapshot_put_u16(w, q->size);
        snapshot_put_u16(w, q->vector);
        snapshot_put_u8(w, q->enabled);
        snapshot_put_u64(w, q->desc);
        snapshot_put_u64(w, q->avail);
        snapshot_put_u64(w, q->used);
    }
}

static int load_queue_locked(struct virtio_regs *regs, unsigned i, struct snapshot_reader *r,
                             struct errctx *ec)
{
    struct virtio_queue_regs *q = &regs->q[i];

    q->size = snapshot_get_u16(r);
    q->vector = vector_or_none(regs, snapshot_get_u16(r));
    q->enabled = snapshot_get_u8(r) & 1;
    q->desc = snapshot_get_u64(r);
    q->avail = snapshot_get_u64(r);
    q->used = snapshot_get_u64(r);
    if (!is_pow2(q->size) || q->size > regs->queue_max[i])
        return errctx_set(ec, EINVAL, "saved queue %u has size %u, this device allows %u", i,
                          q->size, regs->queue_max[i]);
    return 0;
}

int virtio_regs_load(struct virtio_regs *regs, struct snapshot_reader *r, struct errctx *ec)
{
    uint64_t offered = snapshot_get_u64(r);
    unsigned n_queues = snapshot_get_u16(r);
    int ret = 0;

    if (offered != regs->offered || n_queues != regs->n_queues)
        return errctx_set(ec, EINVAL,
                          "saved device has other features or queues (0x%llx, %u) than this one "
                          "(0x%llx, %u)",
                          (unsigned long long)offered, n_queues, (unsigned long long)regs->offered,
                          regs->n_queues);
    LOCK_SCOPE(&regs->lock);
    regs->device_feature_select = snapshot_get_u32(r);
    regs->driver_feature_select = snapshot_get_u32(r);
    regs->driver_features = snapshot_get_u64(r);
    regs->config_vector = vector_or_none(regs, snapshot_get_u16(r));
    regs->queue_select = snapshot_get_u16(r);
    regs->status = snapshot_get_u8(r) & (STATUS_DRIVER_BITS | VIRTIO_CONFIG_S_NEEDS_RESET);
    regs->generation = snapshot_get_u8(r);
    if ((regs->status & VIRTIO_CONFIG_S_FEATURES_OK) && (regs->driver_features & ~offered) != 0)
        return errctx_set(ec, EINVAL, "saved device agreed on features it does not have");
    for (unsigned i = 0; i < n_queues && ret == 0; i++)
        ret = load_queue_locked(regs, i, r, ec);
    if (ret == 0 && (regs->status & VIRTIO_CONFIG_S_FEATURES_OK))
        __atomic_store_n(regs->features, regs->driver_features, __ATOMIC_RELAXED);
    return ret;
}
