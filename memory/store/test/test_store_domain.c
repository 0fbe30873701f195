/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of a store that are in segments of a trust domain, without any service. */
#include "memory/store/test/golden_file.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "memory/store/domain/domain_segments.h"
#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_domain.h"

enum { PAGES = 64, SEGMENT = 5,
       SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };

static const struct idset anywhere;

struct world {
    struct domain_segments *segments;
    uint8_t *bytes; /* of the segment, as the service writes it */
    struct store *store;
    struct store_desk desk;
    struct store_scale scale;
    uint32_t object[PAGES];
};

static int new_segment(off_t size, int seals, uint8_t **ret_bytes)
{
    int fd = memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    *ret_bytes = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(*ret_bytes != MAP_FAILED);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));
    int fd;

    assert_non_null(w);
    assert_int_equal(domain_segments_new(&w->segments), 0);
    fd = new_segment(DOMAIN_SEGMENT, SEALS, &w->bytes);
    assert_int_equal(domain_segments_add(w->segments, SEGMENT, fd, NULL), 0);
    assert_int_equal(domain_segments_add(w->segments, SEGMENT, fd, NULL), -EEXIST);
    (void)close(fd);
    assert_int_equal(store_new(16 * MIB, 4 * PAGES, &anywhere, &w->store, NULL), 0);
    assert_int_equal(store_set_domain(w->store, w->segments), 0);
    return w;
}

static void world_free(struct world *w)
{
    store_free(w->store);
    domain_segments_free(w->segments);
    (void)munmap(w->bytes, DOMAIN_SEGMENT);
    free(w);
}

static struct store_counts counts(const struct world *w)
{
    struct store_counts c;

    store_count(w->store, &c);
    return c;
}

static void put(struct world *w, uint32_t i)
{
    uint8_t page[CODEC_PAGE];

    golden_page(i, page);
    assert_int_equal(store_put(w->store, &w->desk, page, &w->object[i]), 0);
}

static void must_get(struct world *w, uint32_t i)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];

    golden_page(i, want);
    assert_int_equal(store_get(w->store, NULL, w->object[i], got), 0);
    assert_memory_equal(want, got, CODEC_PAGE);
}

static struct golden_hash hash_of(uint32_t i)
{
    uint8_t page[CODEC_PAGE];

    golden_page(i, page);
    return golden_hash(page);
}

/* Page @content as it is lies in place @i, and is said to be page @says. */
static enum store_took take(struct world *w, uint32_t says, uint32_t i, uint32_t content)
{
    struct domain_spot spot;

    golden_page(content, w->bytes + (size_t)i * CODEC_PAGE);
    assert_true(domain_segments_spot(w->segments, SEGMENT, i * CODEC_PAGE / DOMAIN_UNIT, &spot));
    return store_domain_take(w->store, &w->scale, hash_of(says), spot, CODEC_PAGE, CODEC_RAW);
}

static void segments_that_could_change_are_refused(void **state)
{
    static const int missing[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL };
    struct domain_segments *s;
    struct domain_spot spot;
    struct errctx ec = { 0 };
    uint8_t *bytes;
    int fd;

    (void)state;
    assert_int_equal(domain_segments_new(&s), 0);
    for (size_t i = 0; i < ARRAY_SIZE(missing); i++) {
        fd = new_segment(DOMAIN_SEGMENT, SEALS & ~missing[i], &bytes);
        assert_int_equal(domain_segments_add(s, 1, fd, &ec), -EPERM);
        assert_string_equal(ec.msg, "segment 1 is not sealed");
        (void)munmap(bytes, DOMAIN_SEGMENT);
        (void)close(fd);
    }
    fd = new_segment(DOMAIN_SEGMENT / 2, SEALS, &bytes);
    assert_int_equal(domain_segments_add(s, 1, fd, NULL), -EINVAL);
    (void)munmap(bytes, DOMAIN_SEGMENT / 2);
    (void)close(fd);
    assert_int_equal(domain_segments_add(s, 1, STDERR_FILENO, NULL), -EPERM);
    assert_false(domain_segments_spot(s, 1, 0, &spot));
    assert_int_equal(domain_segments_count(s), 0);
    domain_segments_free(s);
}

static void nobody_changes_a_segment_through_its_descriptor(void **state)
{
    uint8_t *bytes;
    const int fd = new_segment(DOMAIN_SEGMENT, SEALS, &bytes);

    (void)state;
    bytes[0] = 1;
    assert_int_equal(pwrite(fd, "", 1, 0), -1);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_true(mmap(NULL, DOMAIN_SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
                MAP_FAILED);
    assert_int_equal(bytes[0], 1);
    (void)munmap(bytes, DOMAIN_SEGMENT);
    (void)close(fd);
}

static void an_object_gives_up_its_copy_for_the_same_page_only(void **state)
{
    struct world *w = world_new();
    struct store_counts before;

    (void)state;
    for (uint32_t i = 1; i < PAGES; i++)
        put(w, i);
    before = counts(w);
    for (uint32_t i = 1; i < PAGES; i++) { /* another page, damaged, none */
        assert_int_equal(take(w, i, i, i + 1), STORE_TOOK_OTHER);
        assert_int_equal(take(w, PAGES + i, i, PAGES + i), STORE_TOOK_NONE);
    }
    assert_int_equal(counts(w).shared_objects, 0);
    for (uint32_t i = 1; i < PAGES; i++) {
        assert_int_equal(take(w, i, i, i), STORE_TOOK);
        assert_int_equal(take(w, i, i, i), STORE_TOOK);
        must_get(w, i);
    }
    assert_int_equal(counts(w).shared_objects, PAGES - 1);
    assert_int_equal(counts(w).shared_pages, PAGES - 1);
    assert_int_equal(counts(w).shared_bytes, (PAGES - 1) * CODEC_PAGE);
    assert_int_equal(counts(w).objects, 0);
    assert_int_equal(counts(w).used_bytes, 0);
    assert_true(before.used_bytes > 0);
    put(w, 3); /* is found there */
    assert_int_equal(counts(w).shared_pages, PAGES);
    for (uint32_t i = 1; i < PAGES; i++)
        store_drop(w->store, w->object[i]);
    store_drop(w->store, w->object[3]);
    assert_int_equal(counts(w).shared_objects, 0);
    assert_int_equal(counts(w).shared_bytes, 0);
    world_free(w);
}

static void what_was_changed_in_a_segment_reaches_nobody(void **state)
{
    struct world *w = world_new();
    uint8_t got[CODEC_PAGE];

    (void)state;
    put(w, 9);
    assert_int_equal(take(w, 9, 0, 9), STORE_TOOK);
    w->bytes[77] ^= 1;
    assert_int_equal(store_get(w->store, NULL, w->object[9], got), -EIO);
    world_free(w);
}

static void a_segment_stays_as_long_as_it_is_used(void **state)
{
    struct world *w = world_new();
    struct domain_spot spot;

    (void)state;
    put(w, 9);
    put(w, 10);
    assert_int_equal(take(w, 9, 0, 9), STORE_TOOK);
    assert_int_equal(take(w, 10, 1, 10), STORE_TOOK);
    domain_segments_retire(w->segments, SEGMENT + 1);
    domain_segments_retire_all(w->segments);
    assert_false(domain_segments_spot(w->segments, SEGMENT, 0, &spot));
    domain_segments_sweep(w->segments);
    assert_int_equal(domain_segments_count(w->segments), 1);
    must_get(w, 9);
    store_leave(w->store, w->object[9]); /* a spare copy uses it, too */
    store_drop(w->store, w->object[10]);
    domain_segments_sweep(w->segments);
    assert_int_equal(domain_segments_count(w->segments), 1);
    (void)store_make_room(w->store);
    domain_segments_sweep(w->segments);
    assert_int_equal(domain_segments_count(w->segments), 0);
    world_free(w);
}

static void what_is_left_in_a_retired_segment_can_come_home(void **state)
{
    struct world *w = world_new();
    struct store_counts before;

    (void)state;
    for (uint32_t i = 1; i < PAGES; i++) {
        put(w, i);
        put(w, i);
        assert_int_equal(take(w, i, i, i), STORE_TOOK);
    }
    assert_int_equal(store_domain_take_home(w->store, PAGES), 0);
    domain_segments_retire_all(w->segments);
    store_age(w->store);
    assert_int_equal(store_domain_take_home(w->store, 40), 40);
    store_set_limit(w->store, counts(w).held_bytes); /* no room */
    store_age(w->store);
    before = counts(w);
    assert_true(store_domain_take_home(w->store, PAGES) <= PAGES - 1 - 40);
    assert_true(counts(w).held_bytes == before.held_bytes);
    store_set_limit(w->store, 16 * MIB);
    store_age(w->store);
    (void)store_domain_take_home(w->store, PAGES);
    assert_int_equal(counts(w).shared_objects, 0);
    assert_int_equal(counts(w).shared_pages, 0);
    assert_int_equal(counts(w).objects, PAGES - 1);
    assert_int_equal(domain_segments_retired(w->segments), 1);
    domain_segments_sweep(w->segments);
    assert_int_equal(domain_segments_count(w->segments), 0);
    for (uint32_t i = 1; i < PAGES; i++)
        must_get(w, i);
    world_free(w);
}

static void what_was_offered_is_told_of_when_it_goes(void **state)
{
    struct world *w = world_new();
    struct golden_hash hashes[PAGES];
    bool lost;

    (void)state;
    assert_int_equal(store_home(w->store), DOMAIN_ANY_NODE);
    for (uint32_t i = 1; i < PAGES; i++)
        put(w, i);
    assert_int_equal(store_domain_offer(w->store, hashes, 40), 40);
    assert_int_equal(store_domain_offer(w->store, hashes, PAGES), PAGES - 1 - 40);
    assert_int_equal(store_domain_offer(w->store, hashes, PAGES), 0);
    store_drop(w->store, w->object[7]);
    put(w, 7);
    assert_int_equal(store_domain_gone(w->store, hashes, PAGES, &lost), 1);
    assert_false(lost);
    assert_int_equal(hashes[0].low, hash_of(7).low);
    store_age(w->store);
    assert_int_equal(store_domain_offer(w->store, hashes, PAGES), 1);
    assert_int_equal(hashes[0].high, hash_of(7).high);

    store_domain_forget(w->store);
    assert_int_equal(store_domain_offer(w->store, hashes, PAGES), PAGES - 1);
    store_clear(w->store);
    (void)store_domain_gone(w->store, hashes, PAGES, &lost);
    assert_true(lost);
    store_domain_forget(w->store);
    assert_int_equal(store_domain_gone(w->store, hashes, PAGES, &lost), 0);
    assert_false(lost);
    world_free(w);
}

static void who_asks_late_is_told_to_begin_anew(void **state)
{
    struct world *w = world_new();
    struct golden_hash hashes[PAGES];
    bool lost = false;

    (void)state;
    for (uint32_t k = 0; k < 5000 && !lost; k++) {
        put(w, 1 + k % 7);
        store_age(w->store);
        assert_int_equal(store_domain_offer(w->store, hashes, PAGES), 1);
        store_drop(w->store, w->object[1 + k % 7]);
    }
    assert_int_equal(store_domain_gone(w->store, hashes, PAGES, &lost), PAGES);
    assert_true(lost);
    world_free(w);
}

/* What a fault thread does: bring back, and drop or leave. */
struct fault {
    struct world *w;
    _Atomic uint32_t object[PAGES]; /* 0: nothing there to bring back */
    _Atomic bool quit;
    uint64_t wrong, right;
};

static void *fault_main(void *arg)
{
    struct fault *f = arg;
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];

    for (uint32_t i = 1; !atomic_load(&f->quit); i = i % (PAGES - 1) + 1) {
        const uint32_t object = atomic_exchange(&f->object[i], 0);

        if (object == 0)
            continue;
        golden_page(i, want);
        if (store_get(f->w->store, NULL, object, got) == 0 &&
            memcmp(want, got, CODEC_PAGE) == 0)
            f->right++;
        else
            f->wrong++;
        (i % 3 == 0 ? store_leave : store_drop)(f->w->store, object);
    }
    return NULL;
}

/* Round @k of the thread that evicts: what is not there goes, and segments come and are left. */
static void evict_round(struct world *w, struct fault *f, uint32_t k)
{
    struct golden_hash hashes[PAGES];
    struct domain_spot spot;
    bool lost;

    for (uint32_t i = 1; i < PAGES; i++) {
        uint32_t object;

        if (atomic_load(&f->object[i]) != 0)
            continue;
        put(w, i);
        object = w->object[i];
        if (domain_segments_spot(w->segments, SEGMENT + k, i * CODEC_PAGE / DOMAIN_UNIT, &spot))
            assert_int_not_equal(store_domain_take(w->store, &w->scale, hash_of(i), spot,
                                                   CODEC_PAGE, CODEC_RAW),
                                 STORE_TOOK_OTHER);
        atomic_store(&f->object[i], object);
    }
    (void)store_domain_offer(w->store, hashes, PAGES);
    (void)store_domain_gone(w->store, hashes, PAGES, &lost);
    if (lost)
        store_domain_forget(w->store);
    domain_segments_retire_all(w->segments);
    (void)store_domain_take_home(w->store, 7);
    store_age(w->store);
    domain_segments_sweep(w->segments);
}

static void pages_come_back_while_segments_come_and_go(void **state)
{
    struct world *w = world_new();
    struct fault f = { .w = w };
    pthread_t thread;

    (void)state;
    for (uint32_t i = 1; i < PAGES; i++)
        golden_page(i, w->bytes + (size_t)i * CODEC_PAGE);
    assert_int_equal(pthread_create(&thread, NULL, fault_main, &f), 0);
    for (uint32_t k = 0; k < 200; k++) {
        if (k > 0) {
            uint8_t *bytes;
            const int fd = new_segment(DOMAIN_SEGMENT, SEALS, &bytes);

            memcpy(bytes, w->bytes, (size_t)PAGES * CODEC_PAGE);
            (void)munmap(bytes, DOMAIN_SEGMENT);
            assert_int_equal(domain_segments_add(w->segments, SEGMENT + k, fd, NULL), 0);
            (void)close(fd);
        }
        evict_round(w, &f, k);
    }
    atomic_store(&f.quit, true);
    (void)pthread_join(thread, NULL);
    assert_int_equal(f.wrong, 0);
    assert_true(f.right > 0);
    for (uint32_t i = 1; i < PAGES; i++)
        store_drop(w->store, atomic_load(&f.object[i]));
    (void)store_make_room(w->store);
    domain_segments_sweep(w->segments);
    assert_int_equal(domain_segments_count(w->segments), 0);
    assert_int_equal(counts(w).shared_objects + counts(w).objects, 0);
    world_free(w);
}

static void what_is_kept_of_a_page_can_be_asked_for(void **state)
{
    struct world *w = world_new();
    uint8_t bytes[CODEC_PAGE], page[CODEC_PAGE], want[CODEC_PAGE];
    enum codec_kind kind;
    size_t len;

    (void)state;
    put(w, 9);
    len = store_domain_bytes(w->store, hash_of(9), bytes, &kind);
    assert_true(len > 0);
    golden_page(9, want);
    assert_int_equal(codec_decode(NULL, kind, bytes, len, page), 0);
    assert_memory_equal(page, want, CODEC_PAGE);
    assert_int_equal(take(w, 9, 0, 9), STORE_TOOK);
    assert_int_equal(store_domain_bytes(w->store, hash_of(9), bytes, &kind), CODEC_PAGE);
    assert_int_equal(kind, CODEC_RAW);
    assert_memory_equal(bytes, want, CODEC_PAGE);
    assert_int_equal(store_domain_bytes(w->store, hash_of(10), bytes, &kind), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_that_could_change_are_refused),
        cmocka_unit_test(nobody_changes_a_segment_through_its_descriptor),
        cmocka_unit_test(an_object_gives_up_its_copy_for_the_same_page_only),
        cmocka_unit_test(what_was_changed_in_a_segment_reaches_nobody),
        cmocka_unit_test(a_segment_stays_as_long_as_it_is_used),
        cmocka_unit_test(what_is_left_in_a_retired_segment_can_come_home),
        cmocka_unit_test(what_was_offered_is_told_of_when_it_goes),
        cmocka_unit_test(who_asks_late_is_told_to_begin_anew),
        cmocka_unit_test(what_is_kept_of_a_page_can_be_asked_for),
        cmocka_unit_test(pages_come_back_while_segments_come_and_go),
    };
    return cmocka_run_group_tests_name("memory/store/store_domain", tests, NULL, NULL);
}
