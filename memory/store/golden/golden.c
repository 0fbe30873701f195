/* SPDX-License-Identifier: Apache-2.0 */
/* See golden.h. */
#include "memory/store/golden/golden.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden_format.h"
#include "memory/store/golden/golden_pool.h"
#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    BUCKET = 4, /* entries, on average */
    BATCH = 2048, /* entries that are read at once */
    BUCKET_MAX = 64, /* more, of hashes that somebody made up, are not looked at */
};

struct golden {
    int fd;
    struct golden_pool *pool; /* NULL: nobody waits for what is read */
    uint64_t index_at;
    uint32_t n_pages, data_units;
    unsigned bits;   /* buckets, by the uppermost bits of hashes, are 1 << bits */
    uint32_t *first; /* entry of each bucket, and behind the last */
    uint8_t *tags;   /* lowest byte of each hash */
    struct golden_counts counts;
};

struct golden_hash golden_hash(const void *page)
{
    const XXH128_hash_t h = XXH3_128bits(page, CODEC_PAGE);

    return (struct golden_hash){ .low = h.low64, .high = h.high64 };
}

static int read_pool(struct golden *g, void *bytes, size_t len, uint64_t at)
{
    const int r = golden_pool_read(g->pool, bytes, len, at);

    return r == 0 || r == -ETIME ? r : r == -ENODATA ? -EUCLEAN : -ENXIO;
}

/* All of it. Return: 0; -EUCLEAN: the file ends before; -ENXIO: it cannot be read; -ETIME: not in
 * time. */
static int read_at(struct golden *g, void *bytes, size_t len, uint64_t at)
{
    size_t done = 0;
    ssize_t n = 1;

    if (g->pool != NULL)
        return read_pool(g, bytes, len, at);
    while (done < len && n > 0) {
        n = pread(g->fd, (char *)bytes + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            done += (size_t)n;
    }
    return done == len ? 0 : n == 0 ? -EUCLEAN : -ENXIO;
}

static uint32_t bucket_of(const struct golden *g, uint64_t hash_high)
{
    return g->bits == 0 ? 0 : (uint32_t)(hash_high >> (64 - g->bits));
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool is_before(const struct golden_entry *a, const struct golden_entry *b)
{
    return a->hash_high != b->hash_high ? a->hash_high < b->hash_high : a->hash_low < b->hash_low;
}

static bool is_sound(const struct golden *g, const struct golden_entry *e)
{
    const uint32_t units = (e->len + (uint32_t)GOLDEN_UNIT - 1) / GOLDEN_UNIT;

    return e->len > 0 && e->len <= CODEC_PAGE && e->zero == 0 &&
           (e->kind == CODEC_LZ4 || (e->kind == CODEC_RAW && e->len == CODEC_PAGE)) &&
           units <= g->data_units && e->at <= g->data_units - units;
}

/* Entries from @done on into the tables. Return: are they sound, and rising from @last on? */
static bool take_entries(struct golden *g, const struct golden_entry *e, size_t n, uint32_t done,
                         struct golden_entry *last)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_sound(g, &e[i]) || (done + i > 0 && !is_before(last, &e[i])))
            return false;
        g->tags[done + i] = (uint8_t)e[i].hash_low;
        g->first[bucket_of(g, e[i].hash_high) + 1] = done + (uint32_t)i + 1;
        *last = e[i];
    }
    return true;
}

/* Return: 0; -EUCLEAN; -ENXIO; -ENOMEM. */
static int read_index(struct golden *g, const struct golden_header *h)
{
    CLEANUP_FREE struct golden_entry *e = calloc(BATCH, sizeof(*e));
    CLEANUP_FREE XXH3_state_t *state = aligned_alloc(64, align_up(sizeof(*state), 64));
    struct golden_entry last = { 0 };
    XXH128_hash_t hash;

    if (e == NULL || state == NULL)
        return -ENOMEM;
    (void)XXH3_128bits_reset(state);
    for (uint32_t done = 0, n; done < g->n_pages; done += n) {
        int r;

        n = MIN(g->n_pages - done, (uint32_t)BATCH);
        r = read_at(g, e, n * sizeof(*e), g->index_at + done * sizeof(*e));
        if (r < 0)
            return r;
        (void)XXH3_128bits_update(state, e, n * sizeof(*e));
        if (!take_entries(g, e, n, done, &last))
            return -EUCLEAN;
    }
    for (size_t i = 1; i <= (size_t)1 << g->bits; i++) /* empty ones begin where the next does */
        g->first[i] = MAX(g->first[i], g->first[i - 1]);
    hash = XXH3_128bits_digest(state);
    return hash.low64 == h->index_hash[0] && hash.high64 == h->index_hash[1] ? 0 : -EUCLEAN;
}

static bool is_header(const struct golden_header *h, uint64_t file_bytes)
{
    const XXH128_hash_t hash = XXH3_128bits(h, offsetof(struct golden_header, hash));

    return hash.low64 == h->hash[0] && hash.high64 == h->hash[1] &&
           h->page_bytes == CODEC_PAGE && h->n_pages > 0 && h->n_pages <= GOLDEN_MAX_PAGES &&
           h->data_units <= UINT32_MAX &&
           golden_index_at(h) + h->n_pages * sizeof(struct golden_entry) == file_bytes;
}

static int make_tables(struct golden *g, const struct golden_header *h)
{
    g->index_at = golden_index_at(h);
    g->n_pages = (uint32_t)h->n_pages;
    g->data_units = (uint32_t)h->data_units;
    while ((uint64_t)BUCKET << g->bits < h->n_pages)
        g->bits++;
    g->first = calloc(((size_t)1 << g->bits) + 1, sizeof(*g->first));
    g->tags = malloc(g->n_pages);
    g->counts.pages = h->n_pages;
    g->counts.image_bytes = h->image_bytes;
    return g->first != NULL && g->tags != NULL ? 0 : -ENOMEM;
}

static int load(struct golden *g, const char *path, struct errctx *ec)
{
    struct golden_header h;
    struct stat st;
    int r;

    if (fstat(g->fd, &st) < 0)
        return errctx_set_os(ec, errno, "look at %s", path);
    if (!S_ISREG(st.st_mode))
        return errctx_set(ec, EINVAL, "%s is not a file", path);
    g->counts.file_bytes = (uint64_t)st.st_size;
    r = read_at(g, &h, sizeof(h), 0);
    if (r == -ENXIO)
        return errctx_set(ec, EIO, "%s cannot be read", path);
    if (r < 0 || memcmp(h.magic, GOLDEN_MAGIC, sizeof(h.magic)) != 0)
        return errctx_set(ec, EINVAL, "%s is not a golden file: numavisor golden add makes one",
                          path);
    if (h.version != GOLDEN_VERSION)
        return errctx_set(ec, EINVAL, "%s is a golden file of version %u; only %u is known", path,
                          h.version, GOLDEN_VERSION);
    if (!is_header(&h, g->counts.file_bytes))
        return errctx_set(ec, EINVAL, "%s is damaged: header and size do not fit", path);
    r = make_tables(g, &h);
    if (r == 0)
        r = read_index(g, &h);
    if (r == -ENOMEM)
        return errctx_set(ec, ENOMEM, "no memory for the index of %s", path);
    if (r == -ENXIO)
        return errctx_set(ec, EIO, "%s cannot be read", path);
    return r < 0 ? errctx_set(ec, EINVAL, "%s is damaged: its index has changed", path) : 0;
}

int golden_open_fd(int fd, const char *path, struct golden **ret_golden, struct errctx *ec)
{
    struct golden *g = calloc(1, sizeof(*g));
    int r;

    if (g == NULL) {
        (void)close(fd);
        return errctx_set(ec, ENOMEM, "no memory for %s", path);
    }
    g->fd = fd;
    r = load(g, path, ec);
    if (r < 0) {
        golden_close(g);
        return r;
    }
    *ret_golden = g;
    return 0;
}

int golden_open(const char *path, struct golden **ret_golden, struct errctx *ec)
{
    /* Not to wait for the other end of a FIFO; for files it means nothing. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    return fd >= 0 ? golden_open_fd(fd, path, ret_golden, ec)
                   : errctx_set_os(ec, errno, "golden file %s", path);
}

int golden_set_readers(struct golden *golden, size_t n, struct errctx *ec)
{
    return golden_pool_new(golden->fd, n, &golden->pool, ec);
}

void golden_close(struct golden *golden)
{
    if (golden == NULL)
        return;
    golden_pool_free(golden->pool);
    (void)close(golden->fd);
    free(golden->first);
    free(golden->tags);
    free(golden);
}

/* --- pages ------------------------------------------------------------------------------------ */

int golden_get(struct golden *golden, const struct golden_place *place, struct golden_hash hash,
               void *page)
{
    uint8_t bytes[CODEC_PAGE];
    struct golden_hash got;
    int r = read_at(golden, bytes, place->len, GOLDEN_DATA_AT + (uint64_t)place->at * GOLDEN_UNIT);

    if (r < 0)
        return r;
    if (codec_decode(NULL, (enum codec_kind)place->kind, bytes, place->len, page) < 0)
        return -EUCLEAN;
    got = golden_hash(page);
    return got.low == hash.low && got.high == hash.high ? 0 : -EUCLEAN;
}

static struct golden_place place_of(const struct golden_entry *e)
{
    return (struct golden_place){ .at = e->at, .len = e->len, .kind = e->kind };
}

/* The entry with @hash among a few; its content is not trusted: the file may have changed since. */
static bool find_entry(struct golden *g, struct golden_hash hash, struct golden_entry *ret_entry)
{
    const uint32_t bucket = bucket_of(g, hash.high);
    const uint32_t end = MIN(g->first[bucket + 1], g->first[bucket] + BUCKET_MAX);

    for (uint32_t i = g->first[bucket]; i < end; i++) {
        if (g->tags[i] != (uint8_t)hash.low)
            continue;
        if (read_at(g, ret_entry, sizeof(*ret_entry), g->index_at + i * sizeof(*ret_entry)) == 0 &&
            ret_entry->hash_low == hash.low && ret_entry->hash_high == hash.high &&
            is_sound(g, ret_entry))
            return true;
    }
    return false;
}

bool golden_find(struct golden *golden, const void *page, struct golden_hash hash,
                 struct golden_place *ret_place)
{
    struct golden_entry entry;
    uint8_t there[CODEC_PAGE];
    struct golden_place place;

    if (!find_entry(golden, hash, &entry))
        return false;
    place = place_of(&entry);
    if (golden_get(golden, &place, hash, there) < 0 || memcmp(there, page, CODEC_PAGE) != 0)
        return false;
    *ret_place = place;
    return true;
}

int golden_verify(struct golden *golden, uint64_t *ret_damaged, struct errctx *ec)
{
    uint8_t page[CODEC_PAGE];
    struct golden_entry e;
    uint64_t damaged = 0;

    for (uint32_t i = 0; i < golden->n_pages; i++) {
        struct golden_place place;

        if (read_at(golden, &e, sizeof(e), golden->index_at + i * sizeof(e)) < 0 ||
            !is_sound(golden, &e))
            return errctx_set(ec, EIO, "its index cannot be read any more");
        place = place_of(&e);
        damaged += golden_get(golden, &place,
                              (struct golden_hash){ .low = e.hash_low, .high = e.hash_high },
                              page) < 0;
    }
    *ret_damaged = damaged;
    return 0;
}

void golden_count(const struct golden *golden, struct golden_counts *ret_counts)
{
    *ret_counts = golden->counts;
}
