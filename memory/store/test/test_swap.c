/* SPDX-License-Identifier: Apache-2.0 */
/* Stores with a swap against a model that keeps every page as it is, on a disk that is memory. */
// LDFLAGS: -Wl,--wrap=swap_ring_new,--wrap=swap_ring_free,--wrap=swap_ring_buffer
// LDFLAGS: -Wl,--wrap=swap_ring_read,--wrap=swap_ring_write
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

#include "memory/store/store.h"
#include "memory/store/test/fake_disk.h"
#include "vmm/base/macros.h"

enum { STEPS = 40000, KEPT = 3000, CONTENTS = 900, BLOCKS = 2000, LONG = 12, LONG_OLD = 5 };

static const struct idset anywhere;

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

/* Page number @which of an endless choice: zeroes, what shrinks more or less, noise. */
static void make_page(uint32_t which, uint8_t *page)
{
    uint64_t seed = which * 0x9e3779b97f4a7c15ull + 1;

    memset(page, (int)(which % 251), CODEC_PAGE);
    if (which == 0)
        return;
    for (uint32_t i = 0; i < MIN(which % 9 * 512, (uint32_t)CODEC_PAGE); i++)
        page[i] = (uint8_t)next_random(&seed);
    memcpy(page + CODEC_PAGE - sizeof(which), &which, sizeof(which));
}

struct world {
    struct swap_file file;
    struct swap *swap;
    struct swap_port *writer, *reader;
    struct store *store;
    struct store_desk *desk;
    struct store_press *press;
    uint32_t object[KEPT], content[KEPT];
    size_t n;
};

static void world_init(struct world *w, uint64_t limit_bytes, uint32_t n_blocks)
{
    memset(w, 0, sizeof(*w));
    w->file = fake_disk_init(n_blocks);
    w->desk = malloc(sizeof(*w->desk));
    w->press = malloc(sizeof(*w->press));
    assert_non_null(w->desk);
    assert_non_null(w->press);
    assert_int_equal(codec_packer_init(&w->press->packer), 0);
    assert_int_equal(swap_new(&w->file, &w->swap, NULL), 0);
    assert_int_equal(swap_port_new(w->swap, &w->writer, NULL), 0);
    assert_int_equal(swap_port_new(w->swap, &w->reader, NULL), 0);
    assert_int_equal(store_new(limit_bytes, KEPT, &anywhere, &w->store, NULL), 0);
    store_set_swap(w->store, w->swap);
}

static void world_fini(struct world *w)
{
    store_free(w->store);
    swap_port_free(w->reader);
    swap_port_free(w->writer);
    swap_free(w->swap);
    codec_packer_fini(&w->press->packer);
    free(w->press);
    free(w->desk);
    fake_disk_fini();
}

static struct store_counts counts(struct world *w)
{
    struct store_counts c;

    store_count(w->store, &c);
    return c;
}

static uint64_t used_bytes(struct world *w)
{
    struct swap_counts c;

    swap_count(w->swap, &c);
    return c.used_bytes;
}

static int put(struct world *w, uint32_t content)
{
    uint8_t page[CODEC_PAGE];
    int r;

    make_page(content, page);
    r = store_put(w->store, w->desk, page, &w->object[w->n]);
    w->content[w->n] = content;
    w->n += r == 0;
    return r;
}

static int get(struct world *w, size_t i)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];
    int r = store_get(w->store, w->reader, w->object[i], got);

    make_page(w->content[i], want);
    if (r == 0)
        assert_memory_equal(got, want, CODEC_PAGE);
    return r;
}

static void end_with(struct world *w, size_t i, void (*end)(struct store *store, uint32_t object))
{
    end(w->store, w->object[i]);
    w->object[i] = w->object[--w->n];
    w->content[i] = w->content[w->n];
}

static void get_all(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        assert_int_equal(get(w, i), 0);
}

static void drop_all(struct world *w)
{
    while (w->n > 0)
        end_with(w, w->n - 1, store_drop);
}

static void fill(struct world *w, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        assert_int_equal(put(w, i), 0);
}

static uint64_t swap_all(struct world *w)
{
    uint64_t bytes = 0;
    int n;

    while ((n = store_swap_out(w->store, w->writer, false)) > 0)
        bytes += (uint64_t)n;
    assert_int_equal(n, 0);
    return bytes;
}

static void random_step(struct world *w, uint64_t *seed, bool growing)
{
    const uint32_t dice = next_random(seed) % 100, puts = growing ? 60 : 25;
    uint32_t i = w->n > 0 ? next_random(seed) % (uint32_t)w->n : 0;

    if (dice < puts && w->n < KEPT)
        assert_int_equal(put(w, next_random(seed) % CONTENTS), 0);
    else if (dice < 80 && w->n > 0)
        end_with(w, i, dice % 2 == 0 ? store_drop : store_leave);
    else if (dice < 92 && w->n > 0)
        assert_int_equal(get(w, i), 0);
    else if (dice < 94)
        assert_true(store_swap_out(w->store, w->writer, dice == 92) >= 0);
    else if (dice < 96)
        store_trim(w->store);
    else if (dice == 96)
        store_age(w->store);
    else
        (void)store_pack(w->store, w->press);
}

/* Whatever goes to the file and when, what comes back is what went. */
static void it_keeps_what_a_model_keeps(void **state)
{
    struct world *w = malloc(sizeof(*w));
    uint64_t seed = 7, most = 0;

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    for (int step = 0; step < STEPS; step++) {
        random_step(w, &seed, step / 4000 % 2 == 0);
        most = MAX(most, counts(w).swapped_objects);
        if (step % 4000 == 3999)
            get_all(w);
    }
    assert_true(most > 300);
    get_all(w);
    drop_all(w);
    while (store_make_room(w->store))
        ;
    assert_int_equal(counts(w).swapped_objects, 0);
    assert_int_equal(counts(w).swapped_bytes, 0);
    assert_int_equal(counts(w).pages, 0);
    assert_int_equal(used_bytes(w), 0);
    world_fini(w);
    free(w);
}

static void what_went_leaves_memory_and_needs_little_of_the_file(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct store_counts before;
    uint64_t reads;

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    fill(w, 1, 800);
    before = counts(w);
    assert_int_equal(swap_all(w), before.used_bytes);
    assert_int_equal(counts(w).used_bytes, 0);
    assert_int_equal(counts(w).objects, 0);
    assert_int_equal(counts(w).swapped_objects, 800);
    assert_int_equal(counts(w).pages, 800);
    assert_true(used_bytes(w) < before.used_bytes * 3 / 2);
    reads = atomic_load(&disk.reads);
    get_all(w);
    /* A page that is there already, in the file, is kept anew: nothing is read to compare. */
    reads = atomic_load(&disk.reads);
    fill(w, 1, 1);
    assert_int_equal(atomic_load(&disk.reads), reads);
    assert_int_equal(counts(w).objects, 1);
    drop_all(w);
    assert_int_equal(used_bytes(w), 0);
    world_fini(w);
    free(w);
}

/* Every piece is sealed by itself, and nothing of a block that was changed comes out. */
static void a_changed_block_is_found_out(void **state)
{
    struct world *w = malloc(sizeof(*w));
    size_t n_wrong = 0;

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(put(w, i * 9 + 8), 0); /* noise: a block each, no byte of it spare */
    (void)swap_all(w);
    fake_disk_damage();
    for (size_t i = 0; i < w->n; i++) {
        const int r = get(w, i);

        assert_true(r == -EBADMSG);
        n_wrong++;
    }
    assert_int_equal(n_wrong, 300);
    world_fini(w);
    free(w);
}

/* An older block of the same place was sealed with the same key, and is still not the right one. */
static void an_old_block_is_found_out(void **state)
{
    struct world *w = malloc(sizeof(*w));
    uint8_t *old = malloc((size_t)BLOCKS * SWAP_BLOCK);

    (void)state;
    assert_non_null(w);
    assert_non_null(old);
    world_init(w, 64 * MIB, 33); /* each write goes to the same blocks */
    fill(w, 8, 1);
    (void)swap_all(w);
    memcpy(old, disk.bytes, 33 * SWAP_BLOCK);
    drop_all(w);
    fill(w, 8, 1);
    while (memcmp(disk.bytes + SWAP_BLOCK, old + SWAP_BLOCK, SWAP_BLOCK) == 0) {
        (void)swap_all(w); /* until block 1 has its turn again */
        assert_int_equal(get(w, 0), 0);
        if (memcmp(disk.bytes + SWAP_BLOCK, old + SWAP_BLOCK, SWAP_BLOCK) != 0)
            break;
        drop_all(w);
        fill(w, 8, 1);
    }
    memcpy(disk.bytes, old, 33 * SWAP_BLOCK);
    swap_port_free(w->reader); /* which has it still */
    assert_int_equal(swap_port_new(w->swap, &w->reader, NULL), 0);
    assert_int_equal(get(w, 0), -EBADMSG);
    free(old);
    world_fini(w);
    free(w);
}

/* What was read along is not taken for what the block has now. */
static void what_was_read_ahead_grows_old(void **state)
{
    struct world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, 33); /* each write goes to the same blocks */
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 32; i++)
            assert_int_equal(put(w, (100 * round + i) * 9 + 8), 0);
        (void)swap_all(w);
        assert_int_equal(counts(w).swapped_objects, 32);
        for (size_t i = 0; i < 4; i++) /* the reader has the rest, too, from now on */
            assert_int_equal(get(w, i), 0);
        if (round % 2 == 1)
            get_all(w);
        drop_all(w);
    }
    world_fini(w);
    free(w);
}

/* Of a world whose file has free blocks between kept ones: write them, again and again. */
static void *write_between(void *arg)
{
    struct world *w = arg;
    uint8_t page[CODEC_PAGE];

    for (uint32_t round = 0; round < 150; round++) {
        uint32_t object[8];

        for (uint32_t i = 0; i < ARRAY_SIZE(object); i++) {
            make_page((1000 + round * (uint32_t)ARRAY_SIZE(object) + i) * 9 + 8, page);
            if (store_put(w->store, w->desk, page, &object[i]) < 0)
                return w;
        }
        while (store_swap_out(w->store, w->writer, false) > 0)
            ;
        for (size_t i = 0; i < ARRAY_SIZE(object); i++)
            store_drop(w->store, object[i]);
    }
    return NULL;
}

/* Who reads on gets blocks along that are being written: what was there before is not taken for what
 * is, and what stays is read as it was. */
static void reading_ahead_and_writing_do_not_meet(void **state)
{
    struct world *w = malloc(sizeof(*w));
    pthread_t writer;
    void *failed;

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, 101);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(put(w, i * 9 + 8), 0); /* noise: a block each */
    (void)swap_all(w);
    for (size_t i = 98; i >= 20; i -= 2) /* what takes its place is behind it */
        end_with(w, i, store_drop);
    assert_int_equal(pthread_create(&writer, NULL, write_between, w), 0);
    for (int round = 0; round < 80; round++)
        get_all(w);
    assert_int_equal(pthread_join(writer, &failed), 0);
    assert_null(failed);
    get_all(w);
    drop_all(w);
    assert_int_equal(used_bytes(w), 0);
    world_fini(w);
    free(w);
}

static void a_full_disk_leaves_what_it_cannot_take(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct swap_counts c;

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    fill(w, 1, 500);
    atomic_store(&disk.has_room_for, 40);
    assert_true(store_swap_out(w->store, w->writer, false) > 0);
    assert_int_equal(store_swap_out(w->store, w->writer, false), -ENOSPC);
    swap_count(w->swap, &c);
    assert_int_equal(c.trouble, ENOSPC);
    assert_true(counts(w).swapped_objects > 0 && counts(w).objects > 0);
    get_all(w);
    /* There is room again. */
    atomic_store(&disk.has_room_for, BLOCKS);
    (void)swap_all(w);
    swap_count(w->swap, &c);
    assert_int_equal(c.trouble, 0);
    get_all(w);
    world_fini(w);
    free(w);
}

static void a_full_file_takes_no_more_until_something_goes(void **state)
{
    struct world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, 41);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(put(w, i * 9 + 8), 0); /* noise: a block each */
    (void)swap_all(w);
    assert_int_equal(counts(w).swapped_objects, 40);
    assert_int_equal(used_bytes(w), 40 * SWAP_BLOCK);
    get_all(w);
    for (size_t i = 0; i < 10; i++)
        end_with(w, i, store_drop);
    assert_true(counts(w).swapped_objects < 40);
    (void)swap_all(w);
    assert_int_equal(counts(w).swapped_objects, 40);
    get_all(w);
    world_fini(w);
    free(w);
}

static void a_disk_that_cannot_write_is_not_asked_again(void **state)
{
    static const int errors[] = { EIO, ETIMEDOUT };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct world *w = malloc(sizeof(*w));
        struct swap_counts c;

        assert_non_null(w);
        world_init(w, 64 * MIB, BLOCKS);
        fill(w, 1, 300);
        assert_true(store_swap_out(w->store, w->writer, false) > 0);
        atomic_store(&disk.write_error, errors[i]);
        assert_int_equal(store_swap_out(w->store, w->writer, false), -errors[i]);
        atomic_store(&disk.write_error, 0);
        assert_int_equal(store_swap_out(w->store, w->writer, false), 0);
        assert_int_equal(atomic_load(&disk.writes), 2);
        swap_count(w->swap, &c);
        assert_int_equal(c.trouble, errors[i]);
        get_all(w);
        drop_all(w);
        world_fini(w);
        free(w);
    }
}

static void a_disk_that_cannot_read_says_so(void **state)
{
    static const int errors[][2] = {
        { EIO, -EREMOTEIO }, { ETIMEDOUT, -ETIMEDOUT }, { ENODATA, -ENODATA }
    };
    struct world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    fill(w, 1, 300);
    (void)swap_all(w);
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        atomic_store(&disk.read_error, errors[i][0]);
        assert_int_equal(get(w, 7 * i), errors[i][1]);
    }
    atomic_store(&disk.read_error, 0);
    get_all(w); /* nothing that was not read is taken for it */
    world_fini(w);
    free(w);
}

static void what_is_young_stays_until_there_is_no_room(void **state)
{
    struct world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    fill(w, 1, 60);
    for (int i = 0; i < LONG * LONG_OLD - 1; i++) {
        store_age(w->store);
        assert_int_equal(store_swap_out(w->store, w->writer, true), 0);
    }
    fill(w, 61, 20);
    store_age(w->store);
    assert_true(store_swap_out(w->store, w->writer, true) > 0);
    while (store_swap_out(w->store, w->writer, true) > 0)
        ;
    assert_int_equal(counts(w).swapped_objects, 60);
    assert_int_equal(counts(w).objects, 20);
    (void)swap_all(w);
    assert_int_equal(counts(w).swapped_objects, 80);
    get_all(w);
    world_fini(w);
    free(w);
}

static void a_reset_forgets_all_of_it(void **state)
{
    struct world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    world_init(w, 64 * MIB, BLOCKS);
    for (int i = 0; i < 3; i++) {
        fill(w, 1, 300);
        (void)swap_all(w);
        get_all(w);
        store_clear(w->store);
        swap_clear(w->swap);
        w->n = 0;
        assert_int_equal(used_bytes(w), 0);
        assert_int_equal(counts(w).swapped_objects, 0);
    }
    world_fini(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_what_a_model_keeps),
        cmocka_unit_test(what_went_leaves_memory_and_needs_little_of_the_file),
        cmocka_unit_test(a_changed_block_is_found_out),
        cmocka_unit_test(an_old_block_is_found_out),
        cmocka_unit_test(what_was_read_ahead_grows_old),
        cmocka_unit_test(reading_ahead_and_writing_do_not_meet),
        cmocka_unit_test(a_full_disk_leaves_what_it_cannot_take),
        cmocka_unit_test(a_full_file_takes_no_more_until_something_goes),
        cmocka_unit_test(a_disk_that_cannot_write_is_not_asked_again),
        cmocka_unit_test(a_disk_that_cannot_read_says_so),
        cmocka_unit_test(what_is_young_stays_until_there_is_no_room),
        cmocka_unit_test(a_reset_forgets_all_of_it),
    };
    return cmocka_run_group_tests_name("memory/store/swap", tests, NULL, NULL);
}
