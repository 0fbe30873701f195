/* SPDX-License-Identifier: Apache-2.0 */
/* Split rings from the device's side: well-built ones, and everything a guest can do to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/virtio/test/fake_driver.h"

struct fixture {
    struct fake_mem fm;
    struct fake_queue q;
    struct virtqueue vq;
    struct virtq_chain chain;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_mem_init(&f->fm);
    fake_queue_init(&f->q, f->fm.mem, FAKE_RING_BASE, 8);
    fake_queue_attach(&f->q, &f->vq, 0, false);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    virtq_chain_fini(f->fm.mem, &f->chain);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    fake_mem_fini(&f->fm);
    free(f);
    return 0;
}

static void expect_refused(struct fixture *f)
{
    uint16_t next = f->vq.next_avail;

    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), -EPROTO);
    assert_int_equal(f->vq.next_avail, next);
    assert_int_equal(f->chain.n_read + f->chain.n_write, 0);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
}

static void empty_ring_pops_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 0);
    f->vq.enabled = false;
    fake_queue_add(&f->q, &(struct fake_buf){ FAKE_DATA_BASE, 1 }, 1, 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 0);
}

static void chain_carries_data_both_ways(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[] = { { FAKE_DATA_BASE, 3 },
                               { FAKE_DATA_BASE + 100, 5 },
                               { FAKE_DATA_BASE + 200, 4 },
                               { FAKE_DATA_BASE + 300, 4 } };
    uint8_t *data = fake_ptr(f->fm.mem, FAKE_DATA_BASE, 400);
    uint32_t head, len;
    char buf[16] = { 0 };

    memcpy(data, "abc", 3);
    memcpy(data + 100, "defgh", 5);
    f->q.next_desc = 6; /* the chain wraps round the table */
    fake_queue_add(&f->q, bufs, 2, 2);

    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.n_read, 2);
    assert_int_equal(f->chain.n_write, 2);
    assert_int_equal(f->chain.read_bytes, 8);
    assert_int_equal(f->chain.write_bytes, 8);
    assert_int_equal(f->chain.head, 6);
    assert_int_equal(guest_mem_leases(f->fm.mem), 4);
    assert_int_equal(virtq_chain_read(&f->chain, 0, buf, sizeof(buf)), 8);
    assert_string_equal(buf, "abcdefgh");
    assert_int_equal(virtq_chain_read(&f->chain, 2, buf, 3), 3);
    assert_memory_equal(buf, "cde", 3);
    assert_int_equal(virtq_chain_read(&f->chain, 8, buf, 3), 0);
    assert_int_equal(virtq_chain_write(&f->chain, 0, "12345678rest", 12), 8);
    assert_int_equal(virtq_chain_write(&f->chain, 3, "xy", 2), 2);
    assert_memory_equal(data + 200, "123x", 4);
    assert_memory_equal(data + 300, "y678", 4);

    assert_false(fake_queue_used(&f->q, &head, &len));
    assert_int_equal(virtqueue_push(&f->vq, &f->chain, 8), 0);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    assert_true(fake_queue_used(&f->q, &head, &len));
    assert_int_equal(head, 6);
    assert_int_equal(len, 8);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 0);
}

static void indices_wrap_at_65536(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 16 };
    uint32_t head, len;

    f->q.avail_idx = f->q.used_idx = 65533;
    f->vq.next_avail = f->vq.next_used = 65533;
    f->q.used->idx = f->q.avail->idx = 65533;
    for (int i = 0; i < 20; i++) {
        uint16_t offered = fake_queue_add(&f->q, &buf, 0, 1);

        assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
        assert_int_equal(virtqueue_push(&f->vq, &f->chain, (uint32_t)i), 0);
        assert_true(fake_queue_used(&f->q, &head, &len));
        assert_int_equal(head, offered);
        assert_int_equal(len, i);
    }
}

static void unpop_gives_the_same_chain_again(void **state)
{
    struct fixture *f = *state;

    fake_queue_add(&f->q, &(struct fake_buf){ FAKE_DATA_BASE, 7 }, 1, 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    virtqueue_unpop(&f->vq, &f->chain);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.read_bytes, 7);
}

static void buffer_across_two_nodes_becomes_two_segments(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_NODE0_LEN - 4096, 12288 };

    fake_queue_add(&f->q, &buf, 0, 1);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_DMA, &f->chain), 1);
    assert_int_equal(f->chain.n_write, 2);
    assert_int_equal(f->chain.iov[0].iov_len, 4096);
    assert_int_equal(f->chain.iov[1].iov_len, 8192);
    assert_ptr_equal(f->chain.iov[1].iov_base, fake_ptr(f->fm.mem, FAKE_NODE0_LEN, 8192));
}

static void buffers_outside_ram_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct fake_buf bad[] = {
        { FAKE_HOLE, 1 },           { FAKE_HOLE - 1, 2 },      { FAKE_TOP - 1, 2 },
        { FAKE_HIGH - 1, 2 },       { UINT64_MAX, 2 },         { UINT64_MAX - 1, UINT32_MAX },
        { FAKE_NODE0_LEN - 1, UINT32_MAX }, { 1ull << 63, 4096 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fake_queue_init(&f->q, f->fm.mem, FAKE_RING_BASE, 8);
        fake_queue_add(&f->q, &bad[i], i & 1, !(i & 1));
        expect_refused(f);
    }
}

static void chain_of_four_gibibytes_is_refused(void **state)
{
    struct fixture *f = *state;
    /* Each piece is RAM, the sum would not fit the used length. */
    struct vring_desc *table = fake_ptr(f->fm.mem, FAKE_DATA_BASE, 1024 * sizeof(*table));

    for (unsigned i = 0; i < 1024; i++)
        table[i] = (struct vring_desc){ .addr = 4 * MIB,
                                        .len = 4 * MIB,
                                        .flags = VRING_DESC_F_NEXT,
                                        .next = (uint16_t)(i + 1) };
    table[1023].flags = 0;
    fake_queue_desc(&f->q, 0, FAKE_DATA_BASE, 1024 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
    fake_queue_offer(&f->q, 0);
    expect_refused(f); /* 1024 * 4 MiB == 2^32 */
}

static void loop_is_found(void **state)
{
    struct fixture *f = *state;

    fake_queue_desc(&f->q, 0, FAKE_DATA_BASE, 1, VRING_DESC_F_NEXT, 1);
    fake_queue_desc(&f->q, 1, FAKE_DATA_BASE, 1, VRING_DESC_F_NEXT, 0);
    fake_queue_offer(&f->q, 0);
    expect_refused(f);
    fake_queue_desc(&f->q, 0, FAKE_DATA_BASE, 0, VRING_DESC_F_NEXT, 0); /* of nothing at all */
    expect_refused(f);
}

static void chain_as_long_as_the_queue_is_taken(void **state)
{
    struct fixture *f = *state;
    struct fake_buf bufs[8];

    for (unsigned i = 0; i < 8; i++)
        bufs[i] = (struct fake_buf){ FAKE_DATA_BASE + i, 1 };
    fake_queue_add(&f->q, bufs, 8, 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.n_read, 8);
}

static void bad_indices_are_refused(void **state)
{
    struct fixture *f = *state;

    fake_queue_offer(&f->q, 8); /* head outside the table */
    expect_refused(f);
    f->q.avail->idx = 9; /* more than the ring holds */
    expect_refused(f);
    assert_int_equal(virtqueue_set_notify(&f->vq, true), -EPROTO);
    f->q.avail->idx = 65535;
    expect_refused(f);

    fake_queue_init(&f->q, f->fm.mem, FAKE_RING_BASE, 8);
    fake_queue_desc(&f->q, 0, FAKE_DATA_BASE, 1, VRING_DESC_F_NEXT, 8);
    fake_queue_offer(&f->q, 0);
    expect_refused(f);
}

static void readable_after_writable_is_refused(void **state)
{
    struct fixture *f = *state;

    fake_queue_desc(&f->q, 0, FAKE_DATA_BASE, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    fake_queue_desc(&f->q, 1, FAKE_DATA_BASE, 1, 0, 0);
    fake_queue_offer(&f->q, 0);
    expect_refused(f);
}

static void indirect_table_is_followed(void **state)
{
    struct fixture *f = *state;
    struct vring_desc *table = fake_ptr(f->fm.mem, FAKE_DATA_BASE, 40 * sizeof(*table));

    for (unsigned i = 0; i < 40; i++)
        table[i] = (struct vring_desc){ .addr = FAKE_DATA_BASE + 4096 + i,
                                        .len = 1,
                                        .flags = VRING_DESC_F_NEXT,
                                        .next = (uint16_t)(i + 1) };
    table[39].flags = VRING_DESC_F_WRITE;
    fake_queue_desc(&f->q, 3, FAKE_DATA_BASE + 8192, 4, VRING_DESC_F_NEXT, 4);
    fake_queue_desc(&f->q, 4, FAKE_DATA_BASE, 40 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
    fake_queue_offer(&f->q, 3);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.n_read, 40); /* longer than the queue: drivers do that */
    assert_int_equal(f->chain.n_write, 1);
    assert_int_equal(f->chain.read_bytes, 43);
}

static void indirect_table_across_two_nodes_is_followed(void **state)
{
    struct fixture *f = *state;
    uint64_t at = FAKE_NODE0_LEN - sizeof(struct vring_desc) - 8; /* not even aligned */
    struct vring_desc table[2] = {
        { .addr = FAKE_DATA_BASE, .len = 1, .flags = VRING_DESC_F_NEXT, .next = 1 },
        { .addr = FAKE_DATA_BASE, .len = 2 },
    };

    assert_int_equal(guest_mem_write(f->fm.mem, (struct gpa){ at }, table, sizeof(table)), 0);
    fake_queue_desc(&f->q, 0, at, sizeof(table), VRING_DESC_F_INDIRECT, 0);
    fake_queue_offer(&f->q, 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.read_bytes, 3);
}

static void bad_indirect_tables_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags;
        struct vring_desc first;
    } bad[] = {
        { FAKE_DATA_BASE, 17, 0, { .len = 1 } },                       /* not whole entries */
        { FAKE_DATA_BASE, 0, 0, { .len = 1 } },                        /* empty */
        { FAKE_DATA_BASE, 1025 * 16, 0, { .addr = 0, .len = 1 } },     /* too long */
        { FAKE_DATA_BASE, 0xfffffff0, 0, { .len = 1 } },               /* much too long */
        { FAKE_DATA_BASE, 16, VRING_DESC_F_NEXT, { .len = 1 } },       /* both flags */
        { FAKE_HOLE, 16, 0, { .len = 0 } },                            /* not RAM */
        { UINT64_MAX - 7, 32, 0, { .len = 0 } },                       /* wraps */
        { FAKE_DATA_BASE, 16, 0, { .len = 1, .flags = VRING_DESC_F_NEXT } },     /* loop */
        { FAKE_DATA_BASE, 16, 0, { .len = 16, .flags = VRING_DESC_F_INDIRECT,
                                   .addr = FAKE_DATA_BASE } },         /* nested */
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vring_desc *table = fake_ptr(f->fm.mem, FAKE_DATA_BASE, sizeof(*table));

        *table = bad[i].first;
        fake_queue_init(&f->q, f->fm.mem, FAKE_RING_BASE, 8);
        fake_queue_desc(&f->q, 0, bad[i].addr, bad[i].len,
                        bad[i].flags | VRING_DESC_F_INDIRECT, 0);
        fake_queue_offer(&f->q, 0);
        expect_refused(f);
    }
}

static void areas_are_checked_before_use(void **state)
{
    struct fixture *f = *state;
    struct virtqueue good = f->vq;

    assert_int_equal(virtqueue_check(&f->vq), 0);
#define REFUSED(change)                                    \
    do {                                                   \
        f->vq = good;                                      \
        change;                                            \
        assert_int_equal(virtqueue_check(&f->vq), -EPROTO); \
    } while (0)
    REFUSED(f->vq.size = 0);
    REFUSED(f->vq.size = 6);
    REFUSED(f->vq.desc.v += 8);
    REFUSED(f->vq.avail.v += 1);
    REFUSED(f->vq.used.v += 2);
    REFUSED(f->vq.desc.v = FAKE_HOLE);
    REFUSED(f->vq.avail.v = FAKE_HOLE - 2);
    REFUSED(f->vq.used.v = FAKE_TOP - 8);
    REFUSED(f->vq.desc.v = UINT64_MAX & ~15ull);
    REFUSED((f->vq.size = 32768, f->vq.desc.v = FAKE_TOP - 4096));
#undef REFUSED
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
}

static void rings_in_a_hole_are_reported(void **state)
{
    struct fixture *f = *state;
    struct virtqueue good = f->vq;

    fake_queue_add(&f->q, &(struct fake_buf){ FAKE_DATA_BASE, 1 }, 1, 0);
    f->vq.avail.v = FAKE_HOLE;
    expect_refused(f);
    f->vq.next_used = 1;
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), -EPROTO);
    f->vq = good;
    f->vq.desc.v = FAKE_HOLE;
    expect_refused(f);
    f->vq = good;
    f->vq.used.v = FAKE_HOLE;
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), -EPROTO);
    assert_int_equal(f->vq.next_used, 0);
    assert_int_equal(virtqueue_set_notify(&f->vq, true), -EPROTO);
}

static void flags_suppress_doorbells_and_interrupts(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(virtqueue_set_notify(&f->vq, false), 0);
    assert_int_equal(f->q.used->flags, VRING_USED_F_NO_NOTIFY);
    fake_queue_add(&f->q, &(struct fake_buf){ FAKE_DATA_BASE, 1 }, 1, 0);
    assert_int_equal(virtqueue_set_notify(&f->vq, true), 1); /* it came in between */
    assert_int_equal(f->q.used->flags, 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(virtqueue_set_notify(&f->vq, true), 0);

    assert_int_equal(virtqueue_push(&f->vq, &f->chain, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 1);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 0); /* nothing new */
    f->q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 0);
}

static void event_index_suppresses_doorbells_and_interrupts(void **state)
{
    struct fixture *f = *state;
    __virtio16 *used_event = &f->q.avail->ring[8];
    __virtio16 *avail_event = (__virtio16 *)(void *)&f->q.used->ring[8];

    f->vq.event_idx = true;
    f->vq.next_avail = f->q.avail_idx = 5;
    f->q.avail->idx = 5;
    assert_int_equal(virtqueue_set_notify(&f->vq, true), 0);
    assert_int_equal(*avail_event, 5);
    assert_int_equal(virtqueue_set_notify(&f->vq, false), 0);
    assert_int_equal(f->q.used->flags, 0);

    *used_event = 2; /* tell me when entry 2 is used, that is at index 3 */
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 1); /* first decision: always */
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 0);
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 1); /* a batch jumped over it */
    assert_int_equal(virtqueue_push_head(&f->vq, 0, 0), 0);
    assert_int_equal(virtqueue_needs_interrupt(&f->vq), 0);
}

/* Does the driver ring after it added one chain? */
static bool would_ring(struct fixture *f)
{
    __virtio16 *avail_event = (__virtio16 *)(void *)&f->q.used->ring[8];

    if (!f->vq.event_idx)
        return !(f->q.used->flags & VRING_USED_F_NO_NOTIFY);
    return vring_need_event(*avail_event, f->q.avail_idx, (uint16_t)(f->q.avail_idx - 1));
}

static void polling_takes_the_place_of_doorbells(void **state)
{
    struct fixture *f = *state;
    struct fake_buf buf = { FAKE_DATA_BASE, 1 };

    for (int event_idx = 0; event_idx < 2; event_idx++) {
        f->vq.event_idx = event_idx;
        assert_int_equal(virtqueue_set_notify(&f->vq, false), 0);
        assert_int_equal(virtqueue_poll(&f->vq), 0);
        fake_queue_add(&f->q, &buf, 1, 0);
        assert_int_equal(virtqueue_poll(&f->vq), 0); /* the device does not want to hear of it */
        assert_int_equal(virtqueue_poll_end(&f->vq), 0);
        assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
        assert_int_equal(virtqueue_push(&f->vq, &f->chain, 0), 0);

        assert_int_equal(virtqueue_set_notify(&f->vq, true), 0);
        fake_queue_add(&f->q, &buf, 1, 0);
        assert_true(would_ring(f));
        assert_int_equal(virtqueue_poll(&f->vq), 1); /* it came before doorbells were off */
        assert_int_equal(virtqueue_poll(&f->vq), 0); /* once */
        fake_queue_add(&f->q, &buf, 1, 0);
        assert_false(would_ring(f));
        assert_int_equal(virtqueue_poll(&f->vq), 1);
        fake_queue_add(&f->q, &buf, 1, 0);
        assert_int_equal(virtqueue_poll_end(&f->vq), 1); /* between the last look and the end */
        assert_int_equal(virtqueue_poll_end(&f->vq), 0);
        assert_int_equal(virtqueue_poll(&f->vq), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
            assert_int_equal(virtqueue_push(&f->vq, &f->chain, 0), 0);
        }
        assert_int_equal(virtqueue_poll_end(&f->vq), 0);
        fake_queue_add(&f->q, &buf, 1, 0);
        assert_true(would_ring(f));
        assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
        assert_int_equal(virtqueue_push(&f->vq, &f->chain, 0), 0);
    }
}

static void polling_a_bad_ring_is_refused(void **state)
{
    struct fixture *f = *state;
    struct virtqueue good;

    assert_int_equal(virtqueue_set_notify(&f->vq, true), 0);
    good = f->vq;
    f->q.avail->idx = 9; /* of 8 */
    assert_int_equal(virtqueue_poll(&f->vq), -EPROTO);
    assert_int_equal(virtqueue_poll_end(&f->vq), -EPROTO);
    f->vq = good;
    f->vq.used.v = FAKE_HOLE;
    assert_int_equal(virtqueue_poll(&f->vq), -EPROTO);
    f->vq = good;
    f->vq.avail.v = FAKE_HOLE;
    assert_int_equal(virtqueue_poll(&f->vq), -EPROTO);
    f->vq = good;
    f->vq.enabled = false;
    assert_int_equal(virtqueue_poll(&f->vq), 0);
}

/* A driver thread against the device: nothing is lost, nothing hangs, data arrives. */
enum { STRESS_REQUESTS = 20000 };

static void *stress_driver(void *arg)
{
    struct fixture *f = arg;
    uint32_t head, len, offered = 0, done = 0;

    while (done < STRESS_REQUESTS) {
        while (offered < STRESS_REQUESTS && offered - done < f->q.size) {
            struct fake_buf buf = { FAKE_DATA_BASE + 64 * (offered % f->q.size), 4 };

            *(uint32_t *)fake_ptr(f->fm.mem, buf.addr, 4) = offered++;
            fake_queue_add(&f->q, &buf, 1, 0);
        }
        while (fake_queue_used(&f->q, &head, &len)) {
            if (len != done % 1000)
                return arg; /* wrong length */
            done++;
        }
    }
    return NULL;
}

static void driver_and_device_agree_under_stress(void **state)
{
    struct fixture *f = *state;
    pthread_t driver;
    void *failure;

    assert_int_equal(pthread_create(&driver, NULL, stress_driver, f), 0);
    for (uint32_t i = 0; i < STRESS_REQUESTS;) {
        uint32_t v;
        int r = virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain);

        assert_true(r >= 0);
        if (r == 0)
            continue;
        assert_int_equal(virtq_chain_read(&f->chain, 0, &v, sizeof(v)), 4);
        assert_int_equal(v, i);
        assert_int_equal(virtqueue_push(&f->vq, &f->chain, i % 1000), 0);
        i++;
    }
    assert_int_equal(pthread_join(driver, &failure), 0);
    assert_null(failure);
}

static void pushed_together_chains_appear_in_order(void **state)
{
    struct virtq_used used[3] = { { 4, 40 }, { 0, 0 }, { 6, 60 } };
    struct fixture *f = *state;
    uint32_t head, len;

    f->vq.next_used = f->q.used_idx = 6; /* runs over the end of the ring of 8 */
    f->q.used->idx = 6;
    assert_int_equal(virtqueue_push_many(&f->vq, used, 3), 0);
    assert_int_equal(f->q.used->idx, 9);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(fake_queue_used(&f->q, &head, &len));
        assert_int_equal(head, used[i].head);
        assert_int_equal(len, used[i].written);
    }
    assert_false(fake_queue_used(&f->q, &head, &len));
}

static void ring_served_elsewhere_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    const struct fake_buf buf = { FAKE_DATA_BASE, 1 };
    uint16_t asked = 7, answered = 7;

    for (unsigned i = 0; i < 3; i++)
        fake_queue_add(&f->q, &buf, 1, 0);
    f->q.used->idx = 2; /* somebody took all three, and gave two back */
    assert_int_equal(virtqueue_indices(&f->vq, &asked, &answered), 0);
    assert_int_equal(asked, 3);
    assert_int_equal(answered, 2);
    assert_int_equal(virtqueue_take_over(&f->vq, 2), 0);
    assert_int_equal(virtqueue_pop(&f->vq, LEASE_WRITE, &f->chain), 1);
    assert_int_equal(f->chain.head, 2);
    assert_int_equal(virtqueue_push(&f->vq, &f->chain, 0), 0);
    assert_int_equal(f->q.used->idx, 3);
    assert_int_equal(f->q.used->ring[2].id, 2);
    f->vq.used.v = FAKE_HOLE;
    assert_int_equal(virtqueue_indices(&f->vq, &asked, &answered), -EPROTO);
    assert_int_equal(virtqueue_take_over(&f->vq, 3), -EPROTO);
    assert_int_equal(asked + answered, 5);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(empty_ring_pops_nothing),
        T(chain_carries_data_both_ways),
        T(indices_wrap_at_65536),
        T(unpop_gives_the_same_chain_again),
        T(buffer_across_two_nodes_becomes_two_segments),
        T(buffers_outside_ram_are_refused),
        T(chain_of_four_gibibytes_is_refused),
        T(polling_takes_the_place_of_doorbells),
        T(polling_a_bad_ring_is_refused),
        T(loop_is_found),
        T(chain_as_long_as_the_queue_is_taken),
        T(bad_indices_are_refused),
        T(readable_after_writable_is_refused),
        T(indirect_table_is_followed),
        T(indirect_table_across_two_nodes_is_followed),
        T(bad_indirect_tables_are_refused),
        T(pushed_together_chains_appear_in_order),
        T(ring_served_elsewhere_is_gone_on_with),
        T(areas_are_checked_before_use),
        T(rings_in_a_hole_are_reported),
        T(flags_suppress_doorbells_and_interrupts),
        T(event_index_suppresses_doorbells_and_interrupts),
        T(driver_and_device_agree_under_stress),
#undef T
    };
    return cmocka_run_group_tests_name("devices/virtio/virtqueue", tests, NULL, NULL);
}
