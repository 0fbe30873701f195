/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores of several machines with a real service, which is killed at random: each page that comes
 * back is compared with what went. One machine is in another domain, and shares nothing.
 */
#include "vmm/host/test/service_child.h"

#include "memory/store/domain/domain_client.h"
#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_domain.h"
#include "memory/store/test/golden_file.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"

enum { MACHINES = 4, OTHER = 3, KEPT = 600, CONTENTS = 400, KILLS = 100, STEP_MS_MAX = 10000 };

static const struct idset anywhere;

struct machine {
    struct domain_client *client;
    struct store *store;
    struct store_press press;
    uint32_t object[KEPT], content[KEPT];
    size_t n;
};

struct world {
    struct service_child service;
    struct machine machines[MACHINES];
    struct store_desk desk;
    uint64_t seed, now_ns, gets, worst_ns;
};

static uint32_t dice(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(w->seed >> 33) % n;
}

static void machine_init(struct world *w, struct machine *m, const char *domain)
{
    assert_int_equal(domain_client_new(w->service.path, domain, &m->client, NULL), 0);
    assert_int_equal(store_new(64 * MIB, KEPT, &anywhere, &m->store, NULL), 0);
    assert_int_equal(store_set_domain(m->store, domain_client_segments(m->client)), 0);
    assert_int_equal(codec_packer_init(&m->press.packer), 0);
}

static void machine_fini(struct machine *m)
{
    codec_packer_fini(&m->press.packer);
    store_free(m->store);
    domain_client_free(m->client);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    service_child_init(&w->service);
    w->seed = seed;
    for (size_t i = 0; i < MACHINES; i++)
        machine_init(w, &w->machines[i], i == OTHER ? "other" : "web");
    return w;
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < MACHINES; i++)
        machine_fini(&w->machines[i]);
    assert_int_equal(service_child_end(&w->service, SIGTERM), 0);
    assert_int_not_equal(access(w->service.path, F_OK), 0);
    service_child_fini(&w->service);
    free(w);
}

static void put(struct world *w, struct machine *m, uint32_t content)
{
    uint8_t page[CODEC_PAGE];

    golden_page(content, page);
    assert_int_equal(store_put(m->store, &w->desk, page, &m->object[m->n]), 0);
    m->content[m->n++] = content;
}

/* The right page, and at once. */
static void must_get(struct world *w, struct machine *m, size_t i)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];
    const uint64_t start = evloop_now_ns();

    assert_int_equal(store_get(m->store, NULL, m->object[i], got), 0);
    w->worst_ns = MAX(w->worst_ns, evloop_now_ns() - start);
    w->gets++;
    golden_page(m->content[i], want);
    assert_memory_equal(got, want, CODEC_PAGE);
}

static void end(struct machine *m, size_t i, bool leaves)
{
    (leaves ? store_leave : store_drop)(m->store, m->object[i]);
    m->object[i] = m->object[--m->n];
    m->content[i] = m->content[m->n];
}

static bool talk(struct world *w, struct machine *m)
{
    const uint64_t start = evloop_now_ns();
    const bool more = domain_client_step(m->client, &m->store, 1, w->now_ns);

    w->worst_ns = MAX(w->worst_ns, evloop_now_ns() - start);
    return more;
}

static void random_step(struct world *w)
{
    struct machine *m = &w->machines[dice(w, MACHINES)];
    const uint32_t d = dice(w, 100);

    if (d < 20 && m->n < KEPT)
        put(w, m, 1 + dice(w, CONTENTS));
    else if (d < 34 && m->n > 0)
        end(m, dice(w, (uint32_t)m->n), d % 2 == 0);
    else if (d < 50 && m->n > 0)
        must_get(w, m, dice(w, (uint32_t)m->n));
    else if (d < 54)
        store_age(m->store);
    else if (d < 56)
        store_trim(m->store);
    else if (d < 58)
        (void)store_pack(m->store, &m->press);
    else if (d == 58 && dice(w, 20) == 0)
        (void)store_make_room(m->store);
    else
        (void)talk(w, m);
}

static struct store_counts counts(const struct machine *m)
{
    struct store_counts c;

    store_count(m->store, &c);
    return c;
}

/* Pages of the domain that machine @i has, and another one of it as well. */
static uint64_t to_be_shared(const struct world *w, size_t i)
{
    unsigned has[MACHINES][CONTENTS + 1] = { { 0 } };
    uint64_t n = 0;

    for (size_t k = 0; k < OTHER; k++)
        for (size_t at = 0; at < w->machines[k].n; at++)
            has[k][w->machines[k].content[at]] = 1;
    for (uint32_t c = 1; i != OTHER && c <= CONTENTS; c++)
        n += has[i][c] && has[0][c] + has[1][c] + has[2][c] > 1;
    return n;
}

static bool all_is_shared(const struct world *w)
{
    for (size_t i = 0; i < MACHINES; i++)
        if (counts(&w->machines[i]).shared_objects < to_be_shared(w, i))
            return false;
    return true;
}

static bool nothing_else_is_shared(const struct world *w)
{
    for (size_t i = 0; i < MACHINES; i++)
        if (counts(&w->machines[i]).shared_objects != to_be_shared(w, i))
            return false;
    return true;
}

/* Until nobody has anything to say for a while, which is minutes of the test's own time, and @done;
 * a process that has to share a CPU with many others may need long. */
static void settle(struct world *w, bool (*done)(const struct world *w))
{
    const uint64_t end = evloop_now_ns() + UINT64_C(60000000000);

    for (unsigned quiet = 0; quiet < 100 || (done != NULL && !done(w)); quiet++) {
        assert_true(evloop_now_ns() < end);
        w->now_ns += UINT64_C(1000000000);
        for (size_t i = 0; i < MACHINES; i++) {
            store_age(w->machines[i].store);
            while (talk(w, &w->machines[i]))
                quiet = 0;
        }
        (void)usleep(2000);
    }
}

/* What every machine has is what it was, and the one that is alone in its domain shares nothing. */
static void must_be_right(struct world *w)
{
    for (size_t i = 0; i < MACHINES; i++)
        for (size_t k = 0; k < w->machines[i].n; k++)
            must_get(w, &w->machines[i], k);
    assert_int_equal(counts(&w->machines[OTHER]).shared_objects, 0);
    assert_true(all_is_shared(w) && to_be_shared(w, 0) > 0);
}

static void pages_are_right_however_often_the_service_is_killed(void **state)
{
    struct world *w = world_new(7);
    struct domain_client_counts c;

    (void)state;
    for (unsigned kill = 0; kill < KILLS; kill++) {
        const uint32_t steps = dice(w, 1500);

        w->now_ns += UINT64_C(1000000000);
        for (uint32_t i = 0; i < steps; i++)
            random_step(w);
        assert_int_equal(WTERMSIG(service_child_end(&w->service, SIGKILL)), SIGKILL);
        for (uint32_t i = dice(w, 100); i > 0; i--) /* without any */
            random_step(w);
        service_child_start(&w->service);
    }
    settle(w, all_is_shared);
    must_be_right(w);
    domain_client_count(w->machines[0].client, &c);
    assert_true(c.connected && c.connects > KILLS / 4 && c.took > 0);
    assert_int_equal(c.refused, 0);
    assert_true(w->worst_ns < STEP_MS_MAX * UINT64_C(1000000));
    print_message("# %u kills, %llu pages came back, the longest took %llu us\n", KILLS,
                  (unsigned long long)w->gets, (unsigned long long)w->worst_ns / 1000);
    world_free(w);
}

static void what_one_alone_has_leaves_segments_of_dead_services(void **state)
{
    struct world *w = world_new(13);
    struct domain_client_counts c;

    (void)state;
    for (uint32_t i = 1; i <= 100; i++)
        for (size_t k = 0; k < MACHINES; k++)
            put(w, &w->machines[k], i);
    settle(w, all_is_shared);
    (void)service_child_end(&w->service, SIGKILL);
    for (size_t k = 1; k < OTHER; k++)
        while (w->machines[k].n > 10)
            end(&w->machines[k], w->machines[k].n - 1, false);
    settle(w, NULL);
    assert_int_equal(counts(&w->machines[0]).shared_objects, 100); /* as it was */
    service_child_start(&w->service);
    settle(w, nothing_else_is_shared);
    must_be_right(w);
    assert_int_equal(counts(&w->machines[0]).shared_objects, 10);
    assert_int_equal(counts(&w->machines[0]).objects, 90);
    domain_client_count(w->machines[0].client, &c);
    assert_int_equal(c.segments, 1);
    world_free(w);
}

static void without_a_service_pages_stay_and_are_not_shared(void **state)
{
    struct world *w = world_new(11);

    (void)state;
    for (uint32_t i = 1; i <= 100; i++)
        for (size_t k = 0; k < MACHINES; k++)
            put(w, &w->machines[k], i);
    settle(w, all_is_shared);
    must_be_right(w);
    assert_int_equal(counts(&w->machines[0]).objects, 0);
    (void)service_child_end(&w->service, SIGKILL);
    settle(w, NULL);
    must_be_right(w); /* what was shared is still, by those who have it mapped */
    for (size_t k = 0; k < MACHINES; k++)
        while (w->machines[k].n > 0)
            end(&w->machines[k], 0, false);
    for (uint32_t i = 1; i <= 100; i++)
        for (size_t k = 0; k < MACHINES; k++)
            put(w, &w->machines[k], i);
    settle(w, NULL);
    for (size_t k = 0; k < MACHINES; k++) {
        struct domain_client_counts c;

        domain_client_count(w->machines[k].client, &c);
        assert_int_equal(c.segments, 0);
        assert_false(c.connected);
        assert_int_equal(counts(&w->machines[k]).shared_objects, 0);
        assert_int_equal(counts(&w->machines[k]).objects, 100);
    }
    service_child_start(&w->service);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_right_however_often_the_service_is_killed),
        cmocka_unit_test(what_one_alone_has_leaves_segments_of_dead_services),
        cmocka_unit_test(without_a_service_pages_stay_and_are_not_shared),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(240);
    return cmocka_run_group_tests_name("vmm/host/service, killed", tests, NULL, NULL);
}
