/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See swap.h. The count of pieces in a block says whether it is free; only the thread that writes
 * makes a free one anything else, so finding some needs no lock.
 */
#include "memory/store/swap.h"

#include <errno.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/macros.h"

enum {
    KEY_BYTES = crypto_aead_chacha20poly1305_ietf_KEYBYTES,
    FIRST_BLOCK = 1, /* behind the header */
    AHEAD = 16,      /* blocks that are read together by who goes on near where it ended */
    OPEN = 3,        /* blocks behind the one being filled that get what fits: near stays near */
    PIECES_IN_BLOCK = 255,
};

_Static_assert(SWAP_SEAL == crypto_aead_chacha20poly1305_ietf_ABYTES,
               "a seal is what the AEAD makes");

struct swap {
    const struct swap_file *file;
    uint8_t *key;              /* in a mapping of its own that is not dumped */
    _Atomic uint8_t *pieces;   /* in each block */
    _Atomic uint32_t *written; /* how often each block was */
    _Atomic uint64_t used_blocks, written_bytes, read_bytes;
    _Atomic int trouble;
    uint32_t hand; /* of who writes */
};

struct piece {
    uint32_t owner;
    struct swap_place place;
};

struct swap_port {
    struct swap *swap;
    struct swap_ring *ring;
    /* writing: blocks from @first on */
    uint32_t first;
    size_t n_blocks, n_pieces, open;
    uint16_t filled[SWAP_BATCH], count[SWAP_BATCH];
    struct piece pieces[SWAP_PIECES];
    /* reading: what the buffer has, and how often that had been written */
    uint32_t has_first, has_written[SWAP_BATCH];
    size_t n_has;
    _Atomic bool reading; /* waits for the disk */
};

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Locked into memory as far as that is allowed: a host that swaps may write it down otherwise. */
static uint8_t *make_key(void)
{
    uint8_t *key = reserve(SWAP_BLOCK);

    if (key == NULL)
        return NULL;
    (void)madvise(key, SWAP_BLOCK, MADV_DONTDUMP);
    (void)madvise(key, SWAP_BLOCK, MADV_DONTFORK);
    (void)mlock(key, SWAP_BLOCK);
    randombytes_buf(key, KEY_BYTES);
    return key;
}

int swap_new(const struct swap_file *file, struct swap **ret_swap, struct errctx *ec)
{
    struct swap *s;

    if (sodium_init() < 0)
        return errctx_set(ec, ENOSYS, "libsodium cannot be used here");
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a swap file's tables");
    s->file = file;
    s->hand = FIRST_BLOCK;
    s->key = make_key();
    s->pieces = reserve(file->n_blocks);
    s->written = reserve((size_t)file->n_blocks * sizeof(uint32_t));
    if (s->key == NULL || s->pieces == NULL || s->written == NULL) {
        swap_free(s);
        return errctx_set(ec, ENOMEM, "no memory for a swap file's tables");
    }
    *ret_swap = s;
    return 0;
}

void swap_free(struct swap *swap)
{
    if (swap == NULL)
        return;
    if (swap->key != NULL) {
        sodium_memzero(swap->key, KEY_BYTES);
        (void)munmap(swap->key, SWAP_BLOCK);
    }
    if (swap->pieces != NULL)
        (void)munmap((void *)(uintptr_t)swap->pieces, swap->file->n_blocks);
    if (swap->written != NULL)
        (void)munmap((void *)(uintptr_t)swap->written,
                     (size_t)swap->file->n_blocks * sizeof(uint32_t));
    free(swap);
}

int swap_port_new(struct swap *swap, struct swap_port **ret_port, struct errctx *ec)
{
    struct swap_port *p = calloc(1, sizeof(*p));
    int r;

    if (p == NULL)
        return errctx_set(ec, ENOMEM, "no memory for reading and writing a swap file");
    p->swap = swap;
    r = swap_ring_new(swap->file->fd, &p->ring, ec);
    if (r < 0) {
        free(p);
        return r;
    }
    *ret_port = p;
    return 0;
}

void swap_port_free(struct swap_port *port)
{
    if (port == NULL)
        return;
    swap_ring_free(port->ring);
    free(port);
}

/* Block @i of what the buffer has. */
static uint8_t *buffer_at(const struct swap_port *port, size_t i)
{
    return swap_ring_buffer(port->ring) + i * SWAP_BLOCK;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Nonces must not repeat: a block that was written so often that they would is never used again. */
static bool is_free(const struct swap *s, uint32_t block)
{
    return atomic_load_explicit(&s->pieces[block], memory_order_acquire) == 0 &&
           atomic_load_explicit(&s->written[block], memory_order_relaxed) < UINT32_MAX;
}

bool swap_begin(struct swap_port *port)
{
    struct swap *s = port->swap;
    uint32_t looked = 0;

    port->n_blocks = port->n_pieces = port->open = port->n_has = 0;
    if (atomic_load(&s->trouble) != 0 && atomic_load(&s->trouble) != ENOSPC)
        return false;
    if (atomic_load(&s->used_blocks) >= s->file->n_blocks - FIRST_BLOCK)
        return false;
    for (; looked < s->file->n_blocks && port->n_blocks == 0; looked++) {
        if (s->hand >= s->file->n_blocks)
            s->hand = FIRST_BLOCK;
        port->first = s->hand++;
        port->n_blocks = is_free(s, port->first);
    }
    while (port->n_blocks > 0 && port->n_blocks < SWAP_BATCH && s->hand < s->file->n_blocks &&
           is_free(s, s->hand)) {
        s->hand++;
        port->n_blocks++;
    }
    memset(port->filled, 0, sizeof(port->filled));
    memset(port->count, 0, sizeof(port->count));
    return port->n_blocks > 0;
}

bool swap_add(struct swap_port *port, uint32_t owner, uint8_t kind, const void *bytes, size_t len)
{
    for (size_t i = port->open; port->n_pieces < SWAP_PIECES && i < port->n_blocks; i++) {
        if (port->filled[i] + len > SWAP_BLOCK || port->count[i] == PIECES_IN_BLOCK)
            continue;
        memcpy(buffer_at(port, i) + port->filled[i], bytes, len);
        port->pieces[port->n_pieces++] = (struct piece){
            .owner = owner,
            .place = { .block = port->first + (uint32_t)i, .at = port->filled[i],
                       .len = (uint16_t)len, .kind = kind },
        };
        port->filled[i] = (uint16_t)(port->filled[i] + len);
        port->count[i]++;
        port->open = MAX(port->open, i > OPEN ? i - OPEN : 0);
        return true;
    }
    return false;
}

static void make_nonce(const struct swap *s, const struct swap_place *p,
                       uint8_t nonce[static crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    const uint32_t words[3] = { atomic_load_explicit(&s->written[p->block], memory_order_relaxed),
                                p->block, p->at };

    _Static_assert(sizeof(words) == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "all of a nonce");
    memcpy(nonce, words, sizeof(words));
}

void swap_seal(const struct swap *swap, struct swap_place *place, uint8_t block[SWAP_BLOCK])
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    uint8_t *bytes = block + place->at;

    make_nonce(swap, place, nonce);
    (void)crypto_aead_chacha20poly1305_ietf_encrypt_detached(
        bytes, place->seal, NULL, bytes, place->len, &place->kind, sizeof(place->kind), NULL, nonce,
        swap->key);
}

int swap_unseal(const struct swap *swap, const struct swap_place *place,
                const uint8_t block[SWAP_BLOCK], void *bytes)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

    make_nonce(swap, place, nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt_detached(
               bytes, NULL, block + place->at, place->len, place->seal, &place->kind,
               sizeof(place->kind), nonce, swap->key) == 0
               ? 0
               : -EBADMSG;
}

/* Blocks that nothing was put into are not written, and stay as they were. */
static size_t blocks_to_write(const struct swap_port *port)
{
    size_t n = port->n_blocks;

    while (n > 0 && port->count[n - 1] == 0)
        n--;
    return n;
}

int swap_write(struct swap_port *port)
{
    struct swap *s = port->swap;
    const size_t n = blocks_to_write(port);
    int r;

    s->hand = port->first + (uint32_t)n;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        atomic_fetch_add(&s->written[port->first + i], 1);
        memset(buffer_at(port, i) + port->filled[i], 0, SWAP_BLOCK - port->filled[i]);
    }
    for (size_t i = 0; i < port->n_pieces; i++) {
        struct swap_place *place = &port->pieces[i].place;

        swap_seal(s, place, buffer_at(port, place->block - port->first));
    }
    r = swap_ring_write(port->ring, port->first, n);
    atomic_store(&s->trouble, -r);
    if (r == 0)
        atomic_fetch_add(&s->written_bytes, n * SWAP_BLOCK);
    else if (r == -ENOSPC)
        s->hand = FIRST_BLOCK; /* to blocks that the disk has, and that became free */
    return r;
}

const struct swap_place *swap_piece(const struct swap_port *port, size_t i, uint32_t *ret_owner)
{
    if (i >= port->n_pieces)
        return NULL;
    *ret_owner = port->pieces[i].owner;
    return &port->pieces[i].place;
}

void swap_keep(struct swap *swap, uint32_t block)
{
    if (atomic_fetch_add(&swap->pieces[block], 1) == 0)
        atomic_fetch_add(&swap->used_blocks, 1);
}

void swap_drop(struct swap *swap, uint32_t block)
{
    if (atomic_fetch_sub(&swap->pieces[block], 1) == 1)
        atomic_fetch_sub(&swap->used_blocks, 1);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* What was read before may be used as long as the block was not written again. */
static bool has(const struct swap_port *port, uint32_t block)
{
    return block >= port->has_first && block - port->has_first < port->n_has &&
           port->has_written[block - port->has_first] ==
               atomic_load_explicit(&port->swap->written[block], memory_order_acquire);
}

/*
 * @n blocks. Those behind the first may be in the midst of being written: only what was there
 * before, as often written as it is when somebody asks for it, is what was read. So the order
 * matters: how often first, then whether it is kept.
 */
static int read_blocks(struct swap_port *port, uint32_t block, size_t n)
{
    const struct swap *s = port->swap;
    int r;

    port->has_first = block;
    port->n_has = 0;
    for (size_t i = 0; i < n; i++) {
        port->has_written[i] = atomic_load_explicit(&s->written[block + i], memory_order_acquire);
        if (atomic_load_explicit(&s->pieces[block + i], memory_order_acquire) == 0) {
            n = MAX(i, (size_t)1);
            break;
        }
    }
    atomic_store(&port->reading, true);
    r = swap_ring_read(port->ring, block, n);
    if ((r == -EIO || r == -ENODATA) && n > 1) { /* may be one of those that nobody asked for */
        n = 1;
        r = swap_ring_read(port->ring, block, n);
    }
    atomic_store(&port->reading, false);
    if (r < 0)
        return r;
    port->n_has = n;
    atomic_fetch_add(&port->swap->read_bytes, n * SWAP_BLOCK);
    return 0;
}

int swap_get(struct swap_port *port, const struct swap_place *place, void *bytes)
{
    const struct swap *s = port->swap;
    const bool goes_on = port->n_has > 0 && place->block - port->has_first < port->n_has + OPEN;
    int r = 0;

    if (!has(port, place->block))
        r = read_blocks(port, place->block,
                        goes_on ? MIN((size_t)AHEAD, s->file->n_blocks - place->block) : 1);
    if (r < 0)
        return r == -EIO ? -EREMOTEIO : r;
    return swap_unseal(s, place, buffer_at(port, place->block - port->has_first), bytes);
}

bool swap_is_reading(const struct swap_port *port)
{
    return atomic_load(&port->reading);
}

/* How often blocks were written stays: the key does, too. */
void swap_clear(struct swap *swap)
{
    for (uint32_t i = 0; i < swap->file->n_blocks && atomic_load(&swap->used_blocks) > 0; i++)
        if (atomic_load(&swap->pieces[i]) > 0) {
            atomic_store(&swap->pieces[i], 0);
            atomic_fetch_sub(&swap->used_blocks, 1);
        }
}

void swap_count(struct swap *swap, struct swap_counts *ret_counts)
{
    *ret_counts = (struct swap_counts){
        .all_bytes = (uint64_t)(swap->file->n_blocks - FIRST_BLOCK) * SWAP_BLOCK,
        .used_bytes = atomic_load(&swap->used_blocks) * SWAP_BLOCK,
        .written_bytes = atomic_load(&swap->written_bytes),
        .read_bytes = atomic_load(&swap->read_bytes),
        .trouble = atomic_load(&swap->trouble),
    };
}
