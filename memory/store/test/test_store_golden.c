/* SPDX-License-Identifier: Apache-2.0 */
/* A store with a golden file against a model that keeps every page as it is. */
#include "memory/store/test/golden_file.h"

#include <errno.h>

#include "memory/store/store.h"

enum { STEPS = 30000, KEPT = 2000, CONTENTS = 900, GOLDEN = 400 }; /* contents below it are there */

static const struct idset anywhere;

struct world {
    struct golden_files files;
    struct golden *golden;
    struct store *store;
    struct store_desk desk;
    struct store_press press;
    uint32_t object[KEPT], content[KEPT];
    size_t n;
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    golden_files_init(&w->files);
    w->golden = golden_of(&w->files, 0, GOLDEN);
    assert_int_equal(codec_packer_init(&w->press.packer), 0);
    assert_int_equal(store_new(64 * MIB, KEPT, &anywhere, &w->store, NULL), 0);
    store_set_golden(w->store, w->golden);
    return w;
}

static void world_free(struct world *w)
{
    store_free(w->store);
    golden_close(w->golden);
    codec_packer_fini(&w->press.packer);
    golden_files_fini(&w->files);
    free(w);
}

static struct store_counts counts(const struct world *w)
{
    struct store_counts c;

    store_count(w->store, &c);
    return c;
}

static void put(struct world *w, uint32_t content)
{
    uint8_t page[CODEC_PAGE];

    golden_page(content, page);
    assert_int_equal(store_put(w->store, &w->desk, page, &w->object[w->n]), 0);
    w->content[w->n++] = content;
}

static int get(struct world *w, size_t i)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];
    int r = store_get(w->store, NULL, w->object[i], got);

    golden_page(w->content[i], want);
    if (r == 0)
        assert_memory_equal(got, want, CODEC_PAGE);
    return r;
}

static void end(struct world *w, size_t i, bool leaves)
{
    (leaves ? store_leave : store_drop)(w->store, w->object[i]);
    w->object[i] = w->object[--w->n];
    w->content[i] = w->content[w->n];
}

/* What the counters must say, from what the model has. */
static void must_count(const struct world *w)
{
    unsigned refs[CONTENTS] = { 0 };
    uint64_t pages = 0, objects = 0, golden_pages = 0, golden_objects = 0;
    const struct store_counts c = counts(w);

    for (size_t i = 0; i < w->n; i++)
        refs[w->content[i]]++;
    for (uint32_t i = 1; i < CONTENTS; i++) {
        pages += refs[i];
        golden_pages += i < GOLDEN ? refs[i] : 0;
        golden_objects += i < GOLDEN && refs[i] > 0;
        objects += i >= GOLDEN && refs[i] > 0;
    }
    assert_int_equal(c.pages, pages);
    assert_int_equal(c.objects, objects);
    assert_int_equal(c.golden_pages, golden_pages);
    assert_int_equal(c.golden_objects, golden_objects);
}

static void random_step(struct world *w, uint64_t *seed, bool growing)
{
    uint32_t dice, which;

    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    dice = (uint32_t)(*seed >> 33) % 100;
    which = (uint32_t)(*seed >> 13);
    if (dice < (growing ? 60u : 25u) && w->n < KEPT)
        put(w, which % CONTENTS);
    else if (dice < 80 && w->n > 0)
        end(w, which % w->n, dice % 2 == 0);
    else if (dice < 92 && w->n > 0)
        assert_int_equal(get(w, which % w->n), 0);
    else if (dice < 95)
        store_trim(w->store);
    else if (dice == 95)
        store_age(w->store);
    else if (dice == 96)
        (void)store_make_room(w->store);
    else
        (void)store_pack(w->store, &w->press);
}

static void it_keeps_what_a_model_keeps(void **state)
{
    struct world *w = world_new();
    uint64_t seed = 11;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        random_step(w, &seed, step / 3000 % 2 == 0);
        if (step % 500 == 499)
            must_count(w);
    }
    for (size_t i = 0; i < w->n; i++)
        assert_int_equal(get(w, i), 0);
    assert_true(counts(w).golden_hits > 1000 && counts(w).golden_pages > 0);
    while (w->n > 0)
        end(w, w->n - 1, false);
    must_count(w);
    world_free(w);
}

/* Of what is there the store has a number and no bytes. */
static void what_is_there_takes_no_memory(void **state)
{
    struct world *w = world_new();

    (void)state;
    for (int twice = 0; twice < 2; twice++)
        for (uint32_t i = 1; i < GOLDEN; i++)
            put(w, i);
    assert_int_equal(counts(w).used_bytes, 0);
    assert_int_equal(counts(w).golden_objects, GOLDEN - 1);
    assert_int_equal(counts(w).golden_pages, 2 * (GOLDEN - 1));
    assert_true(counts(w).held_bytes < 2 * MIB);
    put(w, GOLDEN);
    assert_true(counts(w).used_bytes > 0);
    store_clear(w->store);
    w->n = 0;
    must_count(w);
    world_free(w);
}

/* Damage is told of a page that is there only, and is kept again like others from then on. */
/* Objects without copies take memory, too: 32 bytes each. */
static void the_limit_is_one(void **state)
{
    enum { MANY = 40000 };
    struct world *w = world_new();
    struct golden *many;
    uint8_t page[CODEC_PAGE];
    uint32_t object;
    unsigned n = 0;

    (void)state;
    golden_close(w->golden);
    store_free(w->store);
    w->golden = many = golden_of(&w->files, 0, MANY);
    assert_int_equal(store_new(MIB, MANY, &anywhere, &w->store, NULL), 0);
    store_set_golden(w->store, many);
    for (uint32_t i = 1; i < MANY; i++) {
        golden_page(i, page);
        n += store_put(w->store, &w->desk, page, &object) == 0;
    }
    assert_in_range(n, 1000, MANY - 1000);
    assert_true(counts(w).held_bytes <= MIB);
    world_free(w);
}

static void damage_is_found_out(void **state)
{
    struct world *w = world_new();
    size_t lost = 0;

    (void)state;
    for (uint32_t i = 1; i < CONTENTS; i++)
        put(w, i);
    for (long at = 4096; at < golden_file_size(w->files.file) - GOLDEN * 24; at += 512)
        golden_flip(w->files.file, at);
    for (size_t i = 0; i < w->n; i++) {
        const int r = get(w, i);

        assert_true(r == 0 || (r == -EUCLEAN && w->content[i] < GOLDEN));
        lost += r != 0;
    }
    assert_true(lost > 100);
    for (uint32_t i = 1; i < GOLDEN; i++) {
        put(w, i); /* what is damaged is not taken for it */
        assert_int_equal(get(w, i - 1) == 0 ? 0 : get(w, w->n - 1), 0);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_what_a_model_keeps),
        cmocka_unit_test(what_is_there_takes_no_memory),
        cmocka_unit_test(the_limit_is_one),
        cmocka_unit_test(damage_is_found_out),
    };
    return cmocka_run_group_tests_name("memory/store/store_golden", tests, NULL, NULL);
}
