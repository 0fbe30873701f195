/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deltas - what other ways of packing would make of the memory of guests, for
 * docs/decisions/store.md.
 *
 *   deltas FILE...
 *
 * Each content that is not zeroes once. A line for each way: bytes a page of these, with slots and
 * what a store keeps for each object, and CPU time to encode and to decode one:
 *   lz4, zstd     one page for itself, as a store does, the better of both for zstd
 *   slots         the same in slots of 16 bytes instead of 64
 *   dictionary    with a dictionary of 64 KiB, trained on a page of sixteen
 *   groups of N   N pages, neighbours in the files, are one frame, where that is smaller
 *   deltas        against a page that is like it, found by samples of its content, where that is
 *                 smaller by a quarter; a page that others refer to is none itself
 */
#include <fcntl.h>
#include <lz4.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zdict.h>
#include <zstd.h>

#include "vmm/base/macros.h"

enum {
    PAGE = 4096,
    LEVEL = 3,
    OBJECT = 32 + 4, /* bytes: the object, and its part of the index */
    WORTH = PAGE * 7 / 8,
    MAGIC = 4,       /* bytes of a frame that are left out */
    FEATURES = 8,
    DICTIONARY = 64 * 1024,
    TRAIN_PART = 16,
    SLOT = 64,
    OWNER = 4, /* bytes in each slot */
};

#define NONE UINT32_MAX

struct pages {
    const uint8_t **at; /* in the order of the files */
    size_t n;
};

struct sum {
    const char *name;
    double bytes, encode_us, decode_us;
    size_t n_other; /* pages that the way was better for */
};

static ZSTD_CCtx *encoder;
static ZSTD_DCtx *decoder;
static uint8_t out[8 * PAGE], back[8 * PAGE];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static double cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double slot_bytes(size_t len, size_t unit)
{
    return (double)((len + OWNER + unit - 1) / unit * unit);
}

static void tell(const struct sum *s, size_t n)
{
    (void)printf("%-14s %8.1f bytes, %6.2f us to encode, %6.2f to decode, better for %4.1f %%\n",
                 s->name, s->bytes / (double)n, s->encode_us / (double)n, s->decode_us / (double)n,
                 100.0 * (double)s->n_other / (double)n);
}

/* --- each content once ------------------------------------------------------------------------ */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static void add_file(const char *path, struct pages *all)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const uint8_t *p;

    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        die(path);
    (void)close(fd);
    all->at = realloc(all->at, (all->n + (size_t)st.st_size / PAGE) * sizeof(*all->at));
    if (all->at == NULL)
        die("memory");
    for (size_t i = 0; i + PAGE <= (size_t)st.st_size; i += PAGE)
        if (!is_zero(p + i))
            all->at[all->n++] = p + i;
}

static int by_content(const void *a, const void *b)
{
    const uint8_t *x = *(const uint8_t *const *)a, *y = *(const uint8_t *const *)b;
    const int order = memcmp(x, y, PAGE);

    return order != 0 ? order : x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b)
{
    const uint8_t *x = *(const uint8_t *const *)a, *y = *(const uint8_t *const *)b;

    return x < y ? -1 : x > y;
}

static void keep_different(struct pages *all)
{
    size_t n = 0;

    qsort(all->at, all->n, sizeof(*all->at), by_content);
    for (size_t i = 0; i < all->n; i++)
        if (i == 0 || memcmp(all->at[n - 1], all->at[i], PAGE) != 0)
            all->at[n++] = all->at[i];
    all->n = n;
    qsort(all->at, all->n, sizeof(*all->at), by_place);
}

/* --- one page for itself ---------------------------------------------------------------------- */

static size_t lz4(const uint8_t *page)
{
    const int n = LZ4_compress_default((const char *)page, (char *)out, PAGE, WORTH);

    return n > 0 ? (size_t)n : PAGE;
}

/* Of @n pages from the encoder, as it was set; as many bytes as they are when that fails. */
static size_t zstd(const void *pages, size_t n)
{
    const size_t len = ZSTD_compress2(encoder, out, sizeof(out), pages, n * PAGE);

    return ZSTD_isError(len) || len > n * WORTH ? n * PAGE : len;
}

static void unpack(size_t len, size_t n, struct sum *s)
{
    const double begin = cpu_us();

    if (len < n * PAGE && ZSTD_decompressDCtx(decoder, back, sizeof(back), out, len) != n * PAGE)
        die("a frame");
    s->decode_us += cpu_us() - begin;
}

/* @len: what a store takes for each page, without slots. */
static void alone(const struct pages *all, uint16_t *len)
{
    struct sum fast = { .name = "lz4" }, packed = { .name = "zstd" }, fine = { .name = "slots" };

    for (size_t i = 0; i < all->n; i++) {
        double begin = cpu_us();
        const size_t first = lz4(all->at[i]);
        size_t n;

        fast.encode_us += cpu_us() - begin;
        fast.bytes += slot_bytes(first, SLOT) + OBJECT;
        begin = cpu_us();
        n = zstd(all->at[i], 1);
        packed.encode_us += cpu_us() - begin;
        unpack(n, 1, &packed);
        n -= n < PAGE ? MAGIC : 0;
        packed.n_other += n < first;
        len[i] = (uint16_t)MIN(n, first);
        packed.bytes += slot_bytes(len[i], SLOT) + OBJECT;
        fine.bytes += slot_bytes(len[i], 16) + OBJECT;
    }
    tell(&fast, all->n);
    tell(&packed, all->n);
    tell(&fine, all->n);
}

/* --- a dictionary ----------------------------------------------------------------------------- */

static void dictionary(const struct pages *all, const uint16_t *len)
{
    const size_t n_train = all->n / TRAIN_PART;
    uint8_t *samples = malloc(n_train * PAGE + 1), *dict = malloc(DICTIONARY);
    size_t *sizes = calloc(n_train + 1, sizeof(*sizes)), got;
    struct sum s = { .name = "dictionary" };

    if (samples == NULL || dict == NULL || sizes == NULL)
        die("memory");
    for (size_t i = 0; i < n_train; i++) {
        memcpy(samples + i * PAGE, all->at[i * TRAIN_PART], PAGE);
        sizes[i] = PAGE;
    }
    got = ZDICT_trainFromBuffer(dict, DICTIONARY, samples, sizes, (unsigned)n_train);
    if (ZDICT_isError(got)) {
        (void)printf("dictionary: %s\n", ZDICT_getErrorName(got));
        goto out;
    }
    if (ZSTD_isError(ZSTD_CCtx_loadDictionary(encoder, dict, got)) ||
        ZSTD_isError(ZSTD_DCtx_loadDictionary(decoder, dict, got)))
        die("a dictionary");
    for (size_t i = 0; i < all->n; i++) {
        const double begin = cpu_us();
        size_t n = zstd(all->at[i], 1);

        s.encode_us += cpu_us() - begin;
        unpack(n, 1, &s);
        n -= n < PAGE ? MAGIC : 0;
        s.n_other += n < len[i];
        s.bytes += slot_bytes(MIN(n, (size_t)len[i]), SLOT) + OBJECT;
    }
    s.bytes += (double)got;
    tell(&s, all->n);
    (void)ZSTD_CCtx_loadDictionary(encoder, NULL, 0);
    (void)ZSTD_DCtx_loadDictionary(decoder, NULL, 0);
out:
    free(sizes);
    free(dict);
    free(samples);
}

/* --- neighbours in one frame ------------------------------------------------------------------ */

/* A group's objects take the place of one frame together; each has an object of its own. Decoding
 * is counted for each page, which means all of its frame. */
static void groups(const struct pages *all, const uint16_t *len, size_t of)
{
    static uint8_t pages[8 * PAGE];
    char name[32];
    struct sum s = { .name = name };

    (void)snprintf(name, sizeof(name), "groups of %zu", of);
    for (size_t i = 0; i < all->n; i += of) {
        const size_t n = MIN(of, all->n - i);
        double apart = 0, together, begin;
        size_t got;

        for (size_t k = 0; k < n; k++) {
            memcpy(pages + k * PAGE, all->at[i + k], PAGE);
            apart += slot_bytes(len[i + k], SLOT);
        }
        begin = cpu_us();
        got = zstd(pages, n);
        s.encode_us += cpu_us() - begin;
        begin = s.decode_us;
        unpack(got, n, &s);
        s.decode_us += (s.decode_us - begin) * (double)(n - 1);
        together = slot_bytes(got - MAGIC, SLOT);
        s.n_other += together < apart ? n : 0;
        s.bytes += MIN(together, apart) + (double)(n * OBJECT);
    }
    tell(&s, all->n);
}

/* --- deltas ----------------------------------------------------------------------------------- */

/* The least hashes of all runs of 32 bytes that begin at a word, each by another hash: two pages
 * have one in common about as often as they have runs in common. */
static void sample(const uint8_t *page, uint64_t feature[static FEATURES])
{
    static const uint64_t by[FEATURES] = {
        0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0xd6e8feb86659fd93,
        0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53, 0x2545f4914f6cdd1d, 0xbf58476d1ce4e5b9,
    };
    const uint64_t *w = (const void *)page;

    memset(feature, 0xff, FEATURES * sizeof(*feature));
    for (size_t i = 0; i + 4 <= PAGE / 8; i++) {
        uint64_t h = w[i] * by[0] ^ (w[i + 1] * by[1] << 1 | w[i + 1] * by[1] >> 63) ^
                     w[i + 2] * by[2] >> 3 ^ w[i + 3] * by[3];

        if ((w[i] | w[i + 1] | w[i + 2] | w[i + 3]) == 0)
            continue;
        h ^= h >> 29;
        for (size_t k = 0; k < FEATURES; k++)
            feature[k] = MIN(feature[k], h * by[k] ^ h >> (17 + k));
    }
}

struct found {
    uint64_t feature;
    uint32_t page;
};

/* Who had that feature first, of pages that are whole; @page takes an empty place. */
static uint32_t *place_of(struct found *table, size_t n, uint64_t feature)
{
    size_t i = feature % n;

    while (table[i].page != NONE && table[i].feature != feature)
        i = (i + 1) % n;
    table[i].feature = feature;
    return &table[i].page;
}

/* The one that most features lead to. */
static uint32_t alike(uint32_t *const place[static FEATURES])
{
    uint32_t best = NONE;
    unsigned most = 0;

    for (size_t i = 0; i < FEATURES; i++) {
        unsigned n = 0;

        for (size_t k = 0; k < FEATURES && *place[i] != NONE; k++)
            n += *place[k] == *place[i];
        if (n > most) {
            most = n;
            best = *place[i];
        }
    }
    return best;
}

static void deltas(const struct pages *all, const uint16_t *len)
{
    const size_t n_table = all->n * FEATURES * 2 + 1;
    struct found *table = malloc(n_table * sizeof(*table));
    struct sum s = { .name = "deltas" };
    double search_us = 0, delta_us = 0;
    size_t tried = 0;

    if (table == NULL)
        die("memory");
    memset(table, 0xff, n_table * sizeof(*table));
    for (size_t i = 0; i < all->n; i++) {
        uint64_t feature[FEATURES];
        uint32_t *place[FEATURES], other;
        double begin = cpu_us(), before;
        size_t n = PAGE;

        sample(all->at[i], feature);
        for (size_t k = 0; k < FEATURES; k++)
            place[k] = place_of(table, n_table, feature[k]);
        other = alike(place);
        search_us += cpu_us() - begin;
        if (other != NONE) {
            tried++;
            begin = cpu_us();
            (void)ZSTD_CCtx_refPrefix(encoder, all->at[other], PAGE);
            n = zstd(all->at[i], 1);
            s.encode_us += cpu_us() - begin;
            before = s.decode_us;
            (void)ZSTD_DCtx_refPrefix(decoder, all->at[other], PAGE);
            unpack(n, 1, &s);
            delta_us += s.decode_us - before;
            n -= n < PAGE ? MAGIC : 0;
        }
        if (n < len[i] * 3u / 4) {
            s.n_other++;
            s.bytes += slot_bytes(n + sizeof(other), SLOT) + OBJECT;
            continue;
        }
        s.bytes += slot_bytes(len[i], SLOT) + OBJECT;
        for (size_t k = 0; k < FEATURES; k++)
            if (*place[k] == NONE)
                *place[k] = (uint32_t)i;
    }
    s.encode_us += search_us;
    tell(&s, all->n);
    (void)printf("deltas: %.1f %% of pages are like another, %.2f us to look for it, %.2f us to "
                 "decode one, the other not counted\n", 100.0 * (double)tried / (double)all->n,
                 search_us / (double)all->n, delta_us / (double)MAX(tried, (size_t)1));
    free(table);
}

int main(int argc, char **argv)
{
    struct pages all = { 0 };
    size_t used;
    uint16_t *len;

    encoder = ZSTD_createCCtx();
    decoder = ZSTD_createDCtx();
    for (int i = 1; i < argc; i++)
        add_file(argv[i], &all);
    if (all.n == 0 || encoder == NULL || decoder == NULL) {
        (void)fprintf(stderr, "usage: deltas FILE...\n");
        return 2;
    }
    (void)ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(encoder, ZSTD_c_contentSizeFlag, 0);
    used = all.n;
    keep_different(&all);
    (void)printf("%zu pages in use, %zu contents\n", used, all.n);
    len = calloc(all.n, sizeof(*len));
    if (len == NULL)
        die("memory");
    alone(&all, len);
    dictionary(&all, len);
    for (size_t of = 2; of <= 8; of *= 2)
        groups(&all, len, of);
    deltas(&all, len);
    return 0;
}
