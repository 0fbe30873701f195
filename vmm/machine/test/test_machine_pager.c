/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that page and the main loop: evict, hold, refuse, reset, an end in the middle. With
 * this machine's kernel; skipped where userfaultfd is not allowed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

enum { SMALL = 4096, NODE_BYTES = 24 * MIB };

struct fixture {
    struct plan_ram ram;
    struct mem_layout *layout;
    struct evloop *loop;
    struct evloop_timer *timer;
    struct machine_config config;
    struct machine_threads threads;
    struct machine m;
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

static void run_until_over(struct fixture *f)
{
    evloop_timer_arm(f->timer, evloop_now_ns());
    assert_int_equal(evloop_run(f->loop, NULL), 0);
}

static json_int_t number(struct fixture *f, const char *of, const char *name)
{
    json_t *status = machine_evict_status(&f->m);
    const json_t *object = of != NULL ? json_object_get(status, of) : status;
    const json_int_t v = json_integer_value(json_object_get(object, name));

    json_decref(status);
    return v;
}

static struct fixture *begin(enum config_pager pager)
{
    static const uint64_t bytes[] = { NODE_BYTES, 0 };
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
    f->config.pager_budget_milli = 1000; /* so that a busy machine finds something soon, too */
    plan_ram_init(&f->ram, 2, bytes);
    assert_int_equal(mem_layout_make(&test_map, &f->ram.plan, 40, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->ram.plan, f->layout, &m->mem, NULL), 0);
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(evloop_timer_new(f->loop, look, f, &f->timer, NULL), 0);
    f->config.pager = pager;
    m->plan = &f->ram.plan;
    m->config = &f->config;
    m->main_loop = f->loop;
    m->threads = &f->threads;
    m->pagemap = -1;
    (void)pthread_mutex_init(&m->request_lock, NULL);
    run_gate_init(&m->gate);
    assert_int_equal(machine_make_pager(m, NULL), 0);
    assert_int_equal(machine_start_pager(m, NULL), 0);
    return f;
}

static void end(struct fixture *f)
{
    machine_stop_pager(&f->m);
    evloop_timer_free(f->timer);
    evloop_free(f->loop);
    guest_mem_free(f->m.mem);
    mem_layout_free(f->layout);
    run_gate_fini(&f->m.gate);
    (void)pthread_mutex_destroy(&f->m.request_lock);
    free(f);
}

static uint8_t *memory_of(const struct fixture *f)
{
    return guest_mem_backing(f->m.mem, 0)->host;
}

static uint64_t resident(const struct fixture *f)
{
    return guest_mem_resident_bytes(f->m.mem, (struct vnode_id){ 0 });
}

static const struct vnode_id node0 = { 0 };

static void what_is_evicted_comes_back(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);

    (void)state;
    memset(memory_of(f), 7, NODE_BYTES);
    assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES / 2, NULL), 0);
    run_until_over(f);
    assert_int_equal(number(f, NULL, "evicted"), NODE_BYTES / 2);
    assert_int_equal(number(f, "pager", "away"), NODE_BYTES / 2);
    assert_int_equal(number(f, "pager", "store_objects"), 1);
    assert_int_equal(resident(f), NODE_BYTES / 2);
    for (size_t i = 0; i < NODE_BYTES; i += SMALL)
        assert_int_equal(memory_of(f)[i], 7);
    assert_int_equal(resident(f), NODE_BYTES);
    end(f);
}

/* With a hold and a release in between: it starts by itself, after each. */
static void what_came_back_becomes_huge_by_itself(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);
    json_int_t before;

    (void)state;
    memset(memory_of(f), 7, NODE_BYTES);
    if (madvise(memory_of(f), BACKING_EXTENT, 25 /* MADV_COLLAPSE */) < 0) {
        print_message("# skip: this kernel makes no huge pages of memory files (Linux 6.1 does)\n");
        end(f);
        skip();
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES, NULL), 0);
        run_until_over(f);
        machine_pager_hold(&f->m);
        before = number(f, "pager", "mended");
        memset(memory_of(f), 8 + i, NODE_BYTES);
        assert_int_equal(number(f, "pager", "mended"), before);
        machine_pager_release(&f->m);
        while (number(f, "pager", "mended") < before + NODE_BYTES / BACKING_EXTENT) {
            (void)usleep(1000);
            for (size_t k = 0; k < NODE_BYTES; k += SMALL) /* where the kernel refused once */
                memory_of(f)[k] = (uint8_t)(8 + i);
        }
        for (size_t k = 0; k < NODE_BYTES; k += SMALL)
            assert_int_equal(memory_of(f)[k], 8 + i);
    }
    end(f);
}

/* Nobody touches it: all of it is cold. */
static void it_goes_to_its_target_by_itself(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);
    json_t *json;

    (void)state;
    memset(memory_of(f), 7, NODE_BYTES);
    assert_int_equal(machine_set_target(&f->m, node0, NODE_BYTES / 2, NULL), 0);
    while (resident(f) > NODE_BYTES / 2)
        (void)usleep(1000);
    machine_pager_hold(&f->m);
    json = machine_pager_json(&f->m, node0);
    assert_int_equal(json_integer_value(json_object_get(json, "target")), NODE_BYTES / 2);
    assert_int_equal(json_integer_value(json_object_get(json, "resident")), NODE_BYTES / 2);
    assert_string_equal(json_string_value(json_object_get(json, "target_error")), "");
    json_decref(json);
    assert_int_equal(machine_pager_reset(&f->m, NULL), 0);
    assert_int_equal(guest_mem_discard(f->m.mem, NULL), 0);
    machine_pager_release(&f->m);
    memset(memory_of(f), 9, NODE_BYTES);
    while (resident(f) > NODE_BYTES / 2)
        (void)usleep(1000);
    assert_int_equal(machine_set_target(&f->m, node0, UINT64_MAX, NULL), 0);
    for (size_t i = 0; i < NODE_BYTES; i += SMALL)
        assert_int_equal(memory_of(f)[i], 9);
    json = machine_pager_json(&f->m, node0);
    assert_null(json_object_get(json, "target"));
    json_decref(json);
    end(f);
}

static void what_cannot_be_is_refused(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_OFF);
    struct errctx ec = { 0 };
    json_t *status;

    (void)state;
    assert_int_equal(machine_evict(&f->m, node0, SMALL, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "this machine was not started with --pager on");
    assert_int_equal(machine_set_target(&f->m, node0, SMALL, &ec), -ENOTSUP);
    assert_string_equal(ec.msg, "this machine was not started with --pager on");
    status = machine_evict_status(&f->m);
    assert_string_equal(json_string_value(json_object_get(status, "state")), "none");
    json_decref(status);
    assert_null(machine_pager_json(&f->m, node0));
    end(f);
    f = begin(CONFIG_PAGER_ON);
    assert_int_equal(machine_evict(&f->m, (struct vnode_id){ 1 }, SMALL, &ec), -ENOENT);
    assert_string_equal(ec.msg, "there is no virtual node 1 with memory");
    assert_int_equal(machine_evict(&f->m, (struct vnode_id){ 2 }, SMALL, &ec), -ENOENT);
    assert_int_equal(machine_set_target(&f->m, (struct vnode_id){ 2 }, SMALL, &ec), -ENOENT);
    assert_string_equal(ec.msg, "there is no virtual node 2 with memory");
    f->m.paused = true;
    assert_int_equal(machine_evict(&f->m, node0, SMALL, &ec), -EBUSY);
    assert_string_equal(ec.msg, "the machine is paused");
    f->m.paused = false;
    machine_pager_hold(&f->m);
    assert_int_equal(machine_evict(&f->m, node0, SMALL, NULL), 0);
    assert_int_equal(machine_evict(&f->m, node0, SMALL, &ec), -EBUSY);
    assert_string_equal(ec.msg, "memory of virtual node 0 is being evicted");
    end(f); /* held, and with something to do */
}

static void nothing_goes_while_it_is_held(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);
    uint64_t then;

    (void)state;
    memset(memory_of(f), 7, NODE_BYTES);
    assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES, NULL), 0);
    for (int i = 0; i < 20; i++) { /* at whatever point it is */
        machine_pager_hold(&f->m);
        machine_pager_hold(&f->m);
        then = resident(f);
        machine_pager_release(&f->m);
        for (int k = 0; k < 50; k++)
            (void)sched_yield();
        assert_int_equal(resident(f), then);
        machine_pager_release(&f->m);
    }
    run_until_over(f);
    assert_int_equal(resident(f), 0);
    end(f);
}

static void a_reset_finds_it_evicting(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);

    (void)state;
    for (int i = 0; i < 10; i++) {
        memset(memory_of(f), 7, NODE_BYTES);
        assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES, NULL), 0);
        machine_pager_hold(&f->m);
        assert_int_equal(machine_pager_reset(&f->m, NULL), 0);
        assert_int_equal(guest_mem_discard(f->m.mem, NULL), 0);
        for (size_t k = 0; k < NODE_BYTES; k += 64 * SMALL)
            assert_int_equal(memory_of(f)[k], 0);
        machine_pager_release(&f->m);
        memset(memory_of(f), 9, NODE_BYTES); /* it goes on meanwhile */
        memset(memory_of(f), 11, NODE_BYTES);
        run_until_over(f);
        for (size_t k = 0; k < NODE_BYTES; k += SMALL)
            assert_int_equal(memory_of(f)[k], 11);
    }
    end(f);
}

/* Where the thread of that name may run, by the kernel. */
static bool place_of(const char *name, char *buf, size_t size)
{
    DIR *dir = opendir("/proc/self/task");
    const struct dirent *entry;
    char text[4096];
    bool found = false;

    assert_non_null(dir);
    while (!found && (entry = readdir(dir)) != NULL) {
        const char *list;

        if (!kernel_file_text(text, sizeof(text), "", "/proc/self/task/%s/comm", entry->d_name) ||
            strcmp(text, name) != 0 ||
            !kernel_file_text(text, sizeof(text), "", "/proc/self/task/%s/status", entry->d_name))
            continue;
        list = strstr(text, "Cpus_allowed_list:\t");
        found = list != NULL && sscanf(list, "Cpus_allowed_list:\t%31s", buf) == 1 && size >= 32;
    }
    (void)closedir(dir);
    return found;
}

static void threads_go_where_vcpus_went(void **state)
{
    struct fixture *f = begin(CONFIG_PAGER_ON);
    struct topo_plan now = f->ram.plan;
    struct topo_plan_node nodes[2];
    struct topo_plan_vcpu vcpu = { .vnode = { 0 } };
    char want[32], place[32] = "";
    struct idset all;
    int n = 0;

    (void)state;
    assert_int_equal(place_get_thread(&all), 0);
    if (idset_count(&all) < 2) {
        end(f);
        skip();
    }
    memcpy(nodes, f->ram.nodes, sizeof(nodes));
    idset_add(&nodes[0].cpus, 0);
    now.nodes = nodes;
    now.vcpus = &vcpu;
    now.n_vcpus = 1;
    IDSET_FOREACH(cpu, &all) {
        if (n++ == 4)
            break;
        vcpu.host_cpus = f->threads.main.host_cpus = (struct idset){ 0 };
        idset_add(&vcpu.host_cpus, cpu);
        idset_add(&f->threads.main.host_cpus, cpu);
        machine_pager_follow(&f->m, &now);
        (void)idset_format(&vcpu.host_cpus, want, sizeof(want));
        while (!place_of("fault0", place, sizeof(place)) || strcmp(place, want) != 0)
            (void)sched_yield();
        /* It serves from there; the other one goes when it has something to do. */
        memset(memory_of(f), 7, NODE_BYTES);
        assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES, NULL), 0);
        run_until_over(f);
        for (size_t i = 0; i < NODE_BYTES; i += SMALL)
            assert_int_equal(memory_of(f)[i], 7);
        assert_true(place_of("evict", place, sizeof(place)));
        assert_string_equal(place, want);
    }
    end(f);
}

/* With pages half-way at any point. */
static void an_end_in_the_middle_waits_for_nobody(void **state)
{
    struct fixture *f;

    (void)state;
    for (int i = 0; i < 10; i++) {
        f = begin(CONFIG_PAGER_ON);
        memset(memory_of(f), 7, NODE_BYTES);
        assert_int_equal(machine_evict(&f->m, node0, NODE_BYTES, NULL), 0);
        end(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_evicted_comes_back),
        cmocka_unit_test(what_came_back_becomes_huge_by_itself),
        cmocka_unit_test(it_goes_to_its_target_by_itself),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(nothing_goes_while_it_is_held),
        cmocka_unit_test(a_reset_finds_it_evicting),
        cmocka_unit_test(threads_go_where_vcpus_went),
        cmocka_unit_test(an_end_in_the_middle_waits_for_nobody),
    };
    return cmocka_run_group_tests_name("vmm/machine/machine_pager", tests, NULL, NULL);
}
