/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a golden file: one pass over the images, each different page written at once, where the
 * last one ended, so that what lies together in an image does here; then the index, sorted. See
 * golden.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden.h"
#include "memory/store/golden/golden_format.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { CHUNK = 256 * CODEC_PAGE };

struct maker {
    FILE *out;
    struct golden_entry *entries; /* in the order of the images; memory comes by touch */
    uint32_t *slots;              /* open addressing by hash: entry's number + 1, 0: free */
    uint64_t n_slots, n_entries, max_entries, units, image_bytes;
    mode_t mode; /* of the file: who may read every image may read it */
    struct codec_encoder encoder;
    uint8_t chunk[CHUNK];
};

static int open_image(const char *path, uint64_t *ret_bytes, mode_t *mode, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "image %s", path);
    *ret_bytes = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret_bytes) < 0)
        return errctx_set_os(ec, errno, "size of image %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return errctx_set(ec, EINVAL, "image %s is neither a file nor a block device", path);
    *mode &= st.st_mode;
    return take_fd(&fd);
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, CODEC_PAGE - 1) == 0;
}

/* The slot of @hash, or the free one where it belongs. */
static uint32_t *slot_of(const struct maker *m, struct golden_hash hash)
{
    uint64_t i = hash.low & (m->n_slots - 1);

    while (m->slots[i] != 0 && (m->entries[m->slots[i] - 1].hash_low != hash.low ||
                                m->entries[m->slots[i] - 1].hash_high != hash.high))
        i = (i + 1) & (m->n_slots - 1);
    return &m->slots[i];
}

static int write_all(struct maker *m, const void *bytes, size_t len)
{
    return fwrite(bytes, 1, len, m->out) == len ? 0 : -errno;
}

/* Of two pages with one hash, should there ever be any, the second is left out. */
static int add_page(struct maker *m, const uint8_t *page)
{
    static const uint8_t zeroes[GOLDEN_UNIT];
    struct golden_hash hash;
    enum codec_kind kind;
    const void *bytes;
    uint32_t *slot;
    size_t len;
    int r;

    if (is_zero(page))
        return 0;
    hash = golden_hash(page);
    slot = slot_of(m, hash);
    if (*slot != 0)
        return 0;
    len = codec_encode(&m->encoder, page, &bytes, &kind);
    if (m->n_entries >= m->max_entries || m->units + CODEC_PAGE / GOLDEN_UNIT > UINT32_MAX)
        return -E2BIG;
    m->entries[m->n_entries++] = (struct golden_entry){ .hash_high = hash.high,
                                                        .hash_low = hash.low,
                                                        .at = (uint32_t)m->units,
                                                        .len = (uint16_t)len,
                                                        .kind = (uint8_t)kind };
    *slot = (uint32_t)m->n_entries;
    m->units += (len + GOLDEN_UNIT - 1) / GOLDEN_UNIT;
    r = write_all(m, bytes, len);
    return r < 0 ? r : write_all(m, zeroes, (GOLDEN_UNIT - len % GOLDEN_UNIT) % GOLDEN_UNIT);
}

static int add_image(struct maker *m, const char *path, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = -1;
    uint64_t bytes, at = 0;
    int r = 0;

    fd = open_image(path, &bytes, &m->mode, ec);
    if (fd < 0)
        return fd;
    while (r == 0 && at < bytes) {
        const ssize_t n = pread(fd, m->chunk, MIN(bytes - at, (uint64_t)CHUNK), (off_t)at);

        if (n < 0)
            return errctx_set_os(ec, errno, "read image %s", path);
        if (n == 0)
            break; /* it became shorter */
        at += (uint64_t)n;
        if (n % CODEC_PAGE != 0)
            memset(m->chunk + n, 0, (size_t)(CODEC_PAGE - n % CODEC_PAGE));
        for (ssize_t i = 0; r == 0 && i < n; i += CODEC_PAGE)
            r = add_page(m, m->chunk + i);
    }
    m->image_bytes += at;
    if (r == -E2BIG)
        return errctx_set(ec, E2BIG, "image %s: more pages than a golden file can have", path);
    return r < 0 ? errctx_set_os(ec, -r, "write what is in image %s", path) : 0;
}

static int by_hash(const void *a, const void *b)
{
    const struct golden_entry *x = a, *y = b;

    if (x->hash_high != y->hash_high)
        return x->hash_high < y->hash_high ? -1 : 1;
    return x->hash_low < y->hash_low ? -1 : x->hash_low > y->hash_low;
}

/* Index and header behind and in front of what was written. */
static int end_file(struct maker *m)
{
    struct golden_header h = { .version = GOLDEN_VERSION,
                               .page_bytes = CODEC_PAGE,
                               .n_pages = m->n_entries,
                               .data_units = m->units,
                               .image_bytes = m->image_bytes };
    XXH128_hash_t hash;
    int r;

    qsort(m->entries, m->n_entries, sizeof(*m->entries), by_hash);
    memcpy(h.magic, GOLDEN_MAGIC, sizeof(h.magic));
    hash = XXH3_128bits(m->entries, m->n_entries * sizeof(*m->entries));
    h.index_hash[0] = hash.low64;
    h.index_hash[1] = hash.high64;
    hash = XXH3_128bits(&h, offsetof(struct golden_header, hash));
    h.hash[0] = hash.low64;
    h.hash[1] = hash.high64;
    r = write_all(m, m->entries, m->n_entries * sizeof(*m->entries));
    if (r == 0 && fseek(m->out, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        r = write_all(m, &h, sizeof(h));
    return r == 0 && (fflush(m->out) != 0 || fsync(fileno(m->out)) < 0 ||
                      fchmod(fileno(m->out), m->mode | 0400) < 0)
               ? -errno
               : r;
}

/* Room for @pages pages, which comes by touch. */
static int make_room(struct maker *m, uint64_t pages)
{
    m->max_entries = MIN(pages, (uint64_t)GOLDEN_MAX_PAGES);
    m->n_slots = 1024;
    while (m->n_slots < 2 * m->max_entries)
        m->n_slots *= 2;
    m->entries = calloc(MAX(m->max_entries, UINT64_C(1)), sizeof(*m->entries));
    m->slots = calloc(m->n_slots, sizeof(*m->slots));
    return m->entries != NULL && m->slots != NULL ? 0 : -ENOMEM;
}

static int fill(struct maker *m, const char *const *images, size_t n, struct errctx *ec)
{
    uint64_t bytes, pages = 0;
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        CLEANUP_CLOSE int fd = open_image(images[i], &bytes, &m->mode, ec);

        if (fd < 0)
            return fd;
        pages += bytes / CODEC_PAGE + 1;
    }
    if (make_room(m, pages) < 0)
        return errctx_set(ec, ENOMEM, "no memory for an index of %llu pages",
                          (unsigned long long)pages);
    if (fseek(m->out, GOLDEN_DATA_AT, SEEK_SET) < 0)
        return errctx_set_os(ec, errno, "write a golden file");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_image(m, images[i], ec);
    if (r == 0 && m->n_entries == 0)
        return errctx_set(ec, EINVAL, "there is nothing but zeroes in %s", images[0]);
    if (r == 0) {
        r = end_file(m);
        return r < 0 ? errctx_set_os(ec, -r, "write a golden file") : 0;
    }
    return r;
}

int golden_make(const char *const *images, size_t n, const char *path, struct errctx *ec)
{
    CLEANUP_FREE struct maker *m = calloc(1, sizeof(*m));
    CLEANUP_FREE char *part = NULL;
    int fd, r;

    if (m == NULL || asprintf(&part, "%s.XXXXXX", path) < 0)
        return errctx_set(ec, ENOMEM, "no memory to make %s", path);
    fd = mkostemp(part, O_CLOEXEC);
    if (fd < 0)
        return errctx_set_os(ec, errno, "make %s", path);
    m->mode = 0444;
    m->out = fdopen(fd, "w");
    if (m->out == NULL) {
        (void)close(fd);
        r = errctx_set(ec, ENOMEM, "no memory to make %s", path);
    } else {
        r = fill(m, images, n, ec);
        if (fclose(m->out) != 0 && r == 0)
            r = errctx_set_os(ec, errno, "write %s", path);
    }
    free(m->entries);
    free(m->slots);
    if (r == 0 && rename(part, path) < 0)
        r = errctx_set_os(ec, errno, "make %s", path);
    if (r < 0)
        (void)unlink(part);
    return r;
}
