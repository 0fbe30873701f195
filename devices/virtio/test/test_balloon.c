/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon: what goes back to the host, what stays, what is counted, and what a guest can lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_balloon.h>

#include "devices/virtio/balloon_int.h"
#include "devices/virtio/test/fake_driver.h"

enum {
    PAGE = 4096,
    NOTHING = FAKE_DATA_BASE + MIB, /* two nodes: node 0 [0, 4M), node 1 [4M, 8M) and [16M, 20M) */
};

#define ALL                                                                                  \
    (1ull << VIRTIO_BALLOON_F_MUST_TELL_HOST | 1ull << VIRTIO_BALLOON_F_STATS_VQ |          \
     1ull << VIRTIO_BALLOON_F_REPORTING)

struct fixture {
    struct fake_mem fm;
    struct fake_loop fl;
    struct fake_dev fd;
    struct virtio_dev *vdev, *made;
};

static void do_make(void *ctx)
{
    struct fixture *f = ctx;
    struct device_env env = { .mem = f->fm.mem, .loop = f->fl.loop, .name = "balloon0" };
    struct device_args args = { .type = &balloon_device_type };

    FAKE_MUST(balloon_device_type.create(&args, &env, &f->made, NULL) == 0);
}

/* On the loop, which runs already and has timers of the balloon's. */
static struct virtio_dev *make_balloon(struct fixture *f)
{
    evloop_call(f->fl.loop, do_make, f);
    return f->made;
}

static void do_destroy(void *ctx)
{
    struct virtio_dev *vdev = ctx;

    vdev->ops->quiesce(vdev);
    vdev->ops->destroy(vdev);
}

static void begin(struct fixture *f, uint64_t features)
{
    f->vdev = make_balloon(f);
    fake_dev_init(&f->fd, f->vdev, &f->fm, features, 64);
    assert_int_equal(fake_dev_start(&f->fd), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_mem_init(&f->fm);
    fake_loop_start(&f->fl);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    evloop_stop(f->fl.loop); /* timers are released while nobody serves the loop */
    (void)pthread_join(f->fl.thread, NULL);
    fake_dev_fini(&f->fd);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    evloop_free(f->fl.loop);
    fake_mem_fini(&f->fm);
    free(f);
    return 0;
}

/* --- helpers ------------------------------------------------------------------------------------ */

static uint64_t resident(struct fixture *f, uint32_t vnode)
{
    return guest_mem_resident_bytes(f->fm.mem, (struct vnode_id){ vnode });
}

static void touch(struct fixture *f, uint64_t addr, size_t len)
{
    assert_int_equal(guest_mem_fill(f->fm.mem, (struct gpa){ addr }, 0xa5, len), 0);
}

static uint8_t byte_at(struct fixture *f, uint64_t addr)
{
    uint8_t v = 0x5a;

    assert_int_equal(guest_mem_read(f->fm.mem, (struct gpa){ addr }, &v, 1), 0);
    return v;
}

/* A request with page numbers; it is answered. */
static void tell(struct fixture *f, unsigned queue, const uint32_t *pfns, uint32_t n)
{
    struct fake_buf buf = { FAKE_DATA_BASE, n * 4 };
    uint32_t head, len;

    memcpy(fake_ptr(f->fm.mem, FAKE_DATA_BASE, n * 4), pfns, n * 4);
    fake_queue_add(&f->fd.q[queue], &buf, 1, 0);
    fake_dev_kick(&f->fd, queue);
    assert_true(fake_queue_used(&f->fd.q[queue], &head, &len));
    assert_int_equal(len, 0);
}

static void report(struct fixture *f, unsigned queue, uint64_t addr, uint32_t bytes)
{
    struct fake_buf buf = { addr, bytes };
    uint32_t head, len;

    fake_queue_add(&f->fd.q[queue], &buf, 0, 1);
    fake_dev_kick(&f->fd, queue);
    assert_true(fake_queue_used(&f->fd.q[queue], &head, &len));
}

static struct balloon_node account(struct fixture *f, uint32_t vnode)
{
    struct balloon_node nodes[2];

    assert_int_equal(balloon_account(f->vdev, nodes, 2), 0);
    return nodes[vnode];
}

static struct balloon_status status(struct fixture *f)
{
    struct balloon_status st;

    balloon_status(f->vdev, &st);
    return st;
}

/* --- the tests ----------------------------------------------------------------------------------- */

static void inflated_pages_leave_the_host(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { 1025, 1024, 700, 1030, 701 }; /* across the border of two nodes */
    uint64_t before;

    begin(f, ALL);
    touch(f, 700 * PAGE, 2 * PAGE);
    touch(f, 1024 * PAGE, 8 * PAGE);
    before = resident(f, 1);
    tell(f, BALLOON_INFLATE, pfns, 5);
    assert_int_equal(before - resident(f, 1), 3 * PAGE - PAGE); /* less the list, which is new */
    assert_int_equal(account(f, 0).ballooned_bytes, 2 * PAGE);
    assert_int_equal(account(f, 1).ballooned_bytes, 3 * PAGE);
    assert_int_equal(account(f, 1).kept_bytes, 0);
    assert_int_equal(account(f, 0).returned_bytes, 2 * PAGE);
    assert_int_equal(account(f, 1).returned_bytes, 3 * PAGE);
    assert_int_equal(status(f).gone_bytes, 5 * PAGE);
    assert_int_equal(byte_at(f, 1029ull * PAGE), 0xa5); /* a neighbour stays */
    assert_int_equal(byte_at(f, 1030ull * PAGE), 0);

    /* That look took memory: the account says so at once. */
    assert_int_equal(account(f, 1).ballooned_bytes + account(f, 1).kept_bytes, 3 * PAGE);
    tell(f, BALLOON_DEFLATE, pfns, 5);
    assert_int_equal(account(f, 0).ballooned_bytes, 0);
    assert_int_equal(account(f, 1).ballooned_bytes + account(f, 1).kept_bytes, 0);
}

static void saying_it_twice_counts_once(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { 600, 600, 600, 601, 600 }, others[] = { 602, 602 };

    begin(f, ALL);
    touch(f, 600 * PAGE, 2 * PAGE);
    for (int i = 0; i < 10; i++)
        tell(f, BALLOON_INFLATE, pfns, 5);
    assert_int_equal(account(f, 0).ballooned_bytes, 2 * PAGE);
    assert_int_equal(status(f).gone_bytes, 2 * PAGE);
    tell(f, BALLOON_DEFLATE, others, 2); /* never given */
    tell(f, BALLOON_DEFLATE, pfns, 5);
    tell(f, BALLOON_DEFLATE, pfns, 5);
    assert_int_equal(account(f, 0).ballooned_bytes, 0);
    for (int i = 0; i < 3; i++)
        report(f, 3, NOTHING, 3 * PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 3 * PAGE);
    assert_int_equal(account(f, 1).returned_bytes, 0); /* not by inflating */
}

static void what_is_used_again_is_not_claimed(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfn = 600;

    begin(f, ALL);
    touch(f, NOTHING, 8 * PAGE);
    touch(f, 600 * PAGE, PAGE);
    report(f, 3, NOTHING, 8 * PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 8 * PAGE);
    assert_int_equal(byte_at(f, NOTHING + PAGE), 0);
    touch(f, NOTHING, PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 6 * PAGE);

    tell(f, BALLOON_INFLATE, &pfn, 1);
    touch(f, 600 * PAGE, PAGE); /* without a word */
    assert_int_equal(account(f, 0).ballooned_bytes, 0);
    assert_int_equal(account(f, 0).kept_bytes, PAGE);
}

static void pages_in_use_stay(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfn = 600;
    struct mem_lease lease;

    begin(f, ALL);
    touch(f, 600 * PAGE, PAGE);
    assert_int_equal(guest_mem_lease_begin(f->fm.mem, (struct gpa){ 600 * PAGE }, 512, LEASE_DMA,
                                           &lease), 0);
    tell(f, BALLOON_INFLATE, &pfn, 1);
    assert_int_equal(account(f, 0).ballooned_bytes, 0);
    assert_int_equal(account(f, 0).kept_bytes, PAGE);
    assert_int_equal(((uint8_t *)lease.ptr)[0], 0xa5);
    guest_mem_lease_end(f->fm.mem, &lease);
    tell(f, BALLOON_INFLATE, &pfn, 1); /* nobody uses it now */
    assert_int_equal(account(f, 0).ballooned_bytes, PAGE);
}

static void what_is_no_memory_is_counted_and_left_alone(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { 0xffffffff, 8 * MIB / PAGE, 600, FAKE_TOP / PAGE, 0x80000000 };
    uint32_t many[300];

    begin(f, ALL);
    touch(f, 600 * PAGE, PAGE);
    tell(f, BALLOON_INFLATE, pfns, 5);
    assert_int_equal(status(f).rejected, 4);
    assert_int_equal(account(f, 0).ballooned_bytes, PAGE);
    for (uint32_t i = 0; i < 300; i++)
        many[i] = 0x90000000 + i;
    tell(f, BALLOON_DEFLATE, many, 300);
    assert_int_equal(status(f).rejected, 304);
    assert_false(f->vdev->broken);
}

static void a_list_may_lie_in_what_it_gives_away(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { FAKE_DATA_BASE / PAGE, FAKE_DATA_BASE / PAGE + 1 };

    begin(f, ALL);
    tell(f, BALLOON_INFLATE, pfns, 2);
    assert_int_equal(account(f, 1).ballooned_bytes, 2 * PAGE);
}

static void rings_that_make_no_sense_break_the_device(void **state)
{
    struct fixture *f = *state;
    struct fake_buf long_list = { FAKE_DATA_BASE, BALLOON_REQUEST_PAGES * 4 + 4 };

    begin(f, ALL);
    fake_queue_add(&f->fd.q[BALLOON_INFLATE], &long_list, 1, 0);
    fake_dev_kick(&f->fd, BALLOON_INFLATE);
    assert_true(f->vdev->broken);
    assert_int_equal(f->fd.config_interrupts, 1);
}

static void both_ways_to_number_queues_are_understood(void **state)
{
    struct fixture *f = *state;

    begin(f, ALL);
    touch(f, NOTHING, 4 * PAGE);
    report(f, 3, NOTHING, 2 * PAGE);
    report(f, 4, NOTHING + 2 * PAGE, 2 * PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 4 * PAGE);
}

static void without_statistics_queue_2_takes_reports(void **state)
{
    struct fixture *f = *state;

    begin(f, 1ull << VIRTIO_BALLOON_F_REPORTING);
    report(f, 2, NOTHING, 2 * PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 2 * PAGE);
}

static void set_poison(struct fixture *f, uint32_t value)
{
    f->vdev->ops->config_write(f->vdev, offsetof(struct virtio_balloon_config, poison_val), &value,
                               sizeof(value));
}

static void poisoned_pages_are_not_zeroed(void **state)
{
    struct fixture *f = *state;

    begin(f, ALL | 1ull << VIRTIO_BALLOON_F_PAGE_POISON);
    touch(f, NOTHING, 4 * PAGE);
    set_poison(f, 0xa5a5a5a5);
    report(f, 3, NOTHING, 4 * PAGE);
    assert_int_equal(byte_at(f, NOTHING), 0xa5);
    assert_int_equal(account(f, 1).reported_bytes, 0);
    set_poison(f, 0);
    report(f, 3, NOTHING, 4 * PAGE);
    assert_int_equal(account(f, 1).reported_bytes, 4 * PAGE);
}

static void the_driver_hears_of_a_target(void **state)
{
    struct fixture *f = *state;
    struct virtio_balloon_config config = { 0 };
    const uint32_t actual = 77;
    struct errctx ec = { 0 };

    begin(f, ALL);
    assert_int_equal(balloon_set_target(f->vdev, 1 * MIB + 5, NULL), 0);
    assert_int_equal(f->fd.config_interrupts, 1);
    f->vdev->ops->config_read(f->vdev, 0, &config, sizeof(config));
    assert_int_equal(config.num_pages, 256);
    f->vdev->ops->config_write(f->vdev, 0, &actual, 4); /* not the driver's to write */
    f->vdev->ops->config_write(f->vdev, 4, &actual, 4);
    f->vdev->ops->config_read(f->vdev, 0, &config, sizeof(config));
    assert_int_equal(config.num_pages, 256);
    assert_int_equal(config.actual, 77);
    assert_int_equal(status(f).told_bytes, 77 * PAGE);
    assert_int_equal(balloon_set_target(f->vdev, 13 * MIB, &ec), -ERANGE);
    assert_string_equal(ec.msg, "target: the guest has 12 MiB of memory");
    assert_int_equal(status(f).target_bytes, 1 * MIB);

    fake_dev_quiesce(&f->fd); /* no interrupt meanwhile, one afterwards */
    assert_int_equal(balloon_set_target(f->vdev, 2 * MIB, NULL), 0);
    assert_int_equal(f->fd.config_interrupts, 1);
    fake_dev_resume(&f->fd);
    assert_int_equal(f->fd.config_interrupts, 2);
}

static void offer_stats(struct fixture *f, uint64_t addr, uint16_t tag, uint64_t value)
{
    struct fake_buf buf = { addr, 30 };
    uint8_t *p = fake_ptr(f->fm.mem, addr, 30);
    const uint16_t unknown = 999;
    const uint64_t nine = 9;

    memcpy(p, &unknown, 2);
    memcpy(p + 2, &nine, 8);
    memcpy(p + 10, &tag, 2);
    memcpy(p + 12, &value, 8);
    memcpy(p + 20, &unknown, 2);
    fake_queue_add(&f->fd.q[BALLOON_STATS_QUEUE], &buf, 1, 0);
    fake_dev_kick(&f->fd, BALLOON_STATS_QUEUE);
}

static void statistics_come_when_they_are_asked_for(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    begin(f, ALL);
    balloon_ask_stats(f->vdev); /* nothing there yet: nothing happens */
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 12345);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    assert_false(fake_queue_used(&f->fd.q[BALLOON_STATS_QUEUE], &head, &len));
    assert_int_equal(status(f).stats_count, 1);
    assert_int_equal(status(f).stats_there, 1u << VIRTIO_BALLOON_S_MEMFREE);
    assert_int_equal(status(f).stats[VIRTIO_BALLOON_S_MEMFREE], 12345);
    assert_string_equal(balloon_stat_name(VIRTIO_BALLOON_S_MEMFREE), "free");
    assert_null(balloon_stat_name(BALLOON_STATS));

    fake_dev_quiesce(&f->fd);
    balloon_ask_stats(f->vdev); /* not while paused */
    assert_false(fake_queue_used(&f->fd.q[BALLOON_STATS_QUEUE], &head, &len));
    fake_dev_resume(&f->fd);
    balloon_ask_stats(f->vdev);
    assert_true(fake_queue_used(&f->fd.q[BALLOON_STATS_QUEUE], &head, &len));
    assert_int_equal(f->fd.queue_interrupts[BALLOON_STATS_QUEUE], 1);

    /* Two buffers at once: the first one goes back. */
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 1);
    offer_stats(f, FAKE_DATA_BASE + 100, VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX);
    assert_true(fake_queue_used(&f->fd.q[BALLOON_STATS_QUEUE], &head, &len));
    assert_false(fake_queue_used(&f->fd.q[BALLOON_STATS_QUEUE], &head, &len));
    assert_int_equal(status(f).stats_there, 1u << VIRTIO_BALLOON_S_MEMTOT);
}

static void statistics_come_by_interval(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    begin(f, ALL);
    fake_dev_quiesce(&f->fd);
    container_of(f->vdev, struct balloon, vdev)->stats_ns = 1000000;
    fake_dev_resume(&f->fd);
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 1);
    assert_true(fake_dev_wait_used(&f->fd, BALLOON_STATS_QUEUE, &head, &len, 10000));
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 2);
    assert_true(fake_dev_wait_used(&f->fd, BALLOON_STATS_QUEUE, &head, &len, 10000));
    fake_dev_quiesce(&f->fd);
}

static void do_reset(void *ctx)
{
    struct fixture *f = ctx;

    f->vdev->ops->reset(f->vdev);
}

static void after_a_reset_nothing_is_ballooned(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { 600, 601, 0xffffffff };

    begin(f, ALL);
    assert_int_equal(balloon_set_target(f->vdev, MIB, NULL), 0);
    tell(f, BALLOON_INFLATE, pfns, 3);
    report(f, 3, NOTHING, PAGE);
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 1);
    fake_dev_quiesce(&f->fd);
    evloop_call(f->fl.loop, do_reset, f);
    assert_int_equal(account(f, 0).ballooned_bytes, 0);
    assert_int_equal(account(f, 1).reported_bytes, 0);
    assert_int_equal(status(f).rejected, 0);
    assert_int_equal(status(f).stats_count, 0);
    assert_false(status(f).driver);
    assert_int_equal(status(f).target_bytes, MIB); /* the host's wish */
    fake_dev_resume(&f->fd);
    assert_int_equal(fake_dev_start(&f->fd), 0);
    tell(f, BALLOON_INFLATE, pfns, 1);
    assert_int_equal(account(f, 0).ballooned_bytes, PAGE);
}

static void state_is_saved_and_checked(void **state)
{
    struct fixture *f = *state;
    const uint32_t pfns[] = { 600, 601, FAKE_DATA_BASE / PAGE + 9 };
    struct balloon_node nodes[2];
    struct snapshot_writer w = { 0 };
    struct snapshot_reader r;
    struct virtio_dev *other;

    begin(f, ALL);
    assert_int_equal(balloon_set_target(f->vdev, MIB, NULL), 0);
    tell(f, BALLOON_INFLATE, pfns, 3);
    offer_stats(f, FAKE_DATA_BASE, VIRTIO_BALLOON_S_MEMFREE, 5);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(f->vdev->ops->save(f->vdev, &w, NULL), 0);

    other = make_balloon(f);
    for (size_t cut = 0; cut < w.len; cut++) {
        r = (struct snapshot_reader){ .buf = w.buf, .len = cut };
        assert_int_equal(other->ops->load(other, &r, 1, NULL), -EINVAL);
    }
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(other->ops->load(other, &r, 1, NULL), 0);
    assert_int_equal(r.pos, w.len);
    assert_int_equal(balloon_account(other, nodes, 2), 0);
    assert_int_equal(nodes[0].ballooned_bytes, 2 * PAGE);
    assert_int_equal(nodes[1].ballooned_bytes, PAGE);

    w.buf[w.len - 16] = 0xff; /* the last word's number: there is none */
    w.buf[w.len - 15] = 0xff;
    r = (struct snapshot_reader){ .buf = w.buf, .len = w.len };
    assert_int_equal(other->ops->load(other, &r, 1, NULL), -EINVAL);
    evloop_call(f->fl.loop, do_destroy, other);
    snapshot_writer_fini(&w);
}

static void sets_know_their_pages(void **state)
{
    struct layout_range ranges[] = { { { 0 }, 100 * PAGE, { 0 }, LAYOUT_RAM, 0 },
                                     { { 1 * MIB }, 64 * PAGE, { 1 }, LAYOUT_HOTPLUG, 0 },
                                     { { 2 * MIB }, 300 * PAGE, { 1 }, LAYOUT_RAM, 0 } };
    const struct mem_layout layout = { .ranges = ranges, .n_ranges = 3 };
    struct page_map map;
    struct page_set set;

    (void)state;
    assert_int_equal(page_map_init(&layout, &map), 0);
    assert_int_equal(page_set_init(&map, &set), 0);
    assert_int_equal(map.n_ranges, 3);
    assert_true(map.ranges[1].window);
    assert_null(page_map_find(&map, 100 * PAGE));
    assert_null(page_map_find(&map, 1 * MIB - PAGE));
    assert_int_equal(page_map_number(page_map_find(&map, 99 * PAGE), 99 * PAGE), 99);
    assert_int_equal(page_map_number(page_map_find(&map, 2 * MIB + PAGE), 2 * MIB + PAGE), 193);
    for (uint64_t i = 130; i < 330; i++) {
        assert_false(page_set_has_all(&set, 130, 200));
        page_set_add(&set, i);
    }
    assert_true(page_set_has_all(&set, 130, 200));
    assert_false(page_set_has_all(&set, 129, 200));
    assert_false(page_set_has_all(&set, 131, 200));
    page_set_del(&set, 192);
    assert_false(page_set_has_all(&set, 130, 200));
    page_set_clear(&set);
    assert_false(page_set_has(&set, 131));
    page_set_fini(&set);
    page_map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(inflated_pages_leave_the_host),
        T(saying_it_twice_counts_once),
        T(what_is_used_again_is_not_claimed),
        T(pages_in_use_stay),
        T(what_is_no_memory_is_counted_and_left_alone),
        T(a_list_may_lie_in_what_it_gives_away),
        T(rings_that_make_no_sense_break_the_device),
        T(both_ways_to_number_queues_are_understood),
        T(without_statistics_queue_2_takes_reports),
        T(poisoned_pages_are_not_zeroed),
        T(the_driver_hears_of_a_target),
        T(statistics_come_when_they_are_asked_for),
        T(statistics_come_by_interval),
        T(after_a_reset_nothing_is_ballooned),
        T(state_is_saved_and_checked),
#undef T
        cmocka_unit_test(sets_know_their_pages),
    };

    return cmocka_run_group_tests_name("devices/virtio/balloon", tests, NULL, NULL);
}
