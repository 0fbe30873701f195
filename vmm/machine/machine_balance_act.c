/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes of an epoch, on the main loop: threads are put back on CPUs that are online, decisions
 * are said and, move by move, carried out, and what became of earlier ones is told.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/machine/balance_say.h"
#include "vmm/machine/machine_balance_private.h"

static void say(const struct balancer *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct balancer *b, const char *fmt, ...)
{
    const struct machine *m = b->machine;
    char text[BALANCE_TEXT + 256];
    va_list ap;

    if (m->hooks.balanced == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    m->hooks.balanced(m->hooks.ctx, text);
}

/* --- decisions -------------------------------------------------------------------------------- */

static struct balance_note *note_of(struct balancer *b, uint64_t time_ns)
{
    for (size_t i = 0; i < BALANCE_LOG; i++)
        if (b->notes[i].time_ns == time_ns)
            return &b->notes[i];
    return NULL;
}

static void note(struct balancer *b, uint64_t time_ns, bool advised)
{
    b->notes[b->next_note++ % BALANCE_LOG] =
        (struct balance_note){ .time_ns = time_ns, .advised = advised };
}

/* The step ends here, and @why. */
static void give_up(struct balancer *b, const char *why)
{
    struct balance_note *n = note_of(b, b->doing_ns);

    if (n != NULL)
        (void)snprintf(n->why, sizeof(n->why), "%s", why);
    b->n_failed++;
    b->doing.n = 0;
    say(b, "virtual node %u stays: %s", b->doing.vnode[b->next], why);
}

static void answered(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    struct balancer *b = container_of(ask, struct balancer, ask);
    const bool wanted = b->moving;

    (void)result;
    b->asking = false;
    if (r == 0 && !wanted) /* by another step that was more urgent */
        (void)machine_move_cancel(b->machine, false, NULL);
    if (r == 0 || r == -ECANCELED)
        return;
    b->moving = false;
    if (wanted && r != -EBUSY) /* else at the next epoch */
        give_up(b, ec->msg);
}

void balancer_go_on(struct balancer *b)
{
    if (b->doing.n == 0 || b->moving || b->asking)
        return;
    if (b->next == b->doing.n) {
        b->doing.n = 0;
        return;
    }
    if (b->mode != GUEST_BALANCE_ON) {
        give_up(b, "rebalancing was switched off");
        return;
    }
    b->moving = b->asking = true;
    b->ask.answer = answered;
    machine_move(b->machine,
                 &(struct machine_move_request){
                     .vnode = { b->doing.vnode[b->next] },
                     .to = { b->head.hosts[b->doing.to[b->next]] },
                 },
                 &b->ask);
}

void machine_balancer_moved(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                            bool arrived, const char *why)
{
    struct balancer *b = m->balancer;

    if (b == NULL)
        return;
    for (size_t h = 0; arrived && h < m->plan->n_hosts; h++)
        if (m->plan->hosts[h].id.v == to.v && !idset_empty(&m->plan->hosts[h].cpus)) {
            b->states[vnode.v].pinned = m->plan->hosts[h].cpus;
            b->states[vnode.v].away = (struct idset){ 0 };
        }
    if (!b->moving || b->doing.vnode[b->next] != vnode.v)
        return;
    b->moving = false;
    if (!arrived) {
        give_up(b, why);
        return;
    }
    b->n_moves++;
    b->next++;
    balancer_go_on(b);
}

static void obey(struct balancer *b)
{
    const bool on = b->mode == GUEST_BALANCE_ON;
    char text[BALANCE_TEXT];

    b->n_decided++;
    note(b, b->decided.time_ns, !on);
    (void)balance_say(&b->decided, b->head.hosts, text, sizeof(text));
    say(b, "%s %s", on ? "moving" : "would move", text);
    if (!on)
        return;
    if (b->doing.n > 0) { /* its time was up, the policy thinks */
        give_up(b, "another step is more urgent");
        if (b->moving)
            (void)machine_move_cancel(b->machine, false, NULL);
        b->moving = false;
    }
    b->doing = b->decided.step;
    b->doing_ns = b->decided.time_ns;
    b->next = 0;
    balancer_go_on(b);
}

/* Of decisions that waited for their outcome, those that have one now. */
static void tell_outcomes(struct balancer *b)
{
    char text[128];
    size_t n = 0;

    for (const struct balance_decision *d; (d = balance_log(b->policy, n)) != NULL; n++) {
        for (size_t i = 0; i < b->n_log && d->outcome != BALANCE_WAITING; i++) {
            if (b->log[i].time_ns != d->time_ns || b->log[i].outcome != BALANCE_WAITING)
                continue;
            say(b, "the step of virtual node %u %s", d->step.vnode[0],
                balance_say_outcome(d, text, sizeof(text)));
        }
    }
    for (b->n_log = 0; b->n_log < n; b->n_log++)
        b->log[b->n_log] = *balance_log(b->policy, b->n_log);
}

/* --- CPUs that went --------------------------------------------------------------------------- */

/* The kernel lets a thread run anywhere once none of its CPUs is online, and leaves it there. */
static void follow_cpus(struct balancer *b)
{
    struct machine *m = b->machine;
    char list[128];

    for (uint32_t i = 0; i < m->plan->n_nodes && b->mode == GUEST_BALANCE_ON; i++) {
        struct balance_vnode_state *s = &b->states[i];
        struct idset can, home;

        if (idset_empty(&s->pinned) || idset_empty(&m->plan->nodes[i].cpus))
            continue;
        balance_live_cpus(m->plan, &s->pinned, s->home, &b->online, &can);
        home = can;
        idset_and(&home, &s->pinned);
        if (idset_empty(&can) || (!idset_empty(&home) && idset_empty(&s->away)) ||
            idset_equal(&can, &s->away))
            continue;
        if (idset_empty(&home)) {
            s->away = can;
            say(b, "virtual node %u: none of its CPUs is online, it runs on %s", i,
                idset_format(&can, list, sizeof(list)));
        } else {
            s->away = (struct idset){ 0 };
            can = s->pinned;
            say(b, "virtual node %u: CPUs of its are online again, it runs on %s", i,
                idset_format(&can, list, sizeof(list)));
        }
        machine_repin(m, (struct vnode_id){ i }, &can);
    }
}

/* --- for ctl ---------------------------------------------------------------------------------- */

static json_t *pressure_json(const struct host_pressure *p)
{
    return p->has ? json_pack("{s:f, s:f}", "some", p->some.avg10 / 100.0, "full",
                              p->full.avg10 / 100.0)
                  : json_null();
}

static json_t *hosts_json(const struct balancer *b)
{
    const struct balance_snapshot *s = &b->line.snap;
    json_t *list = json_array();

    for (uint32_t h = 0; h < s->n_nodes; h++)
        (void)json_array_append_new(
            list, json_pack("{s:i, s:f, s:f, s:I, s:I}", "node", (int)b->head.hosts[h], "cpus",
                            s->nodes[h].capacity_milli / 1000.0, "others",
                            s->nodes[h].others_milli / 1000.0, "memory",
                            (json_int_t)s->nodes[h].mem_bytes, "free",
                            (json_int_t)s->nodes[h].free_bytes));
    return list;
}

static json_t *vnodes_json(const struct balancer *b)
{
    const struct balance_snapshot *s = &b->line.snap;
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->n_vnodes; i++) {
        const struct balance_vnode_state *state = &b->states[i];
        const uint32_t home = s->vnodes[i].home;
        char away[128];
        uint64_t bytes = 0;
        json_t *node;

        for (uint32_t h = 0; h < s->n_nodes; h++)
            bytes += s->at_bytes[(size_t)i * s->n_nodes + h];
        node = json_pack("{s:i, s:i, s:f, s:I, s:I, s:b}", "id", (int)i, "home",
                         (int)b->head.hosts[home], "wants", s->vnodes[i].demand_milli / 1000.0,
                         "resident", (json_int_t)bytes, "at_home",
                         (json_int_t)s->at_bytes[(size_t)i * s->n_nodes + home], "fixed",
                         s->vnodes[i].fixed);
        if (state->stays != NULL)
            (void)json_object_set_new(node, "stays", json_string(state->stays));
        if (!idset_empty(&state->away))
            (void)json_object_set_new(node, "away",
                                      json_string(idset_format(&state->away, away, sizeof(away))));
        (void)json_array_append_new(list, node);
    }
    return list;
}

static void remember(struct balancer *b)
{
    int64_t cost = 0;

    (void)balance_cost(&b->line.snap, NULL, &cost, NULL);
    json_decref(b->seen);
    b->seen = json_pack("{s:f, s:o, s:o, s:o, s:o}", "cost", (double)cost / BALANCE_CPU,
                        "cpu_pressure", pressure_json(&b->cpu_pressure), "memory_pressure",
                        pressure_json(&b->memory_pressure), "hosts", hosts_json(b), "nodes",
                        vnodes_json(b));
}

static json_t *decisions_json(const struct balancer *b)
{
    json_t *list = json_array();

    for (size_t i = 0; i < b->n_log; i++) {
        const struct balance_decision *d = &b->log[i];
        json_t *one = balance_decision_json(d, b->head.hosts);

        for (size_t k = 0; k < BALANCE_LOG; k++) {
            const struct balance_note *n = &b->notes[k];

            if (n->time_ns != d->time_ns)
                continue;
            (void)json_object_set_new(one, "advised", json_boolean(n->advised));
            (void)json_object_set_new(one, "why", json_string(n->why));
        }
        (void)json_array_append_new(list, one);
    }
    return list;
}

json_t *balancer_json(const struct balancer *b)
{
    const char *trace = b->machine->config->balance_trace;
    json_t *json = json_pack(
        "{s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:s}", "name",
        b->machine->config->name, "mode", guest_balance_words[b->mode], "epoch",
        (double)b->epoch_ns / 1e9, "epochs", (json_int_t)b->n_epochs, "skipped",
        (json_int_t)b->n_skipped, "decided", (json_int_t)b->n_decided, "moved",
        (json_int_t)b->n_moves, "failed", (json_int_t)b->n_failed, "moving",
        b->doing.n > 0, "decisions", decisions_json(b), "complaint", b->complaint);

    if (json != NULL && trace != NULL)
        (void)json_object_set_new(json, "trace",
                                  b->trace_error == 0
                                      ? json_string(trace)
                                      : json_sprintf("%s (ended: %s)", trace,
                                                     strerror(b->trace_error)));
    if (json != NULL && b->seen != NULL)
        (void)json_object_update(json, b->seen);
    return json;
}

/* --- an epoch --------------------------------------------------------------------------------- */

void balancer_act(struct balancer *b)
{
    if (b->job_result < 0 && strcmp(b->complaint, b->job_ec.msg) != 0)
        say(b, "%s", b->job_ec.msg);
    (void)snprintf(b->complaint, sizeof(b->complaint), "%s",
                   b->job_result < 0 ? b->job_ec.msg : "");
    if (b->job_result < 0)
        return;
    follow_cpus(b);
    if (!b->looked)
        return;
    b->n_epochs++;
    tell_outcomes(b);
    remember(b);
    if (b->job_result == 1 && b->mode != GUEST_BALANCE_OFF)
        obey(b);
    else
        balancer_go_on(b);
}
