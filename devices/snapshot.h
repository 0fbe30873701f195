/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versioned device state as bytes: little-endian fields, one after the other, in sections.
 *
 * A writer grows a buffer and remembers the first failure; a reader checks every bound, so that
 * a damaged or hostile state is refused, never believed. After a run of snap_get_* calls the
 * caller asks snapshot_reader_ok() once.
 */
#ifndef DEVICES_SNAPSHOT_H
#define DEVICES_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct snapshot_writer {
    uint8_t *buf; /* owned; released by snapshot_writer_fini() */
    size_t len, cap;
    bool failed; /* out of memory at some point; what is in buf is not complete */
};

struct snapshot_reader {
    const uint8_t *buf; /* borrowed */
    size_t len, pos;
    bool failed; /* read past the end */
};

void snapshot_put_u8(struct snapshot_writer *w, uint8_t v);
void snapshot_put_u16(struct snapshot_writer *w, uint16_t v);
void snapshot_put_u32(struct snapshot_writer *w, uint32_t v);
void snapshot_put_u64(struct snapshot_writer *w, uint64_t v);
void snapshot_put_bytes(struct snapshot_writer *w, const void *data, size_t len);
void snapshot_writer_fini(struct snapshot_writer *w);

/* Past the end these return 0 (or zero bytes) and mark the reader as failed. */
uint8_t snapshot_get_u8(struct snapshot_reader *r);
uint16_t snapshot_get_u16(struct snapshot_reader *r);
uint32_t snapshot_get_u32(struct snapshot_reader *r);
uint64_t snapshot_get_u64(struct snapshot_reader *r);
void snapshot_get_bytes(struct snapshot_reader *r, void *data, size_t len);
static inline bool snapshot_reader_ok(const struct snapshot_reader *r)
{
    return !r->failed;
}

struct device;

/** device_save() / device_load() - one section: type, name, version, length, body. Load refuses
 *  (-EINVAL, sentence) another type or name, a higher version, a wrong length. */
int device_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec);
int device_load(struct device *dev, struct snapshot_reader *r, struct errctx *ec);

#endif
