/* SPDX-License-Identifier: Apache-2.0 */
/* --vhost-user: the types of devices, and what each of them needs. User input only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/net_int.h"
#include "devices/virtio/vhost_user.h"
#include "devices/virtio/vhost_user_int.h"
#include "vmm/base/macros.h"

#define BIT(n) (1ull << (n))

static const struct vu_kind kinds[] = {
    { .name = "fs",
      .ops = &vu_fs_ops,
      .config_len = sizeof(struct virtio_fs_config),
      .extra_queues = 1 /* 5.11.2: high priority */ },
    { .name = "blk",
      .ops = &vu_blk_ops,
      .features = BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
                  BIT(VIRTIO_BLK_F_GEOMETRY) | BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
                  BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
                  BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
                  BIT(VIRTIO_BLK_F_MQ),
      .config_len = offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4,
      .asks_config = true,
      .returns_idle = true },
    { .name = "net",
      .ops = &vu_net_ops,
      .features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
                  BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
                  BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_UFO) |
                  BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
                  BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) |
                  BIT(VIRTIO_NET_F_MRG_RXBUF),
      .own_features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS),
      .config_len = offsetof(struct virtio_net_config, status) + 2,
      .extra_queues = 1 /* receive and transmit; more pairs would need a control queue */,
      .returns = true },
};

static const struct device_key vu_keys[] = {
    { .name = "type", .kind = DEVICE_KEY_STRING, .required = true, .help = "fs, blk or net" },
    { .name = "socket",
      .kind = DEVICE_KEY_PATH,
      .required = true,
      .help = "where the back end listens" },
    { .name = "tag",
      .kind = DEVICE_KEY_STRING,
      .help = "what the guest mounts (fs), 1 to 36 bytes" },
    { .name = "queues",
      .kind = DEVICE_KEY_UINT,
      .max = VU_QUEUES_MAX - 1,
      .help = "request queues (fs, blk; default 1)" },
    { .name = "mac",
      .kind = DEVICE_KEY_STRING,
      .help = "the guest's address (net; default: derived from the machine's name)" },
    { .name = NULL },
};

static const char *text_of(const struct device_args *args, const char *key)
{
    const struct device_arg *arg = device_args_get(args, key);

    return arg != NULL ? arg->text : NULL;
}

static const struct vu_kind *kind_of(const struct device_args *args)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(kinds[i].name, text_of(args, "type")) == 0)
            return &kinds[i];
    return NULL;
}

static int refuse_key(const struct device_args *args, const char *key, const struct vu_kind *kind,
                      struct errctx *ec)
{
    if (device_args_get(args, key) == NULL)
        return 0;
    return errctx_set(ec, EINVAL, "--vhost-user %s: %s= has no effect for this type", kind->name,
                      key);
}

static int vu_check(const struct device_args *args, struct errctx *ec)
{
    const struct vu_kind *kind = kind_of(args);
    const char *tag = text_of(args, "tag"), *mac = text_of(args, "mac");
    uint8_t scratch[ETH_ALEN];
    int r = 0;

    if (kind == NULL)
        return errctx_set(ec, EINVAL, "--vhost-user: type \"%.40s\" is none of fs, blk and net",
                          text_of(args, "type"));
    if (device_args_number(args, "queues", 1) == 0)
        return errctx_set(ec, EINVAL, "--vhost-user %s: queues=0 would serve nothing", kind->name);
    if (kind->ops != &vu_fs_ops)
        r = refuse_key(args, "tag", kind, ec);
    else if (tag == NULL || strlen(tag) > sizeof(((struct virtio_fs_config *)0)->tag))
        r = errctx_set(ec, EINVAL, "--vhost-user fs: tag= is what the guest mounts, 1 to 36 bytes");
    if (r == 0 && kind->ops == &vu_net_ops)
        r = refuse_key(args, "queues", kind, ec);
    if (r == 0 && kind->ops != &vu_net_ops)
        r = refuse_key(args, "mac", kind, ec);
    if (r == 0 && mac != NULL && net_mac_parse(mac, scratch, ec) < 0)
        r = errctx_wrap(ec, -EINVAL, "--vhost-user net");
    return r;
}

static int vu_clash(const struct device_args *a, const struct device_args *b, struct errctx *ec)
{
    const char *tag_a = text_of(a, "tag"), *tag_b = text_of(b, "tag");

    if (strcmp(text_of(a, "socket"), text_of(b, "socket")) == 0)
        return errctx_set(ec, EINVAL, "--vhost-user: socket=%.80s is given to two devices",
                          text_of(a, "socket"));
    if (tag_a != NULL && tag_b != NULL && strcmp(tag_a, tag_b) == 0)
        return errctx_set(ec, EINVAL, "--vhost-user: tag=%s is given to two devices", tag_a);
    return 0;
}

/* What the guest reads that no back end is asked for. */
static int describe(struct vu_dev *dev, const struct device_args *args,
                    const struct device_env *env, unsigned queues, struct errctx *ec)
{
    const char *mac = text_of(args, "mac"), *tag = text_of(args, "tag");

    if (dev->kind->ops == &vu_fs_ops) {
        memcpy(dev->config.fs.tag, tag, strlen(tag));
        dev->config.fs.num_request_queues = queues;
    } else if (dev->kind->ops == &vu_net_ops && mac != NULL) {
        return net_mac_parse(mac, dev->config.net.mac, ec);
    } else if (dev->kind->ops == &vu_net_ops) {
        net_mac_default(env->vm_name, env->name, dev->config.net.mac);
    }
    return 0;
}

static int vu_create(const struct device_args *args, const struct device_env *env,
                     struct virtio_dev **ret_dev, struct errctx *ec)
{
    const unsigned queues = (unsigned)device_args_number(args, "queues", 1);
    struct vu_dev *dev = calloc(1, sizeof(*dev));
    int r;

    if (dev == NULL)
        return errctx_set(ec, ENOMEM, "--vhost-user: no memory for the device");
    dev->kind = kind_of(args);
    dev->path = strdup(text_of(args, "socket"));
    r = dev->path == NULL ? errctx_set(ec, ENOMEM, "no memory for the device")
                          : describe(dev, args, env, queues, ec);
    if (r < 0) {
        free(dev->path);
        free(dev);
    } else {
        r = vu_dev_new(dev, env, queues, ret_dev, ec);
    }
    return r < 0 ? errctx_wrap(ec, r, "--vhost-user %s", kind_of(args)->name) : 0;
}

static void vu_needs(const struct device_args *args, struct device_needs *needs)
{
    if (needs->n_peers < DEVICE_PEERS_MAX)
        needs->peers[needs->n_peers++] = text_of(args, "socket");
}

const struct device_type vhost_user_device_type = {
    .name = "vhost-user",
    .first_key = "type",
    .shares_memory = true,
    .help = "a file system, disk or network that another process serves",
    .keys = vu_keys,
    .check = vu_check,
    .clash = vu_clash,
    .create = vu_create,
    .needs = vu_needs,
};
