/* SPDX-License-Identifier: Apache-2.0 */
/* The store against a model that keeps every page as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/store.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

enum { STEPS = 60000, KEPT = 3000, CONTENTS = 900 };

static const struct idset anywhere;

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

/* Page number @which of an endless choice: zeroes, text that shrinks more or less, noise. */
static void make_page(uint32_t which, uint8_t *page)
{
    uint64_t seed = which * 0x9e3779b97f4a7c15ull + 1;
    const uint32_t noise = which % 9 * 512; /* so many bytes that do not shrink */

    memset(page, 0, CODEC_PAGE);
    if (which == 0)
        return;
    for (uint32_t i = 0; i < MIN(noise, (uint32_t)CODEC_PAGE); i++)
        page[i] = (uint8_t)next_random(&seed);
    for (uint32_t i = noise; i < CODEC_PAGE; i++)
        page[i] = (uint8_t)("numavisor"[i % 9] + which % 7);
    memcpy(page + CODEC_PAGE - sizeof(which), &which, sizeof(which));
}

/* Words of sixteen letters in any order: what Zstandard knows more about than LZ4. */
static void make_letters(uint32_t which, uint8_t *page)
{
    uint64_t seed = which + 1;

    for (size_t i = 0; i < CODEC_PAGE; i++)
        page[i] = "eeeeetttaaoinshr"[next_random(&seed) % 16];
}

struct model {
    struct store *store;
    struct store_desk *desk;
    struct store_press *press;
    uint32_t object[KEPT], content[KEPT];
    size_t n;
    uint32_t refs[CONTENTS];
};

static void put(struct model *m, uint32_t content)
{
    uint8_t page[CODEC_PAGE];

    make_page(content, page);
    assert_int_equal(store_put(m->store, m->desk, page, &m->object[m->n]), 0);
    assert_true((m->object[m->n] == STORE_ZERO) == (content == 0));
    m->content[m->n++] = content;
    m->refs[content]++;
}

static void end_with(struct model *m, size_t i, void (*end)(struct store *store, uint32_t object))
{
    end(m->store, m->object[i]);
    m->refs[m->content[i]]--;
    m->object[i] = m->object[--m->n];
    m->content[i] = m->content[m->n];
}

static void drop(struct model *m, size_t i)
{
    end_with(m, i, store_drop);
}

static void check_one(struct model *m, size_t i)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];

    make_page(m->content[i], want);
    assert_int_equal(store_get(m->store, NULL, m->object[i], got), 0);
    assert_memory_equal(got, want, CODEC_PAGE);
}

static void check_counts(struct model *m)
{
    struct store_counts c;
    uint64_t objects = 0;

    for (size_t i = 1; i < CONTENTS; i++)
        objects += m->refs[i] > 0;
    store_count(m->store, &c);
    assert_int_equal(c.objects, objects);
    assert_int_equal(c.pages, m->n - m->refs[0]);
    assert_true(c.used_bytes <= (objects + c.spare_objects) * (CODEC_PAGE + 64));
    assert_true(c.packed_objects + c.raw_objects <= objects);
    assert_true(c.held_bytes >= c.used_bytes);
}

static void model_init(struct model *m, uint64_t limit)
{
    memset(m, 0, sizeof(*m));
    m->desk = malloc(sizeof(*m->desk));
    m->press = malloc(sizeof(*m->press));
    assert_non_null(m->desk);
    assert_non_null(m->press);
    assert_int_equal(codec_packer_init(&m->press->packer), 0);
    assert_int_equal(store_new(limit, KEPT, &anywhere, &m->store, NULL), 0);
}

static void model_fini(struct model *m)
{
    store_free(m->store);
    codec_packer_fini(&m->press->packer);
    free(m->press);
    free(m->desk);
}

static uint64_t packed(const struct model *m)
{
    struct store_counts c;

    store_count(m->store, &c);
    return c.packed_objects;
}

/* Waves: mostly puts, mostly drops, so that blocks fill, thin out, move together and fill again. */
static void it_keeps_what_a_model_keeps(void **state)
{
    struct model *m = malloc(sizeof(*m));
    uint64_t seed = 1, most_packed = 0;
    struct store_counts c;

    (void)state;
    assert_non_null(m);
    model_init(m, 64u << 20);
    for (int step = 0; step < STEPS; step++) {
        const uint32_t dice = next_random(&seed) % 100;
        const uint32_t puts = step / 5000 % 2 == 0 ? 65 : 25;

        if (dice < puts && m->n < KEPT)
            put(m, next_random(&seed) % 5 == 0 ? 0 : next_random(&seed) % CONTENTS);
        else if (dice < 90 && m->n > 0)
            end_with(m, next_random(&seed) % m->n, step % 2 == 0 ? store_leave : store_drop);
        else if (dice < 96 && m->n > 0)
            check_one(m, next_random(&seed) % m->n);
        else if (dice < 97)
            store_age(m->store);
        else if (dice < 98)
            store_trim(m->store);
        else
            for (int i = 0; i < 20; i++)
                (void)store_pack(m->store, m->press);
        if (step % 1000 == 0)
            check_counts(m);
        most_packed = MAX(most_packed, packed(m));
    }
    assert_true(most_packed > 100);
    store_count(m->store, &c);
    assert_true(c.again > 100);
    assert_true(c.moved_objects > 100);
    for (size_t i = 0; i < m->n; i++)
        check_one(m, i);
    while (m->n > 0)
        drop(m, 0);
    check_counts(m);
    model_fini(m);
    free(m);
}

static void equal_pages_are_there_once(void **state)
{
    struct store_counts c;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 1 << 20);
    for (int i = 0; i < 1000; i++)
        put(m, 7);
    assert_int_equal(m->object[0], m->object[999]);
    store_count(m->store, &c);
    assert_int_equal(c.objects, 1);
    assert_int_equal(c.pages, 1000);
    assert_true(c.used_bytes <= CODEC_PAGE + 64);
    model_fini(m);
    free(m);
}

static void zero_pages_need_nothing(void **state)
{
    struct store_counts c;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 0); /* not even room */
    for (int i = 0; i < 100; i++)
        put(m, 0);
    check_one(m, 50);
    store_count(m->store, &c);
    assert_int_equal(c.used_bytes + c.pages + c.objects + c.held_bytes, 0);
    model_fini(m);
    free(m);
}

static void a_full_store_says_so_and_works_on(void **state)
{
    uint8_t page[CODEC_PAGE];
    uint32_t object = 77, n = 1;
    struct store_counts c;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 1 << 20);
    for (;; n += 1) {
        make_page(n * 9 + 8, page); /* noise */
        if (store_put(m->store, m->desk, page, &object) < 0)
            break;
        m->object[m->n] = object;
        m->content[m->n++] = n * 9 + 8;
        object = 77;
    }
    assert_int_equal(object, 77);
    assert_in_range(m->n, 175, 190); /* of 4 KiB each, tables, and a quarter for packing */
    store_count(m->store, &c);
    assert_in_range(c.held_bytes, 700 * KIB, 768 * KIB);
    for (size_t i = 0; i < m->n; i++)
        check_one(m, i);
    store_drop(m->store, m->object[3]);
    assert_int_equal(store_put(m->store, m->desk, page, &object), 0);
    model_fini(m);
    free(m);
}

/* Where puts have no room any more, packing makes some. */
static void packing_makes_room_in_a_full_store(void **state)
{
    uint8_t page[CODEC_PAGE];
    uint32_t n = 0;
    struct store_counts c;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 2 * MIB);
    do
        make_letters(n, page);
    while (store_put(m->store, m->desk, page, &m->object[n]) == 0 && ++n < KEPT);
    assert_in_range(n, 300, 1500);
    for (int i = 0; i < 20; i++) {
        store_age(m->store);
        for (int k = 0; k < 1000 && store_pack(m->store, m->press); k++) {
            store_count(m->store, &c);
            assert_true(c.held_bytes <= 2 * MIB);
        }
        store_trim(m->store);
    }
    store_count(m->store, &c);
    assert_int_equal(c.packed_objects, n);
    assert_int_equal(store_put(m->store, m->desk, page, &m->object[n]), 0);
    model_fini(m);
    free(m);
}

/* Of 500 pages, half stays; the others come back and are left. */
static uint32_t leave_some(struct model *m)
{
    struct store_counts c;

    for (uint32_t i = 1; i <= 500; i++)
        put(m, i);
    for (size_t i = 500; i-- > 250;)
        end_with(m, i, store_leave);
    check_counts(m);
    store_count(m->store, &c);
    assert_in_range(c.spare_objects, 20, 240); /* a quarter of the others, by bytes */
    return (uint32_t)c.spare_objects;
}

static void what_was_left_is_found_again(void **state)
{
    struct model *m = malloc(sizeof(*m));
    struct store_counts before, now;
    uint32_t n;

    (void)state;
    assert_non_null(m);
    model_init(m, 8 * MIB);
    n = leave_some(m);
    store_count(m->store, &before);
    for (uint32_t i = 500; i > 500 - n; i--) { /* the last were left first */
        put(m, i);
        check_one(m, m->n - 1);
    }
    store_count(m->store, &now);
    assert_int_equal(now.again, n);
    assert_int_equal(now.spare_objects, 0);
    assert_int_equal(now.used_bytes, before.used_bytes); /* nothing was made anew */
    check_counts(m);
    model_fini(m);
    free(m);
}

static void what_was_left_does_not_stay(void **state)
{
    struct model *m = malloc(sizeof(*m));
    struct store_counts c;

    (void)state;
    assert_non_null(m);
    model_init(m, 8 * MIB);
    (void)leave_some(m);
    for (int i = 0; i < 11; i++)
        store_age(m->store);
    store_count(m->store, &c);
    assert_true(c.spare_objects > 0);
    store_age(m->store);
    store_count(m->store, &c);
    assert_int_equal(c.spare_objects, 0);
    assert_int_equal(c.objects, 250);
    /* nor where nothing else is there */
    while (m->n > 0)
        end_with(m, m->n - 1, store_leave);
    store_age(m->store);
    store_count(m->store, &c);
    assert_int_equal(c.spare_objects + c.used_bytes + c.objects, 0);
    /* and it goes first where room is wanted */
    (void)leave_some(m);
    assert_true(store_make_room(m->store));
    store_count(m->store, &c);
    assert_int_equal(c.spare_objects, 0);
    assert_false(store_make_room(m->store));
    for (size_t i = 0; i < m->n; i++)
        check_one(m, i);
    model_fini(m);
    free(m);
}

static void memory_goes_back_when_objects_go(void **state)
{
    struct store_counts full, thin, none;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 64u << 20);
    for (uint32_t i = 0; i < KEPT; i++) {
        uint8_t page[CODEC_PAGE];

        make_page(i * 9 + 8, page);
        assert_int_equal(store_put(m->store, m->desk, page, &m->object[i]), 0);
        m->content[i] = i * 9 + 8;
    }
    store_count(m->store, &full);
    for (uint32_t i = 0; i < KEPT; i++)
        if (i % 8 != 0)
            store_drop(m->store, m->object[i]);
    for (int i = 0; i < 10; i++)
        store_trim(m->store);
    store_count(m->store, &thin);
    assert_true(thin.held_bytes < full.held_bytes / 5); /* an eighth is left, and tables */
    for (uint32_t i = 0; i < KEPT; i += 8) {
        check_one(m, i);
        store_drop(m->store, m->object[i]);
    }
    store_trim(m->store);
    store_count(m->store, &none);
    assert_int_equal(none.used_bytes + none.objects + none.pages, 0);
    assert_true(none.held_bytes < full.held_bytes / 50);
    store_clear(m->store);
    store_count(m->store, &none);
    assert_int_equal(none.held_bytes, 0);
    model_fini(m);
    free(m);
}

static void pack_all(struct model *m)
{
    while (store_pack(m->store, m->press))
        ;
}

static void what_is_old_is_packed(void **state)
{
    enum { N = 200 };
    struct store_counts before, now;
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 8u << 20);
    for (uint32_t i = 0; i < N; i++) {
        make_letters(i, want);
        assert_int_equal(store_put(m->store, m->desk, want, &m->object[i]), 0);
    }
    store_count(m->store, &before);
    pack_all(m);
    store_age(m->store);
    pack_all(m);
    assert_int_equal(packed(m), 0); /* it is not old */
    assert_false(store_is_loose(m->store));
    store_age(m->store);
    pack_all(m);
    assert_int_equal(packed(m), N);
    assert_true(store_is_loose(m->store));
    store_trim(m->store);
    assert_false(store_is_loose(m->store));
    store_count(m->store, &now);
    assert_true(now.used_bytes < before.used_bytes * 9 / 10);
    assert_true(now.held_bytes < before.held_bytes);
    assert_int_equal(now.raw_objects, 0);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t again;

        make_letters(i, want);
        assert_int_equal(store_get(m->store, NULL, m->object[i], got), 0);
        assert_memory_equal(got, want, CODEC_PAGE);
        assert_int_equal(store_put(m->store, m->desk, want, &again), 0);
        assert_int_equal(again, m->object[i]); /* and found */
        store_drop(m->store, again);
        store_drop(m->store, again);
    }
    store_count(m->store, &now);
    assert_int_equal(now.objects + now.packed_objects + now.used_bytes, 0);
    model_fini(m);
    free(m);
}

/* What does not become smaller stays as it is, and costs no more time. */
static void what_gains_nothing_is_left_alone(void **state)
{
    struct store_counts before, now;
    struct model *m = malloc(sizeof(*m));

    (void)state;
    assert_non_null(m);
    model_init(m, 8u << 20);
    for (uint32_t i = 0; i < 50; i++)
        put(m, i * 9 + 8); /* noise */
    store_count(m->store, &before);
    for (int i = 0; i < 4; i++) {
        store_age(m->store);
        pack_all(m);
    }
    store_count(m->store, &now);
    assert_memory_equal(&now, &before, sizeof(now));
    model_fini(m);
    free(m);
}

static void damage_is_found(void **state)
{
    /* compressed well, hardly, not; then the same after packing, and damaged before it */
    static const uint32_t kinds[] = { 1, 4, 8, 1, 4, 8, 1, 4, 8 };
    uint8_t page[CODEC_PAGE];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct model *m = malloc(sizeof(*m));

        assert_non_null(m);
        model_init(m, 1 << 20);
        put(m, kinds[i]);
        if (i >= 6)
            store_damage(m->store, m->object[0]);
        for (int k = 0; i >= 3 && k < 2; k++)
            store_age(m->store);
        pack_all(m);
        if (i >= 6) {
            assert_int_equal(store_get(m->store, NULL, m->object[0], page), -EIO);
            model_fini(m);
            free(m);
            continue;
        }
        store_damage(m->store, m->object[0]);
        assert_int_equal(store_get(m->store, NULL, m->object[0], page), -EIO);
        put(m, kinds[i]); /* what is damaged serves nobody else */
        assert_int_not_equal(m->object[0], m->object[1]);
        check_one(m, 1);
        model_fini(m);
        free(m);
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    struct store *store;
    struct store_press *press;
    uint32_t number;
    _Atomic bool *quit;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct store_desk *desk = malloc(sizeof(*desk));
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];

    for (uint32_t i = 0; desk != NULL && i < 3000; i++) {
        uint32_t object;

        make_page(i % 50 * (1 + w->number % 2), want); /* some are everybody's */
        if (store_put(w->store, desk, want, &object) < 0 ||
            store_get(w->store, NULL, object, got) < 0 || memcmp(want, got, CODEC_PAGE) != 0)
            break;
        (i % 3 == 0 ? store_leave : store_drop)(w->store, object);
        if (i == 2999)
            w->number = UINT32_MAX; /* came through */
    }
    free(desk);
    return NULL;
}

static void *tidy(void *arg)
{
    struct worker *w = arg;

    while (!atomic_load(w->quit)) {
        store_trim(w->store);
        store_age(w->store);
        for (int i = 0; i < 100 && store_pack(w->store, w->press); i++)
            ;
        (void)store_make_room(w->store);
    }
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    struct worker w[4];
    _Atomic bool quit = false;
    struct store_press *press = malloc(sizeof(*press));
    struct store_counts c;
    struct store *store;

    (void)state;
    assert_non_null(press);
    assert_int_equal(codec_packer_init(&press->packer), 0);
    assert_int_equal(store_new(8 << 20, 1000, &anywhere, &store, NULL), 0);
    for (uint32_t i = 0; i < 4; i++) {
        w[i] = (struct worker){ .store = store, .press = press, .number = i, .quit = &quit };
        assert_int_equal(pthread_create(&w[i].thread, NULL, i == 3 ? tidy : work, &w[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].number, UINT32_MAX);
    }
    atomic_store(&quit, true);
    assert_int_equal(pthread_join(w[3].thread, NULL), 0);
    (void)store_make_room(store);
    store_count(store, &c);
    assert_int_equal(c.pages + c.objects + c.packed_objects + c.spare_objects + c.used_bytes, 0);
    store_free(store);
    codec_packer_fini(&press->packer);
    free(press);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_what_a_model_keeps),
        cmocka_unit_test(equal_pages_are_there_once),
        cmocka_unit_test(zero_pages_need_nothing),
        cmocka_unit_test(a_full_store_says_so_and_works_on),
        cmocka_unit_test(what_was_left_is_found_again),
        cmocka_unit_test(what_was_left_does_not_stay),
        cmocka_unit_test(packing_makes_room_in_a_full_store),
        cmocka_unit_test(memory_goes_back_when_objects_go),
        cmocka_unit_test(what_is_old_is_packed),
        cmocka_unit_test(what_gains_nothing_is_left_alone),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests_name("memory/store", tests, NULL, NULL);
}
