/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_stats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"

enum { STATS_MAX = 4096 /* counters we are ready to believe in */ };

int kvm_stats_open(int kvm_fd, struct errctx *ec)
{
    int fd = ioctl(kvm_fd, KVM_GET_STATS_FD, 0);

    if (fd < 0)
        return errctx_set(ec, ENOSYS, "this kernel has no KVM statistics (KVM_GET_STATS_FD)");
    return fd;
}

int kvm_stats_each(int stats_fd, void (*cb)(void *ctx, const char *name, uint64_t value),
                   void *ctx, struct errctx *ec)
{
    struct kvm_stats_header h;
    CLEANUP_FREE uint8_t *descs = NULL;
    size_t each, bytes;

    if (pread(stats_fd, &h, sizeof(h), 0) != sizeof(h) || h.num_desc > STATS_MAX)
        return errctx_set(ec, EIO, "KVM's statistics cannot be read");
    each = sizeof(struct kvm_stats_desc) + h.name_size;
    bytes = each * h.num_desc;
    descs = malloc(bytes + 1);
    if (descs == NULL)
        return errctx_set(ec, ENOMEM, "no memory for KVM's statistics");
    if (pread(stats_fd, descs, bytes, h.desc_offset) != (ssize_t)bytes)
        return errctx_set(ec, EIO, "KVM's statistics cannot be read");
    for (uint32_t i = 0; i < h.num_desc; i++) {
        struct kvm_stats_desc d;
        char name[128] = { 0 };
        uint64_t value;

        memcpy(&d, descs + i * each, sizeof(d));
        memcpy(name, descs + i * each + sizeof(d),
               h.name_size < sizeof(name) ? h.name_size : sizeof(name) - 1);
        if (d.size != 1) /* histograms */
            continue;
        if (pread(stats_fd, &value, sizeof(value), (off_t)h.data_offset + d.offset) ==
            sizeof(value))
            cb(ctx, name, value);
    }
    return 0;
}

struct wanted {
    const char *name;
    uint64_t value;
};

static void pick(void *ctx, const char *name, uint64_t value)
{
    struct wanted *w = ctx;

    if (strcmp(name, w->name) == 0)
        w->value = value;
}

uint64_t kvm_stats_get(int stats_fd, const char *name)
{
    struct wanted w = { .name = name };

    (void)kvm_stats_each(stats_fd, pick, &w, NULL);
    return w.value;
}
