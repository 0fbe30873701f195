/* SPDX-License-Identifier: Apache-2.0 */
/* What a move asks of the guard: room on the target, held until it ended, and the old place free. */
// LDFLAGS: -Wl,--wrap=kernel_file_set
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/kernel_file.h"
#include "vmm/cli/run_share.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/topology/test/spec_text.h"

#define HOST "numa:3(memory=8GiB) l3:1 core:4 pu:1" /* CPUs 0-3, 4-7, 8-11 */

enum { TRIES = 1000, TRY_US = 10 * 1000 };

bool __wrap_kernel_file_set(struct idset *ret_set, const char *root, const char *fmt, ...);

static const char *online; /* CPUs; NULL: not known */

bool __wrap_kernel_file_set(struct idset *ret_set, const char *root, const char *fmt, ...)
{
    (void)root;
    (void)fmt;
    return online != NULL && idset_parse(online, ret_set, NULL) == 0;
}

struct machine_under_test {
    char runtime[32], dir[64];
    struct host_topo host;
    struct machine_config config;
    struct topo_plan *plan;
    struct run_share share;
    struct guard guard;
    int dir_fd, lock_fd, other_fd;
};

static int move(void *ctx, const struct guard_move *what, struct errctx *ec)
{
    struct machine_under_test *t = ctx;

    return run_share_move(&t->share, &t->host, t->plan, what, ec);
}

/* Another machine that has reserved some of host node 1. */
static void run_another(struct machine_under_test *t, uint32_t reserve_milli)
{
    struct machine_use_node node = { .node = { 1 }, .cpu_milli = 4000,
                                     .reserve_milli = reserve_milli };
    const struct machine_use use = { .name = "db", .weight = 100, .reserve_milli = reserve_milli,
                                     .n_nodes = 1, .nodes = &node };
    struct neighbours nb;

    assert_int_equal(neighbours_read(NULL, 0, &nb, NULL), 0);
    if (t->other_fd < 0)
        assert_int_equal(control_dir_lock(nb.dir_fd, "db", &t->other_fd, NULL), 0);
    assert_int_equal(neighbours_publish(&nb, &use, NULL), 0);
    neighbours_fini(&nb);
}

/* "web" has four vCPUs on host node 0 and 2.5 CPUs reserved there. */
static int begin(void **state)
{
    struct machine_under_test *t = calloc(1, sizeof(*t));
    const struct guard_duties duties = { .tty_fd = -1, .move = move, .ctx = t };

    assert_non_null(t);
    online = NULL;
    t->other_fd = -1;
    (void)snprintf(t->runtime, sizeof(t->runtime), "/tmp/nv-share-XXXXXX");
    assert_non_null(mkdtemp(t->runtime));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", t->runtime, 1), 0);
    (void)control_dir_path(t->dir, sizeof(t->dir));
    assert_int_equal(host_topo_from_synthetic(HOST, &t->host, NULL), 0);
    config_init(&t->config);
    t->config.name = strdup("web");
    spec_text_parse("cpus=4 memory=1G", &t->config.spec);
    t->config.spec.pin = GUEST_PIN_NODE;
    t->config.spec.share.reserve_milli = 2500;
    assert_int_equal(run_share_begin(&t->config, &t->share, NULL), 0);
    assert_int_equal(machine_plan_make(&t->config.spec, &t->host, &t->share.others, &t->plan, NULL,
                                       NULL),
                     0);
    assert_int_equal(machine_use_make(&t->config, t->plan, &t->share.use, NULL), 0);
    assert_int_equal(guard_start(&duties, &t->guard, NULL), 0);
    assert_int_equal(control_dir_open(t->dir, false, &t->dir_fd, NULL), 0);
    assert_int_equal(control_dir_lock(t->dir_fd, "web", &t->lock_fd, NULL), 0);
    assert_int_equal(run_share_enter(&t->share, &t->host, NULL), 0); /* no cgroup was chosen */
    *state = t;
    return 0;
}

static int end(void **state)
{
    struct machine_under_test *t = *state;
    char file[96];

    guard_dismiss(&t->guard);
    (void)run_share_end(&t->share);
    topo_plan_free(t->plan);
    config_fini(&t->config);
    host_topo_fini(&t->host);
    control_dir_remove(t->dir_fd, "web");
    control_dir_remove(t->dir_fd, "db");
    close(t->lock_fd);
    if (t->other_fd >= 0)
        close(t->other_fd);
    close(t->dir_fd);
    (void)snprintf(file, sizeof(file), "%s/.admission", t->dir);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(t->dir), 0);
    assert_int_equal(rmdir(t->runtime), 0);
    free(t);
    return 0;
}

/* "0:2500+0 2:0+2500" - what others read of web: reserved, held. "" while it is written. */
static const char *told(char *buf, size_t size)
{
    struct neighbours nb;
    size_t len = 0;

    buf[0] = '\0';
    assert_int_equal(neighbours_read(NULL, 0, &nb, NULL), 0);
    for (size_t i = 0; i < nb.n; i++)
        for (size_t k = 0; strcmp(nb.uses[i].name, "web") == 0 && k < nb.uses[i].n_nodes; k++)
            len += (size_t)snprintf(buf + len, size - len, "%s%u:%u+%u", k > 0 ? " " : "",
                                    nb.uses[i].nodes[k].node.v, nb.uses[i].nodes[k].reserve_milli,
                                    nb.uses[i].nodes[k].held_milli);
    neighbours_fini(&nb);
    return buf;
}

/* Nobody waits for the guard when a move has ended. */
static void assert_soon_told(const char *want)
{
    char buf[256];

    for (int i = 0; strcmp(told(buf, sizeof(buf)), want) != 0 && i < TRIES; i++)
        usleep(TRY_US);
    assert_string_equal(told(buf, sizeof(buf)), want);
}

static int ask(const struct machine_under_test *t, uint32_t to, struct errctx *ec)
{
    return guard_ask(&t->guard, (struct vnode_id){ 0 }, (struct hnode_id){ to }, ec);
}

static void tell(const struct machine_under_test *t, uint32_t to, bool arrived)
{
    guard_tell(&t->guard, (struct vnode_id){ 0 }, (struct hnode_id){ to }, arrived);
}

static void room_is_asked_for_held_and_given_back(void **state)
{
    const struct machine_under_test *t = *state;
    struct errctx ec = { 0 };
    char buf[256];

    run_another(*state, 2000);
    assert_string_equal(told(buf, sizeof(buf)), "0:2500+0");
    assert_int_equal(ask(t, 1, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "--cpu-reserve: host node 1 has 4 CPUs, 2 of them are reserved by "
                                "other machines (db 2), and 2.5 more would be");
    assert_string_equal(told(buf, sizeof(buf)), "0:2500+0"); /* nothing came of it */
    assert_int_equal(ask(t, 2, &ec), 0);
    assert_string_equal(told(buf, sizeof(buf)), "0:2500+0 2:0+2500");
    tell(t, 2, true);
    assert_soon_told("2:2500+0");
    /* One that comes to nothing holds nothing. */
    assert_int_equal(ask(t, 0, &ec), 0);
    assert_string_equal(told(buf, sizeof(buf)), "2:2500+0 0:0+2500");
    tell(t, 0, false);
    assert_soon_told("2:2500+0");
    run_another(*state, 1500);
    assert_int_equal(ask(t, 1, &ec), 0); /* exactly as much as there is */
    tell(t, 1, true);
    assert_soon_told("1:2500+0");
}

static void cpus_that_are_offline_are_no_room(void **state)
{
    const struct guard_move there = { .step = GUARD_MOVE_BEGINS, .vnode = 0, .to = 2 };
    struct errctx ec = { 0 };

    online = "0-9";
    assert_int_equal(move(*state, &there, &ec), -ENOSPC); /* here, since the guard's copy is older */
    assert_string_equal(ec.msg, "--cpu-reserve: host node 2 has 2 CPUs, and 2.5 would be reserved");
    online = "0-10";
    assert_int_equal(move(*state, &there, &ec), 0);
}

static void nonsense_is_refused(void **state)
{
    const struct machine_under_test *t = *state;
    struct errctx ec = { 0 };

    assert_int_equal(guard_ask(&t->guard, (struct vnode_id){ 1 }, (struct hnode_id){ 1 }, &ec),
                     -EINVAL);
    assert_string_equal(ec.msg, "there is no such node");
    assert_int_equal(ask(t, UINT32_MAX, &ec), -EINVAL);
    assert_int_equal(ask(t, 2, &ec), 0); /* and the guard is well */
}

static void who_is_starting_is_waited_for(void **state)
{
    const struct machine_under_test *t = *state;
    struct errctx ec = { 0 };
    struct neighbours nb;

    assert_int_equal(neighbours_read(NULL, NEIGHBOURS_LOCK_MS, &nb, NULL), 0);
    assert_int_equal(ask(t, 2, &ec), -EBUSY);
    assert_string_equal(ec.msg, "another machine has been starting for 2 seconds");
    tell(t, 2, true);
    neighbours_fini(&nb);
    assert_soon_told("2:2500+0");
}

static void without_a_guard_nothing_is_admitted(void **state)
{
    const struct machine_under_test *t = *state;
    struct errctx ec = { 0 };

    assert_int_equal(kill(t->guard.pid, SIGKILL), 0);
    assert_int_equal(ask(t, 2, &ec), -EIO);
    assert_non_null(strstr(ec.msg, "the process that"));
    tell(t, 2, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(room_is_asked_for_held_and_given_back, begin, end),
        cmocka_unit_test_setup_teardown(cpus_that_are_offline_are_no_room, begin, end),
        cmocka_unit_test_setup_teardown(nonsense_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(who_is_starting_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(without_a_guard_nothing_is_admitted, begin, end),
    };
    return cmocka_run_group_tests_name("cli/run_share", tests, NULL, NULL);
}
