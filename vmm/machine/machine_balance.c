/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer's life, and the epochs on the main loop. See machine_balance.h.
 *
 *   timer -> hand over -> (thread) balancer_look() -> is_over() on the main loop -> timer
 *
 * One job at a time: an epoch that takes longer than it should delays the next one.
 */
#include "vmm/machine/machine_balance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_balance_private.h"

#define EPOCH_NS (UINT64_C(10) * 1000000000)

enum { RESIDENCY_EPOCHS = 6 };

/* --- the thread ------------------------------------------------------------------------------- */

static void is_over(void *ctx);

static bool next_job(struct balancer *b)
{
    LOCK_SCOPE(&b->lock);

    while (!b->quit && (b->held || !b->todo))
        (void)pthread_cond_wait(&b->wake, &b->lock);
    b->working = !b->quit;
    b->todo = false;
    return !b->quit;
}

static void stand_still(struct balancer *b)
{
    LOCK_SCOPE(&b->lock);

    b->working = false;
    if (b->held)
        machine_stand_tell(b->machine);
}

static void *balancer_main(void *arg)
{
    struct balancer *b = arg;
    const struct sandbox *sandbox = b->machine->sandbox;

    place_name_thread("balancer");
    b->result = sandbox != NULL ? sandbox_enter(sandbox, SANDBOX_BALANCER, &b->ec) : 0;
    (void)sem_post(&b->ready);
    while (b->result == 0 && next_job(b)) {
        balancer_look(b);
        stand_still(b);
        if (evloop_post(b->machine->main_loop, is_over, b) < 0)
            machine_request_end(b->machine, MACHINE_END_FAILURE, 0, "no memory to end an epoch");
    }
    return NULL;
}

/* --- epochs, on the main loop ----------------------------------------------------------------- */

/* Where each virtual node is, for the thread. */
static void tell_homes(struct balancer *b)
{
    const struct machine *m = b->machine;

    for (uint32_t i = 0; i < m->plan->n_nodes; i++) {
        struct balance_vnode_state *s = &b->states[i];
        const struct topo_plan_node *n = &m->plan->nodes[i];
        struct idset nodes;
        int home, runs;

        guest_mem_home(m->mem, n->vnode, &nodes);
        home = balance_live_home(m->plan, &nodes, &s->pinned);
        runs = balance_live_home(m->plan, &(struct idset){ 0 }, &s->away);
        s->home = home >= 0 ? (uint32_t)home : 0;
        s->stays = n->ram_bytes == 0                 ? "it has no memory"
                   : !idset_empty(&n->host_nodes)    ? "host= says where it is"
                   : home < 0 && idset_empty(&nodes) ? "nobody gave it a place (--pin, --balance)"
                   : home < 0                        ? "it is spread over several host nodes"
                                                     : NULL;
        b->vnodes[i] = (struct balance_live_vnode){
            .home = s->home,
            .runs = runs >= 0 ? (uint32_t)runs : s->home,
            .fixed = s->stays != NULL,
            .nowhere = home < 0,
        };
    }
}

static void hand_over(struct balancer *b)
{
    tell_homes(b);
    b->busy = true;
    b->job_ec.msg[0] = '\0';
    LOCK_SCOPE(&b->lock);
    b->todo = true;
    (void)pthread_cond_broadcast(&b->wake);
}

static void arm(struct balancer *b)
{
    b->due_ns = MAX(b->due_ns + b->epoch_ns, evloop_now_ns() + 1);
    evloop_timer_arm(b->timer, b->due_ns);
}

static void epoch(void *ctx)
{
    struct balancer *b = ctx;

    if (b->mode == GUEST_BALANCE_OFF || b->busy)
        return;
    if (!b->machine->paused) {
        hand_over(b);
        return;
    }
    b->n_skipped++;
    b->has_before = false;
    arm(b);
}

static void is_over(void *ctx)
{
    struct balancer *b = ctx;

    b->busy = false;
    if (b->job_result == -ECANCELED) { /* held: what comes next says nothing of the time before */
        b->n_skipped++;
        b->has_before = false;
        b->job_result = 0;
    }
    balancer_act(b);
    if (b->mode != GUEST_BALANCE_OFF)
        arm(b);
}

/* --- life ------------------------------------------------------------------------------------- */

static void free_balancer(struct balancer *b)
{
    evloop_timer_free(b->timer);
    host_watch_free(b->watch);
    host_reading_fini(&b->before);
    balance_free(b->policy);
    json_decref(b->seen);
    if (b->has_line)
        balance_line_fini(&b->line);
    if (b->trace_fd >= 0)
        (void)close(b->trace_fd);
    free(b->vnodes);
    free(b->used_ns);
    free(b->used_before_ns);
    free(b->at);
    free(b->states);
    (void)pthread_cond_destroy(&b->wake);
    (void)pthread_mutex_destroy(&b->lock);
    (void)sem_destroy(&b->ready);
    free(b);
}

static struct balancer *new_balancer(struct machine *m)
{
    const size_t n = m->plan->n_hosts, v = m->plan->n_nodes;
    struct balancer *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return NULL;
    b->machine = m;
    b->trace_fd = -1;
    (void)sem_init(&b->ready, 0, 0);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->wake, NULL);
    b->vnodes = calloc(v, sizeof(b->vnodes[0]));
    b->used_ns = calloc(v, sizeof(b->used_ns[0]));
    b->used_before_ns = calloc(v, sizeof(b->used_before_ns[0]));
    b->at = calloc(v * n, sizeof(b->at[0]));
    b->states = calloc(v, sizeof(b->states[0]));
    if (b->vnodes == NULL || b->used_ns == NULL || b->used_before_ns == NULL || b->at == NULL ||
        b->states == NULL) {
        free_balancer(b);
        return NULL;
    }
    return b;
}

/* Where threads belong at first: what the plan says of a node's vCPUs, if it says it of all. */
static void know_pins(struct balancer *b)
{
    const struct topo_plan *plan = b->machine->plan;

    for (size_t i = 0; i < plan->n_nodes; i++)
        IDSET_FOREACH(cpu, &plan->nodes[i].cpus) {
            if (idset_empty(&plan->vcpus[cpu].host_cpus)) {
                b->states[i].pinned = (struct idset){ 0 };
                break;
            }
            idset_or(&b->states[i].pinned, &plan->vcpus[cpu].host_cpus);
        }
}

static int open_all(struct balancer *b, struct errctx *ec)
{
    const struct machine *m = b->machine;
    const struct topo_plan *plan = m->plan;
    int r = host_watch_new("", plan->hosts, plan->n_hosts, &b->watch, ec);

    b->mode = m->config->spec.balance;
    b->epoch_ns = m->config->balance_epoch_ns > 0 ? m->config->balance_epoch_ns : EPOCH_NS;
    b->head.params = balance_defaults();
    b->head.params.residency_ns =
        MAX(b->head.params.residency_ns, b->epoch_ns * RESIDENCY_EPOCHS);
    b->head.n_hosts = (uint32_t)plan->n_hosts;
    for (size_t i = 0; i < plan->n_hosts; i++)
        b->head.hosts[i] = plan->hosts[i].id.v;
    know_pins(b);
    if (r == 0)
        r = balance_new(&b->head.params, (uint32_t)plan->n_hosts, (uint32_t)plan->n_nodes,
                        &b->policy, ec);
    if (r == 0)
        r = evloop_timer_new(m->main_loop, epoch, b, &b->timer, ec);
    if (r == 0 && m->config->balance_trace != NULL) {
        b->trace_fd = open(m->config->balance_trace,
                           O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
        if (b->trace_fd < 0)
            r = errctx_set_os(ec, errno, "--balance-trace: %s", m->config->balance_trace);
    }
    return r;
}

int machine_open_balancer(struct machine *m, struct errctx *ec)
{
    struct balancer *b;
    int r;

    if (m->plan->n_hosts < 2) {
        if ((m->config->spec.balance != GUEST_BALANCE_OFF || m->config->balance_trace != NULL) &&
            m->hooks.balanced != NULL)
            m->hooks.balanced(m->hooks.ctx, "this host has one node, so nothing moves");
        return 0;
    }
    b = new_balancer(m);
    if (b == NULL)
        return errctx_set(ec, ENOMEM, "no memory for rebalancing");
    r = open_all(b, ec);
    if (r < 0)
        free_balancer(b);
    else
        m->balancer = b;
    return r;
}

int machine_start_balancer(struct machine *m, struct errctx *ec)
{
    struct balancer *b = m->balancer;
    int r;

    if (b == NULL)
        return 0;
    r = pthread_create(&b->thread, NULL, balancer_main, b);
    if (r != 0)
        return errctx_set_os(ec, r, "thread that rebalances");
    b->started = true;
    while (sem_wait(&b->ready) < 0)
        ; /* interrupted */
    if (b->result < 0)
        return errctx_set(ec, -b->result, "thread that rebalances: %s", b->ec.msg);
    if (b->mode != GUEST_BALANCE_OFF) {
        b->due_ns = evloop_now_ns() + 1;
        evloop_timer_arm(b->timer, b->due_ns);
    }
    return 0;
}

void machine_stop_balancer(struct machine *m)
{
    struct balancer *b = m->balancer;

    if (b == NULL)
        return;
    if (b->started) {
        {
            LOCK_SCOPE(&b->lock);
            b->quit = true;
            (void)pthread_cond_broadcast(&b->wake);
        }
        (void)pthread_join(b->thread, NULL);
    }
    free_balancer(b);
    m->balancer = NULL;
}

void machine_balancer_hold(struct machine *m)
{
    struct balancer *b = m->balancer;

    if (b == NULL)
        return;
    LOCK_SCOPE(&b->lock);
    b->held = true;
}

bool machine_balancer_is_still(const struct machine *m)
{
    struct balancer *b = m->balancer;

    if (b == NULL)
        return true;
    LOCK_SCOPE(&b->lock);
    return !b->working;
}

void machine_balancer_release(struct machine *m)
{
    struct balancer *b = m->balancer;

    if (b == NULL)
        return;
    LOCK_SCOPE(&b->lock);
    b->held = false;
    (void)pthread_cond_broadcast(&b->wake);
}

/* --- what the control socket asks for --------------------------------------------------------- */

static int switch_to(struct balancer *b, const char *word, struct errctx *ec)
{
    const enum guest_pin pin = b->machine->config->spec.pin;
    int mode = -1;

    for (int i = 0; guest_balance_words[i] != NULL; i++)
        if (strcmp(guest_balance_words[i], word) == 0)
            mode = i;
    if (mode < 0)
        return errctx_set(ec, EINVAL, "\"%.40s\" is none of off, advise, on", word);
    if (mode == GUEST_BALANCE_ON && (pin == GUEST_PIN_DEDICATED || pin == GUEST_PIN_LLC))
        return errctx_set(ec, EINVAL, "its vCPUs are pinned to less than a node, which a move "
                                      "would end: rebalancing can only advise");
    if (b->mode == GUEST_BALANCE_OFF && mode != GUEST_BALANCE_OFF && !b->busy) {
        b->has_before = false;
        b->due_ns = evloop_now_ns() + 1;
        evloop_timer_arm(b->timer, b->due_ns);
    }
    b->mode = (enum guest_balance)mode;
    return 0;
}

const char *machine_balance_mode(const struct machine *m)
{
    return guest_balance_words[m->balancer != NULL ? m->balancer->mode : GUEST_BALANCE_OFF];
}

int machine_balance(struct machine *m, const char *mode, json_t **ret_json, struct errctx *ec)
{
    json_t *json;
    int r = 0;

    if (m->balancer == NULL)
        return errctx_set(ec, ENOTSUP, "this host has one node: there is nothing to balance");
    if (mode != NULL)
        r = switch_to(m->balancer, mode, ec);
    if (r < 0)
        return r;
    json = balancer_json(m->balancer);
    if (json == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the answer");
    *ret_json = json;
    return 0;
}
