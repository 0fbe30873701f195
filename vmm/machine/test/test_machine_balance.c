/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer's thread and the main loop, on a host that is made up: what is seen, decided, done,
 * said, recorded. Loads are parts of the time that really passes, so nothing depends on how long
 * that is.
 */
// LDFLAGS: -Wl,--wrap=host_watch_read -Wl,--wrap=residency_scan_part -Wl,--wrap=machine_move -Wl,--wrap=machine_repin -Wl,--wrap=vcpu_cpu_ns
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory/residency.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/machine/balance_trace.h"
#include "vmm/machine/machine_balance_private.h"

#define NODE_BYTES (64ull * MIB)

enum { HOME = 0, TARGET = 4, SAID = 8, HOSTS = 2 };

/* The host, which the balancer's thread looks at. */
static struct {
    atomic_bool crowded; /* others want all of the first node, too */
    atomic_bool gone;    /* the first node's CPU is offline */
    atomic_uint at;      /* where memory is: index of a host node */
    uint64_t last_ns, busy_ns[2]; /* the thread's */
} host;

/* The main loop's. */
static struct {
    int refuse; /* what machine_move() answers */
    unsigned moves, repins;
    struct machine_move_request move;
    struct idset repinned;
    char said[SAID][BALANCE_LOG * 16];
    unsigned n_said;
} did;

int __wrap_host_watch_read(struct host_watch *w, uint64_t now_ns, struct host_reading *ret,
                           struct errctx *ec);
int __wrap_residency_scan_part(const struct backing *b, int pagemap,
                               const struct residency_pick *pick, struct residency *ret,
                               struct errctx *ec);
void __wrap_machine_move(struct machine *m, const struct machine_move_request *req,
                         struct machine_ask *ask);
void __wrap_machine_repin(struct machine *m, struct vnode_id vnode, const struct idset *cpus);
bool __wrap_vcpu_cpu_ns(struct vcpu *vcpu, uint64_t *ret_ns);

int __wrap_host_watch_read(struct host_watch *w, uint64_t now_ns, struct host_reading *ret,
                           struct errctx *ec)
{
    (void)w;
    (void)ec;
    *ret = (struct host_reading){ .n_nodes = HOSTS, .nodes = calloc(HOSTS, sizeof(*ret->nodes)) };
    for (uint32_t h = 0; h < HOSTS; h++) {
        const unsigned tasks =
            (h == atomic_load(&host.at)) + (h == 0 && atomic_load(&host.crowded));

        host.busy_ns[h] += tasks * (host.last_ns > 0 ? now_ns - host.last_ns : 0);
        ret->nodes[h] = (struct host_watch_node){ .capacity_milli = 1000,
                                                  .mem_bytes = 1 << 30,
                                                  .free_bytes = 1 << 29,
                                                  .busy_ns = host.busy_ns[h] };
        idset_add(&ret->online, h == 0 ? 0 : 40);
    }
    host.last_ns = now_ns;
    if (atomic_load(&host.gone)) {
        idset_del(&ret->online, 0);
        ret->nodes[0].capacity_milli = 0;
    }
    return 0;
}

int __wrap_residency_scan_part(const struct backing *b, int pagemap,
                               const struct residency_pick *pick, struct residency *ret,
                               struct errctx *ec)
{
    const uint32_t id = atomic_load(&host.at) == 0 ? HOME : TARGET;

    (void)b;
    (void)pagemap;
    if (!pick->go_on(pick->ctx))
        return errctx_set(ec, ECANCELED, "told to stop");
    memset(ret, 0, sizeof(*ret));
    ret->n_nodes = id + 1;
    ret->node[id].pages_2m = NODE_BYTES / (2 * MIB);
    ret->present_bytes = NODE_BYTES;
    return 0;
}

bool __wrap_vcpu_cpu_ns(struct vcpu *vcpu, uint64_t *ret_ns)
{
    (void)vcpu;
    *ret_ns = host.last_ns; /* it never sleeps */
    return true;
}

void __wrap_machine_repin(struct machine *m, struct vnode_id vnode, const struct idset *cpus)
{
    (void)m;
    assert_int_equal(vnode.v, 0);
    did.repins++;
    did.repinned = *cpus;
}

/* The move is over before anybody looks. */
static void arrive(void *ctx)
{
    struct machine *m = ctx;
    struct backing_home home = { .policy = GUEST_POLICY_PREFERRED };

    idset_add(&home.host_nodes, did.move.to.v);
    guest_mem_set_home(m->mem, 0, &home);
    atomic_store(&host.at, did.move.to.v == TARGET);
    machine_balancer_moved(m, did.move.vnode, did.move.to, true, "");
}

void __wrap_machine_move(struct machine *m, const struct machine_move_request *req,
                         struct machine_ask *ask)
{
    struct errctx ec = { 0 };
    int r = 0;

    did.moves++;
    did.move = *req;
    if (did.refuse != 0)
        r = errctx_set(&ec, -did.refuse, "it cannot be had");
    ask->answer(ask, r, NULL, &ec);
    if (r == 0)
        assert_int_equal(evloop_post(m->main_loop, arrive, m), 0);
}

struct fixture {
    struct plan_ram ram;
    struct topo_plan_backing backing;
    struct topo_plan_host hosts[HOSTS];
    struct topo_plan_vcpu vcpu;
    struct vcpu *vcpus[1];
    uint32_t told, real[HOSTS * HOSTS];
    struct mem_layout *layout;
    struct evloop *loop;
    struct evloop_timer *timer;
    struct machine_config config;
    struct machine m;
    bool (*until)(const json_t *status);
};

static void hear(void *ctx, const char *what)
{
    (void)ctx;
    assert_true(did.n_said < SAID);
    (void)snprintf(did.said[did.n_said++], sizeof(did.said[0]), "%s", what);
}

static json_t *status_of(struct fixture *f, const char *mode)
{
    json_t *status = NULL;

    assert_int_equal(machine_balance(&f->m, mode, &status, NULL), 0);
    return status;
}

static void look(void *ctx)
{
    struct fixture *f = ctx;
    json_t *status = status_of(f, NULL);

    if (f->until(status))
        evloop_stop(f->loop);
    else
        evloop_timer_arm(f->timer, evloop_now_ns() + 1000000);
    json_decref(status);
}

static void run_until(struct fixture *f, bool (*until)(const json_t *status))
{
    f->until = until;
    evloop_timer_arm(f->timer, evloop_now_ns());
    assert_int_equal(evloop_run(f->loop, NULL), 0);
}

static json_int_t number(const json_t *status, const char *name)
{
    return json_integer_value(json_object_get(status, name));
}

static void begin(struct fixture *f, enum guest_balance mode)
{
    static const uint64_t bytes[] = { NODE_BYTES };
    static char name[] = "web";
    struct machine *m = &f->m;

    memset(f, 0, sizeof(*f));
    memset(&did, 0, sizeof(did));
    memset(&host, 0, sizeof(host));
    plan_ram_init(&f->ram, 1, bytes);
    f->backing = (struct topo_plan_backing){ .len_bytes = NODE_BYTES,
                                             .policy = GUEST_POLICY_NONE,
                                             .pages = GUEST_PAGES_THP };
    f->ram.plan.backings = &f->backing;
    f->ram.plan.n_backings = 1;
    f->hosts[1].id.v = TARGET;
    idset_add(&f->hosts[0].cpus, 0);
    idset_add(&f->hosts[1].cpus, 40);
    idset_add(&f->vcpu.host_cpus, 0);
    idset_add(&f->ram.plan.nodes[0].cpus, 0);
    f->told = 10;
    for (int i = 0; i < HOSTS * HOSTS; i++)
        f->real[i] = i % (HOSTS + 1) == 0 ? 10 : 20;
    f->ram.plan.hosts = f->hosts;
    f->ram.plan.n_hosts = HOSTS;
    f->ram.plan.vcpus = &f->vcpu;
    f->ram.plan.n_vcpus = 1;
    f->ram.plan.distances = &f->told;
    f->ram.plan.host_distances = f->real;
    assert_int_equal(mem_layout_make(&test_map, &f->ram.plan, 40, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->ram.plan, f->layout, &m->mem, NULL), 0);
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(evloop_timer_new(f->loop, look, f, &f->timer, NULL), 0);
    f->config.spec.balance = mode;
    f->config.balance_epoch_ns = 2000000;
    f->config.name = name;
    m->plan = &f->ram.plan;
    m->config = &f->config;
    m->main_loop = f->loop;
    m->vcpus = f->vcpus;
    m->n_vcpus = 1;
    m->hooks.balanced = hear;
    m->pagemap = -1;
    (void)pthread_mutex_init(&m->request_lock, NULL);
}

static void start(struct fixture *f)
{
    assert_int_equal(machine_open_balancer(&f->m, NULL), 0);
    assert_int_equal(machine_start_balancer(&f->m, NULL), 0);
}

static void end(struct fixture *f)
{
    machine_stop_balancer(&f->m);
    evloop_timer_free(f->timer);
    evloop_free(f->loop);
    guest_mem_free(f->m.mem);
    mem_layout_free(f->layout);
    (void)pthread_mutex_destroy(&f->m.request_lock);
}

static bool ten_epochs(const json_t *status)
{
    return number(status, "epochs") >= 10;
}

static bool twenty_epochs(const json_t *status)
{
    return number(status, "epochs") >= 20;
}

static bool decided(const json_t *status)
{
    return number(status, "decided") > 0;
}

static bool known(const json_t *status)
{
    const json_t *d = json_array_get(json_object_get(status, "decisions"), 0);
    const char *outcome = json_string_value(json_object_get(d, "outcome"));

    return outcome != NULL && strcmp(outcome, "waiting") != 0;
}

static void a_crowded_node_is_left_and_the_gain_is_told(void **state)
{
    const json_t *d, *node;
    struct fixture f;
    json_t *status;

    (void)state;
    begin(&f, GUEST_BALANCE_ON);
    start(&f);
    run_until(&f, ten_epochs);
    assert_int_equal(did.moves, 0); /* nothing to do yet */
    atomic_store(&host.crowded, true);
    run_until(&f, known);
    status = status_of(&f, NULL);
    assert_int_equal(did.moves, 1);
    assert_int_equal(did.move.to.v, TARGET);
    assert_false(did.move.force);
    assert_int_equal(number(status, "moved"), 1);
    d = json_array_get(json_object_get(status, "decisions"), 0);
    assert_string_equal(json_string_value(json_object_get(d, "outcome")), "done");
    assert_true(json_real_value(json_object_get(d, "achieved")) > 0.5);
    assert_true(json_is_false(json_object_get(d, "advised")));
    node = json_array_get(json_object_get(status, "nodes"), 0);
    assert_int_equal(number(node, "home"), TARGET);
    assert_int_equal(number(node, "at_home"), NODE_BYTES);
    assert_int_equal(did.n_said, 2);
    assert_non_null(strstr(did.said[0], "moving virtual node 0 from host node 0 to 4 (64 MiB"));
    assert_non_null(strstr(did.said[1], "the step of virtual node 0 gained"));
    json_decref(status);
    end(&f);
}

static void advice_is_only_said(void **state)
{
    struct fixture f;
    json_t *status;

    (void)state;
    begin(&f, GUEST_BALANCE_ADVISE);
    start(&f);
    atomic_store(&host.crowded, true);
    run_until(&f, decided);
    status = status_of(&f, NULL);
    assert_int_equal(did.moves, 0);
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(status, "decisions"), 0), "advised")));
    assert_non_null(strstr(did.said[0], "would move virtual node 0 from host node 0 to 4"));
    json_decref(status);
    end(&f);
}

static void a_step_that_is_refused_is_given_up(void **state)
{
    struct fixture f;
    json_t *status;

    (void)state;
    begin(&f, GUEST_BALANCE_ON);
    did.refuse = -EDOM;
    start(&f);
    atomic_store(&host.crowded, true);
    run_until(&f, decided);
    status = status_of(&f, NULL);
    assert_int_equal(number(status, "failed"), 1);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(status, "decisions"), 0), "why")),
                        "it cannot be had");
    assert_string_equal(did.said[1], "virtual node 0 stays: it cannot be had");
    json_decref(status);
    end(&f);
}

static void it_is_switched_while_it_runs(void **state)
{
    struct errctx ec = { 0 };
    struct fixture f;
    json_t *status = NULL;

    (void)state;
    begin(&f, GUEST_BALANCE_OFF);
    f.config.spec.pin = GUEST_PIN_DEDICATED;
    start(&f);
    assert_int_equal(machine_balance(&f.m, "maybe", &status, &ec), -EINVAL);
    assert_string_equal(ec.msg, "\"maybe\" is none of off, advise, on");
    assert_int_equal(machine_balance(&f.m, "on", &status, &ec), -EINVAL);
    assert_null(status);
    status = status_of(&f, "advise");
    assert_int_equal(number(status, "epochs"), 0);
    json_decref(status);
    run_until(&f, ten_epochs);
    json_decref(status_of(&f, "off"));
    f.config.spec.pin = GUEST_PIN_NODE;
    json_decref(status_of(&f, "on"));
    run_until(&f, twenty_epochs);
    end(&f);
}

static unsigned looks;

static bool three_looks(const json_t *status)
{
    (void)status;
    return ++looks >= 3;
}

static void it_stands_still_while_held(void **state)
{
    struct fixture f;
    json_t *status;
    json_int_t before;

    (void)state;
    begin(&f, GUEST_BALANCE_ON);
    start(&f);
    run_until(&f, ten_epochs);
    machine_balancer_hold(&f.m);
    looks = 0;
    run_until(&f, three_looks); /* a message may have been on its way */
    status = status_of(&f, NULL);
    before = number(status, "epochs");
    json_decref(status);
    looks = 0;
    run_until(&f, three_looks);
    status = status_of(&f, NULL);
    assert_int_equal(number(status, "epochs"), before);
    json_decref(status);
    machine_balancer_release(&f.m);
    run_until(&f, twenty_epochs);
    end(&f);
}

static bool repinned(const json_t *status)
{
    (void)status;
    return did.repins == 1;
}

static bool repinned_again(const json_t *status)
{
    (void)status;
    return did.repins == 2;
}

static void threads_leave_cpus_that_go_and_come_back(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, GUEST_BALANCE_ON);
    did.refuse = -EDOM; /* its memory cannot follow */
    start(&f);
    run_until(&f, ten_epochs);
    assert_int_equal(did.repins, 0);
    atomic_store(&host.gone, true);
    run_until(&f, repinned);
    assert_int_equal(idset_next(&did.repinned, 0), 40);
    atomic_store(&host.gone, false);
    run_until(&f, repinned_again);
    assert_int_equal(idset_next(&did.repinned, 0), 0);
    end(&f);
}

/* What is written is read back, line by line, to the same decision. */
static void the_trace_replays(void **state)
{
    char path[] = "/tmp/test_machine_balance.XXXXXX", line[4096];
    const int fd = mkstemp(path);
    struct balance_line now, before;
    struct balance_decision d;
    struct balance_head head;
    struct balance *b = NULL;
    struct fixture f;
    int n = 0, r = 0, n_decided = 0;
    FILE *in;

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    begin(&f, GUEST_BALANCE_ON);
    f.config.balance_trace = path;
    start(&f);
    atomic_store(&host.crowded, true);
    run_until(&f, decided);
    end(&f);
    in = fopen(path, "re");
    assert_non_null(in);
    for (; fgets(line, sizeof(line), in) != NULL; n++) {
        json_t *json = json_loads(line, 0, NULL);

        assert_non_null(json);
        if (json_object_get(json, "decided") != NULL) {
            assert_int_equal(r, 1);
            r = 0;
            n_decided++;
        } else if (n == 0) {
            assert_int_equal(balance_head_from_json(json, &head, NULL), 0);
            assert_int_equal(balance_new(&head.params, head.n_hosts, 1, &b, NULL), 0);
        } else {
            assert_int_equal(r, 0);
            assert_int_equal(balance_trace_from_json(json, n > 1 ? &before : NULL, &now, NULL), 0);
            if (n > 1)
                balance_line_fini(&before);
            before = now;
            r = balance_epoch(b, &before.snap, &d, NULL);
        }
        json_decref(json);
    }
    assert_int_equal(r, 0);
    assert_int_equal(n_decided, 1);
    (void)fclose(in);
    balance_line_fini(&before);
    balance_free(b);
    (void)unlink(path);
}

static void a_host_of_one_node_has_nothing_to_balance(void **state)
{
    struct errctx ec = { 0 };
    json_t *status = NULL;
    struct fixture f;

    (void)state;
    begin(&f, GUEST_BALANCE_ON);
    f.ram.plan.n_hosts = 1;
    start(&f);
    assert_int_equal(did.n_said, 1);
    assert_string_equal(did.said[0], "this host has one node, so nothing moves");
    assert_string_equal(machine_balance_mode(&f.m), "off");
    assert_int_equal(machine_balance(&f.m, NULL, &status, &ec), -ENOTSUP);
    assert_null(status);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowded_node_is_left_and_the_gain_is_told),
        cmocka_unit_test(advice_is_only_said),
        cmocka_unit_test(a_step_that_is_refused_is_given_up),
        cmocka_unit_test(it_is_switched_while_it_runs),
        cmocka_unit_test(it_stands_still_while_held),
        cmocka_unit_test(threads_leave_cpus_that_go_and_come_back),
        cmocka_unit_test(the_trace_replays),
        cmocka_unit_test(a_host_of_one_node_has_nothing_to_balance),
    };
    return cmocka_run_group_tests_name("vmm/machine/machine_balance", tests, NULL, NULL);
}
