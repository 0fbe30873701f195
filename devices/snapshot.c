/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/snapshot.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "vmm/base/checked.h"

enum { SECTION_TEXT = 32 }; /* type and name, zero-padded */

void snapshot_put_bytes(struct snapshot_writer *w, const void *data, size_t len)
{
    if (w->failed || len == 0)
        return;
    if (len > w->cap - w->len) {
        size_t cap = (w->len + len) * 2 + 256;
        uint8_t *grown = realloc(w->buf, cap);

        if (grown == NULL) {
            w->failed = true;
            return;
        }
        w->buf = grown;
        w->cap = cap;
    }
    memcpy(w->buf + w->len, data, len);
    w->len += len;
}

void snapshot_put_u8(struct snapshot_writer *w, uint8_t v)
{
    snapshot_put_bytes(w, &v, sizeof(v));
}

void snapshot_put_u16(struct snapshot_writer *w, uint16_t v)
{
    v = htole16(v);
    snapshot_put_bytes(w, &v, sizeof(v));
}

void snapshot_put_u32(struct snapshot_writer *w, uint32_t v)
{
    v = htole32(v);
    snapshot_put_bytes(w, &v, sizeof(v));
}

void snapshot_put_u64(struct snapshot_writer *w, uint64_t v)
{
    v = htole64(v);
    snapshot_put_bytes(w, &v, sizeof(v));
}

void snapshot_writer_fini(struct snapshot_writer *w)
{
    free(w->buf);
    *w = (struct snapshot_writer){ 0 };
}

void snapshot_get_bytes(struct snapshot_reader *r, void *data, size_t len)
{
    if (r->failed || !checked_range(r->pos, len, r->len)) {
        r->failed = true;
        memset(data, 0, len);
        return;
    }
    memcpy(data, r->buf + r->pos, len);
    r->pos += len;
}

uint8_t snapshot_get_u8(struct snapshot_reader *r)
{
    uint8_t v;

    snapshot_get_bytes(r, &v, sizeof(v));
    return v;
}

uint16_t snapshot_get_u16(struct snapshot_reader *r)
{
    uint16_t v;

    snapshot_get_bytes(r, &v, sizeof(v));
    return le16toh(v);
}

uint32_t snapshot_get_u32(struct snapshot_reader *r)
{
    uint32_t v;

    snapshot_get_bytes(r, &v, sizeof(v));
    return le32toh(v);
}

uint64_t snapshot_get_u64(struct snapshot_reader *r)
{
    uint64_t v;

    snapshot_get_bytes(r, &v, sizeof(v));
    return le64toh(v);
}

static void put_text(struct snapshot_writer *w, const char *text)
{
    char field[SECTION_TEXT] = { 0 };

    memcpy(field, text, strnlen(text, sizeof(field) - 1));
    snapshot_put_bytes(w, field, sizeof(field));
}

static bool get_text_is(struct snapshot_reader *r, const char *text)
{
    char field[SECTION_TEXT], want[SECTION_TEXT] = { 0 };

    memcpy(want, text, strnlen(text, sizeof(want) - 1));
    snapshot_get_bytes(r, field, sizeof(field));
    return snapshot_reader_ok(r) && memcmp(field, want, sizeof(field)) == 0;
}

int device_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    size_t len_at, body_at;
    uint32_t body_len;
    int r;

    put_text(w, dev->ops->type);
    put_text(w, dev->name);
    snapshot_put_u32(w, dev->ops->version);
    len_at = w->len;
    snapshot_put_u32(w, 0);
    body_at = w->len;
    r = dev->ops->save(dev, w, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "%s", dev->name);
    if (w->failed || w->len - body_at > UINT32_MAX)
        return errctx_set(ec, ENOMEM, "%s: no memory for the saved state", dev->name);
    body_len = htole32((uint32_t)(w->len - body_at));
    memcpy(w->buf + len_at, &body_len, sizeof(body_len));
    return 0;
}

int device_load(struct device *dev, struct snapshot_reader *r, struct errctx *ec)
{
    struct snapshot_reader body;
    uint32_t version, len;
    int res;

    if (!get_text_is(r, dev->ops->type) || !get_text_is(r, dev->name))
        return errctx_set(ec, EINVAL, "%s: the saved state holds another device here", dev->name);
    version = snapshot_get_u32(r);
    len = snapshot_get_u32(r);
    if (r->failed || !checked_range(r->pos, len, r->len))
        return errctx_set(ec, EINVAL, "%s: the saved state is cut short", dev->name);
    if (version > dev->ops->version)
        return errctx_set(ec, EINVAL, "%s: saved state version %u is newer than ours, %u",
                          dev->name, version, dev->ops->version);
    body = (struct snapshot_reader){ .buf = r->buf + r->pos, .len = len };
    res = dev->ops->load(dev, &body, version, ec);
    if (res < 0)
        return errctx_wrap(ec, res, "%s", dev->name);
    if (body.failed || body.pos != len)
        return errctx_set(ec, EINVAL, "%s: the saved state has the wrong length", dev->name);
    r->pos += len;
    return 0;
}
