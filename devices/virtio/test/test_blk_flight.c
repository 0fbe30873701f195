/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio disk with many requests in flight: data kept apart, no wake-up lost, pause, reset. */
// LDFLAGS: -Wl,--wrap=preadv2,--wrap=pwritev2,--wrap=fdatasync,--wrap=blk_uring_new
#include "devices/virtio/test/blk_rig.h"

enum { SLOT = 8 * KIB /* of requests in flight together: header, status, data */ };

/* The request in slot @i of queue @q: one data buffer of 4 KiB. */
static void offer_slot(struct fixture *f, unsigned q, unsigned i, uint32_t type, uint64_t sector)
{
    uint64_t base = FAKE_DATA_BASE + 64 * KIB + (q * 64 + i) * (uint64_t)SLOT;
    struct fake_buf bufs[] = { { base, 16 }, { base + 4096, 4096 }, { base + 16, 1 } };

    put_header(f, base, type, sector);
    *(uint8_t *)at(f, base + 16) = 0xee;
    fake_queue_add(&f->fd.q[q], bufs, type == VIRTIO_BLK_T_IN ? 1 : 2,
                   type == VIRTIO_BLK_T_IN ? 2 : 1);
}

static uint8_t *slot_data(struct fixture *f, unsigned q, unsigned i)
{
    return at(f, FAKE_DATA_BASE + 64 * KIB + (q * 64 + i) * (uint64_t)SLOT + 4096);
}

static void collect(struct fixture *f, unsigned q, unsigned n)
{
    uint32_t head, len;

    for (unsigned i = 0; i < n; i++)
        assert_true(fake_dev_wait_used(&f->fd, q, &head, &len, WAIT_MS));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(slot_data(f, q, i)[-4096 + 16], VIRTIO_BLK_S_OK);
}

static void many_requests_on_all_queues_keep_their_data(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 12; round++) {
        bool write = round % 2 == 0;

        for (unsigned q = 0; q < 4; q++) {
            for (unsigned i = 0; i < 64; i++) {
                uint64_t sector = ((q * 64 + i) * 5 % 1024) * 8;

                if (write)
                    memset(slot_data(f, q, i), (int)(round * 31 + q * 64 + i), 4096);
                else
                    memset(slot_data(f, q, i), 0xee, 4096);
                offer_slot(f, q, i, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector);
            }
            fake_dev_kick(&f->fd, q);
        }
        for (unsigned q = 0; q < 4; q++)
            collect(f, q, 64);
        for (unsigned q = 0; !write && q < 4; q++)
            for (unsigned i = 0; i < 64; i++) {
                assert_int_equal(slot_data(f, q, i)[0], (uint8_t)((round - 1) * 31 + q * 64 + i));
                assert_int_equal(slot_data(f, q, i)[4095], slot_data(f, q, i)[0]);
            }
    }
    /* Batches are answered with few interrupts. */
    for (unsigned q = 0; q < 4; q++)
        assert_in_range(__atomic_load_n(&f->fd.queue_interrupts[q], __ATOMIC_ACQUIRE), 1, 768);
}

/* Does the driver have to ring after moving the available index from @old? (2.7.10) */
static bool wants_bell(struct fake_queue *q, uint16_t old)
{
    const uint16_t *avail_event = (const uint16_t *)(const void *)&q->used->ring[q->size];

    /* The index must be out before the event is read: a full barrier that ThreadSanitizer, which
     * knows no fences, accepts. */
    (void)__atomic_fetch_add(&q->avail->idx, 0, __ATOMIC_SEQ_CST);
    return vring_need_event(__atomic_load_n(avail_event, __ATOMIC_RELAXED), q->avail_idx, old);
}

static void ring_bell(void *ctx)
{
    struct fixture *f = ctx;

    f->dev->ops->kick(f->dev, 0);
}

/* The driver rings only when it is asked to, beside a device that runs: no wake-up is lost. */
static void a_driver_that_rings_only_when_asked_is_served(void **state)
{
    enum { TOTAL = 20000, DEPTH = 7 };
    struct fixture *f = *state;
    struct fake_queue *q = &f->fd.q[0];
    unsigned offered = 0, done = 0, rung = 0;
    uint32_t head = 0, len = 0;

    while (done < TOTAL) {
        while (offered < TOTAL && offered - done < 1 + offered % DEPTH) {
            uint16_t old = q->avail_idx;

            offer_slot(f, 0, offered % 64, VIRTIO_BLK_T_IN, offered * 8 % 4096);
            offered++;
            if (wants_bell(q, old)) {
                rung++;
                assert_int_equal(evloop_post(f->fl.loop, ring_bell, f), 0);
            }
        }
        assert_true(fake_dev_wait_used(&f->fd, 0, &head, &len, WAIT_MS));
        assert_int_equal(len, 4097);
        done++;
    }
    assert_in_range(rung, 1, TOTAL);
}

static void quiesce_answers_what_is_in_flight_and_resume_goes_on(void **state)
{
    struct fixture *f = *state;
    uint32_t head, len;

    for (unsigned i = 0; i < 64; i++)
        offer_slot(f, 2, i, VIRTIO_BLK_T_OUT, i * 8);
    fake_dev_kick(&f->fd, 2);
    fake_dev_quiesce(&f->fd);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);
    collect(f, 2, 64);

    /* Offered while quiesced: stays in the ring. */
    offer_slot(f, 2, 0, VIRTIO_BLK_T_IN, 0);
    assert_false(fake_dev_wait_used(&f->fd, 2, &head, &len, 20));
    fake_dev_resume(&f->fd);
    collect(f, 2, 1);
}

static void reset_call(void *ctx)
{
    struct fixture *f = ctx;

    f->dev->ops->quiesce(f->dev);
    f->dev->ops->reset(f->dev);
}

static void a_broken_disk_works_again_after_a_reset(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 32; i++)
        offer_slot(f, 0, i, VIRTIO_BLK_T_OUT, i * 8);
    fake_queue_add(&f->fd.q[0], &(struct fake_buf){ HDR, 16 }, 1, 0);
    fake_dev_kick(&f->fd, 0);
    assert_true(f->dev->broken);
    evloop_call(f->fl.loop, reset_call, f);
    assert_int_equal(guest_mem_leases(f->fm.mem), 0);

    f->dev->broken = false;
    for (unsigned q = 0; q < 4; q++) {
        fake_queue_init(&f->fd.q[q], f->fm.mem, FAKE_RING_BASE + q * FAKE_RING_STRIDE, 256);
        fake_queue_attach(&f->fd.q[q], &f->dev->vqs[q], q, false);
    }
    assert_int_equal(fake_dev_start(&f->fd), 0);
    assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(many_requests_on_all_queues_keep_their_data),
        EACH(a_driver_that_rings_only_when_asked_is_served),
        EACH(quiesce_answers_what_is_in_flight_and_resume_goes_on),
        EACH(a_broken_disk_works_again_after_a_reset),
    };

    return cmocka_run_group_tests_name("devices/virtio/blk flight", tests, NULL, NULL);
}
