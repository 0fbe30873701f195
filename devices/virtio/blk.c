/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio disk as a device: options, configuration space, life cycle. Requests are the
 * business of blk_engine.c and blk_req.c, system calls that of the backends.
 *
 * config_read runs on vCPU threads and reads what create wrote; all else as virtio.h says.
 */
#include "devices/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk_engine.h"
#include "devices/virtio/blk_file.h"
#include "devices/virtio/blk_req.h"
#include "vmm/base/macros.h"

enum {
    BLK_QUEUE_SIZE = 256,
    BLK_SEG_MAX = BLK_QUEUE_SIZE - 2, /* header and status */
    BLK_STATE_VERSION = 1,
    BLK_PCI_CLASS = 0x018000, /* mass storage, other */
};

struct blk {
    struct virtio_dev dev; /* first */
    struct blk_disk disk;
    struct virtio_blk_config config; /* const after create */
    struct blk_engine engine;
};

static struct blk *blk_of(struct virtio_dev *dev)
{
    return container_of(dev, struct blk, dev);
}

/* --- life cycle ------------------------------------------------------------------------------- */

static int blk_start(struct virtio_dev *dev)
{
    (void)dev; /* features are looked at when requests come */
    return 0;
}

static void blk_kick(struct virtio_dev *dev, unsigned index)
{
    blk_engine_kick(&blk_of(dev)->engine, index);
}

/* Requests of several steps go on until they are answered; nothing new is popped. */
static void blk_quiesce(struct virtio_dev *dev)
{
    blk_engine_drain(&blk_of(dev)->engine);
}

static void blk_reset(struct virtio_dev *dev)
{
    blk_engine_reset(&blk_of(dev)->engine);
}

/* Nothing is in flight, so the only state is what the two sides must agree on. */
static int blk_save(struct virtio_dev *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct blk *b = blk_of(dev);

    snapshot_put_u64(w, b->disk.file.sectors);
    snapshot_put_u64(w, dev->host_features);
    return w->failed ? errctx_set(ec, ENOMEM, "%s: no memory for its state", dev->name) : 0;
}

static int blk_load(struct virtio_dev *dev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct blk *b = blk_of(dev);
    uint64_t sectors = snapshot_get_u64(r);
    uint64_t features = snapshot_get_u64(r);

    (void)version; /* 1 is the only one so far */
    if (!snapshot_reader_ok(r))
        return errctx_set(ec, EINVAL, "%s: its saved state is too short", dev->name);
    if (sectors != b->disk.file.sectors)
        return errctx_set(ec, EINVAL, "%s: saved with %llu sectors, the file now has %llu",
                          dev->name, (unsigned long long)sectors,
                          (unsigned long long)b->disk.file.sectors);
    if (features != dev->host_features)
        return errctx_set(ec, EINVAL,
                          "%s: saved with other options (ro, sync, queues) or on a "
                          "file system that can do other things",
                          dev->name);
    return 0;
}

static void blk_destroy(struct virtio_dev *dev)
{
    struct blk *b = blk_of(dev);

    blk_engine_fini(&b->engine);
    blk_file_close(&b->disk.file);
    free(b);
}

static void blk_config_read(struct virtio_dev *dev, uint32_t off, void *data, uint32_t len)
{
    const struct blk *b = blk_of(dev);

    memset(data, 0, len);
    if (off < sizeof(b->config))
        memcpy(data, (const uint8_t *)&b->config + off, MIN(len, sizeof(b->config) - off));
}

static void blk_config_write(struct virtio_dev *dev, uint32_t off, const void *data, uint32_t len)
{
    (void)dev; /* the only writable field belongs to a feature that is not offered */
    (void)off;
    (void)data;
    (void)len;
}

static const struct virtio_ops blk_ops = {
    .type = "disk",
    .version = BLK_STATE_VERSION,
    .virtio_id = VIRTIO_ID_BLOCK,
    .pci_class = BLK_PCI_CLASS,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .start = blk_start,
    .kick = blk_kick,
    .quiesce = blk_quiesce,
    .reset = blk_reset,
    .save = blk_save,
    .load = blk_load,
    .destroy = blk_destroy,
};

/* --- making one ------------------------------------------------------------------------------- */

static void blk_describe(struct blk *b, bool sync)
{
    const struct blk_file *f = &b->disk.file;
    uint64_t offer = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
                     1ull << VIRTIO_BLK_F_TOPOLOGY;
    uint32_t blocks = f->block_bytes / BLK_SECTOR;

    if (!sync)
        offer |= 1ull << VIRTIO_BLK_F_FLUSH; /* not offered: writes are stable when answered */
    if (b->dev.n_queues > 1)
        offer |= 1ull << VIRTIO_BLK_F_MQ;
    if (f->read_only)
        offer |= 1ull << VIRTIO_BLK_F_RO;
    else
        offer |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    if (f->can_punch)
        offer |= 1ull << VIRTIO_BLK_F_DISCARD;
    b->dev.host_features = offer;
    b->config = (struct virtio_blk_config){
        .capacity = f->sectors,
        .seg_max = BLK_SEG_MAX,
        .blk_size = BLK_SECTOR,
        .physical_block_exp = (uint8_t)__builtin_ctz(blocks),
        .min_io_size = (uint16_t)blocks,
        .opt_io_size = 0, /* none better than another */
        .num_queues = (uint16_t)b->dev.n_queues,
        .max_discard_sectors = BLK_DISCARD_SECTORS,
        .max_discard_seg = BLK_DISCARD_SEGS,
        .discard_sector_alignment = blocks,
        .max_write_zeroes_sectors = BLK_ZERO_SECTORS,
        .max_write_zeroes_seg = BLK_ZERO_SEGS,
        .write_zeroes_may_unmap = f->can_punch,
    };
    b->dev.config_len = sizeof(b->config);
}

static int blk_check(const struct device_args *args, struct errctx *ec)
{
    const struct device_arg *serial = device_args_get(args, "serial");

    if (serial != NULL && strlen(serial->text) > VIRTIO_BLK_ID_BYTES)
        return errctx_set(ec, EINVAL, "--disk: serial=%s is longer than %d bytes", serial->text,
                          VIRTIO_BLK_ID_BYTES);
    if (device_args_number(args, "queues", 1) == 0)
        return errctx_set(ec, EINVAL, "--disk: queues=0: a disk needs at least one queue");
    if (device_args_number(args, "ro", 0) && device_args_number(args, "sync", 0))
        return errctx_set(ec, EINVAL, "--disk: sync has no effect together with ro");
    return 0;
}

static int blk_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    const struct device_arg *serial = device_args_get(args, "serial");
    struct blk_file_opts opts = {
        .path = device_args_get(args, "file")->text,
        .read_only = device_args_number(args, "ro", 0),
        .direct = device_args_number(args, "direct", 0),
    };
    const char *id = serial != NULL ? serial->text : env->name;
    struct blk *b = calloc(1, sizeof(*b));
    int r;

    if (b == NULL)
        return errctx_set(ec, ENOMEM, "%s: no memory for the device", env->name);
    r = blk_file_open(&opts, &b->disk.file, ec);
    if (r < 0) {
        free(b);
        return r;
    }
    b->dev.ops = &blk_ops;
    b->dev.loop = env->loop;
    b->dev.mem = env->mem;
    b->dev.takes_lost = true;
    (void)strncpy(b->dev.name, env->name, sizeof(b->dev.name) - 1);
    memcpy(b->disk.id, id, MIN(strlen(id), sizeof(b->disk.id)));
    b->dev.n_queues = (unsigned)device_args_number(args, "queues", 1);
    for (unsigned i = 0; i < b->dev.n_queues; i++)
        b->dev.queue_max[i] = BLK_QUEUE_SIZE;
    blk_describe(b, device_args_number(args, "sync", 0));
    r = blk_engine_init(&b->engine, &b->dev, &b->disk, ec);
    if (r < 0) {
        blk_destroy(&b->dev);
        return errctx_wrap(ec, r, "disk %s", opts.path);
    }
    *ret_dev = &b->dev;
    return 0;
}

/* The kernel's locks would say so as well, once the first disk is open. */
static int blk_clash(const struct device_args *a, const struct device_args *b, struct errctx *ec)
{
    const char *file = device_args_get(a, "file")->text;

    if (strcmp(file, device_args_get(b, "file")->text) != 0 ||
        (device_args_number(a, "ro", 0) != 0 && device_args_number(b, "ro", 0) != 0))
        return 0;
    return errctx_set(ec, EINVAL, "--disk %s is given twice, which only read-only disks may be",
                      file);
}

static const struct device_key blk_keys[] = {
    { .name = "file",
      .kind = DEVICE_KEY_PATH,
      .required = true,
      .help = "raw image or block device; its size, a multiple of 512, is the capacity" },
    { .name = "ro",
      .kind = DEVICE_KEY_FLAG,
      .help = "read-only; several machines may share such a file" },
    { .name = "queues",
      .kind = DEVICE_KEY_UINT,
      .max = VIRTIO_MAX_QUEUES,
      .help = "request queues, at least 1 (default 1)" },
    { .name = "serial",
      .kind = DEVICE_KEY_STRING,
      .help = "serial number the guest reads, at most 20 bytes (default the device's name)" },
    { .name = "direct",
      .kind = DEVICE_KEY_FLAG,
      .help = "go past the host's page cache (O_DIRECT)" },
    { .name = "sync",
      .kind = DEVICE_KEY_FLAG,
      .help = "every write is on stable storage before the guest hears that it is done" },
    { .name = NULL },
};

const struct device_type blk_device_type = {
    .name = "disk",
    .first_key = "file",
    .help = "a disk (virtio-blk) on a raw file or block device",
    .keys = blk_keys,
    .check = blk_check,
    .clash = blk_clash,
    .create = blk_create,
};
