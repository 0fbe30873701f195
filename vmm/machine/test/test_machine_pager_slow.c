/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that waits for a page which a slow disk has: who asks the machine something is answered
 * meanwhile, who pauses or stops it waits for the page. On this machine's kernel, but for the disk.
 */
// LDFLAGS: -Wl,--wrap=swap_ring_new,--wrap=swap_ring_free,--wrap=swap_ring_buffer
// LDFLAGS: -Wl,--wrap=swap_ring_read,--wrap=swap_ring_write
// LDFLAGS: -Wl,--wrap=swap_file_open,--wrap=swap_file_close
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory/pager/pager.h"
#include "memory/pager/uffd.h"
#include "memory/store/test/fake_disk.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_pager_private.h"
#include "vmm/machine/machine_private.h"

enum { SMALL = 4096, NODE_BYTES = 8 * MIB, BLOCKS = 4096 };

int __wrap_swap_file_open(const char *path, struct swap_file *ret_file, struct errctx *ec);
void __wrap_swap_file_close(struct swap_file *file);

int __wrap_swap_file_open(const char *path, struct swap_file *ret_file, struct errctx *ec)
{
    (void)path;
    (void)ec;
    *ret_file = fake_disk_init(BLOCKS);
    return 0;
}

void __wrap_swap_file_close(struct swap_file *file)
{
    (void)file;
}

struct fixture {
    struct plan_ram ram;
    struct mem_layout *layout;
    struct evloop *loop;
    struct evloop_timer *timer;
    struct machine_config config;
    struct machine_threads threads;
    struct machine m;
    pthread_t guest;
    _Atomic bool guest_has_it; /* the page that it waits for */
    _Atomic bool is_still;     /* who waited for the guest to stand still does not any more */
    uint8_t got;
};

/* Run the main loop until the eviction is over. */
static void look(void *ctx)
{
    struct fixture *f = ctx;
    struct vnode_id vnode;

    if (!machine_pager_busy(&f->m, &vnode))
        evloop_stop(f->loop);
    else
        evloop_timer_arm(f->timer, evloop_now_ns() + 1000000);
}

/* Noise, which does not shrink. */
static uint8_t byte_of(size_t at)
{
    return (uint8_t)((at * 0x9e3779b97f4a7c15ull + at / SMALL) >> 40);
}

/* More than the store has room for: the rest is on the disk. */
static void evict_all(struct fixture *f)
{
    uint8_t *host = guest_mem_backing(f->m.mem, 0)->host;

    for (size_t i = 0; i < NODE_BYTES; i++)
        host[i] = byte_of(i);
    assert_int_equal(machine_evict(&f->m, (struct vnode_id){ 0 }, NODE_BYTES, NULL), 0);
    evloop_timer_arm(f->timer, evloop_now_ns());
    assert_int_equal(evloop_run(f->loop, NULL), 0);
    assert_int_equal(guest_mem_resident_bytes(f->m.mem, (struct vnode_id){ 0 }), 0);
    assert_true(atomic_load(&disk.writes) > 0);
}

static struct fixture *begin(void)
{
    static const uint64_t bytes[] = { NODE_BYTES };
    struct fixture *f = calloc(1, sizeof(*f));
    struct errctx ec = { 0 };
    struct machine *m = &f->m;
    int fd = -1, r = uffd_open(&fd, &ec);

    assert_non_null(f);
    if (r == -EPERM || r == -EACCES || r == -ENOSYS || r == -ENOTSUP) {
        print_message("# skip: %s\n", ec.msg);
        free(f);
        skip();
    }
    (void)close(fd);
    f->config.pager = CONFIG_PAGER_ON;
    f->config.pager_store_bytes = 2 * MIB;
    f->config.pager_swap = (char *)(uintptr_t)"a disk";
    plan_ram_init(&f->ram, 1, bytes);
    assert_int_equal(mem_layout_make(&test_map, &f->ram.plan, 40, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->ram.plan, f->layout, &m->mem, NULL), 0);
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(evloop_timer_new(f->loop, look, f, &f->timer, NULL), 0);
    m->plan = &f->ram.plan;
    m->main_loop = f->loop;
    m->config = &f->config;
    m->threads = &f->threads;
    m->pagemap = -1;
    (void)pthread_mutex_init(&m->request_lock, NULL);
    run_gate_init(&m->gate);
    run_gate_set(&m->gate, RUN_STATE_RUN);
    r = machine_make_pager(m, &ec);
    if (r < 0)
        fail_msg("%s", ec.msg);
    assert_int_equal(machine_start_pager(m, NULL), 0);
    evict_all(f);
    return f;
}

static void end(struct fixture *f)
{
    if (f->m.pager != NULL)
        machine_stop_pager(&f->m);
    fake_disk_fini();
    evloop_timer_free(f->timer);
    evloop_free(f->loop);
    guest_mem_free(f->m.mem);
    mem_layout_free(f->layout);
    run_gate_fini(&f->m.gate);
    (void)pthread_mutex_destroy(&f->m.request_lock);
    free(f);
}

/* A vCPU: touches a page, then comes by the gate. */
static void *guest_main(void *arg)
{
    static const atomic_bool present = false;
    struct fixture *f = arg;

    f->got = *(volatile uint8_t *)(guest_mem_backing(f->m.mem, 0)->host + NODE_BYTES / 2 + 5);
    atomic_store(&f->guest_has_it, true);
    (void)run_gate_pass(&f->m.gate, &present);
    run_gate_leave(&f->m.gate);
    return NULL;
}

/* The disk holds the page that the guest wants. */
static void have_guest_wait(struct fixture *f)
{
    atomic_store(&disk.holds_reads, true);
    run_gate_enter(&f->m.gate);
    assert_int_equal(pthread_create(&f->guest, NULL, guest_main, f), 0);
    while (!atomic_load(&disk.is_held))
        (void)sched_yield();
}

static void *wait_until_still(void *arg)
{
    struct fixture *f = arg;

    run_gate_wait_parked(&f->m.gate);
    atomic_store(&f->is_still, true);
    return NULL;
}

static void questions_are_answered_meanwhile(void **state)
{
    struct fixture *f = begin();
    struct pager_counts c;
    json_t *answer;

    (void)state;
    have_guest_wait(f);
    for (int i = 0; i < 3; i++) {
        answer = machine_evict_status(&f->m);
        assert_true(json_integer_value(json_object_get(json_object_get(answer, "pager"), "away")) > 0);
        json_decref(answer);
    }
    assert_true(pager_count(f->m.pager->pager, (struct vnode_id){ 0 }, &c));
    machine_pager_hold(&f->m); /* and who pauses goes as far as it can */
    machine_pager_release(&f->m);
    assert_false(atomic_load(&f->guest_has_it));
    atomic_store(&disk.holds_reads, false);
    run_gate_set(&f->m.gate, RUN_STATE_STOP);
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    assert_int_equal(f->got, byte_of(NODE_BYTES / 2 + 5));
    end(f);
}

static void a_pause_waits_for_the_page(void **state)
{
    struct fixture *f = begin();
    pthread_t pauses;

    (void)state;
    have_guest_wait(f);
    run_gate_set(&f->m.gate, RUN_STATE_PAUSE);
    assert_int_equal(pthread_create(&pauses, NULL, wait_until_still, f), 0);
    (void)usleep(50000);
    assert_false(atomic_load(&f->is_still) || atomic_load(&f->guest_has_it));
    atomic_store(&disk.holds_reads, false);
    assert_int_equal(pthread_join(pauses, NULL), 0);
    assert_true(atomic_load(&f->guest_has_it));
    run_gate_set(&f->m.gate, RUN_STATE_STOP);
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    assert_int_equal(f->got, byte_of(NODE_BYTES / 2 + 5));
    end(f);
}

static void *stop_pager(void *arg)
{
    struct fixture *f = arg;

    machine_stop_pager(&f->m);
    atomic_store(&f->is_still, true);
    return NULL;
}

static void a_stop_waits_for_the_page(void **state)
{
    struct fixture *f = begin();
    pthread_t stops;

    (void)state;
    have_guest_wait(f);
    run_gate_set(&f->m.gate, RUN_STATE_STOP);
    assert_int_equal(pthread_create(&stops, NULL, stop_pager, f), 0);
    (void)usleep(50000);
    assert_false(atomic_load(&f->is_still) || atomic_load(&f->guest_has_it));
    atomic_store(&disk.holds_reads, false);
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    assert_int_equal(pthread_join(stops, NULL), 0);
    assert_int_equal(f->got, byte_of(NODE_BYTES / 2 + 5));
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_answered_meanwhile),
        cmocka_unit_test(a_pause_waits_for_the_page),
        cmocka_unit_test(a_stop_waits_for_the_page),
    };
    return cmocka_run_group_tests_name("vmm/machine/pager slow", tests, NULL, NULL);
}
