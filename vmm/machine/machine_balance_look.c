/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoch on the balancer's thread: look, decide, write it into the trace.
 *
 * Of a large memory a part is counted each time, in turn, and stands for all of it: 64 windows of
 * 32 MiB, since a page of 4 KiB costs a quarter of a microsecond.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory/residency.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/balance_say.h"
#include "vmm/machine/machine_balance_private.h"

enum { WINDOWS = 64 };

/* --- what the machine used -------------------------------------------------------------------- */

static uint64_t io_thread_ns(const struct io_thread *io)
{
    struct timespec used;
    clockid_t clock;

    if (!io->started || pthread_getcpuclockid(io->thread, &clock) != 0 ||
        clock_gettime(clock, &used) < 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* vCPUs, and the I/O threads that serve one virtual node. */
static void add_used(struct balancer *b)
{
    struct machine *m = b->machine;

    memset(b->used_ns, 0, m->plan->n_nodes * sizeof(b->used_ns[0]));
    for (size_t i = 0; i < m->n_vcpus; i++) {
        uint64_t ns = 0;

        (void)vcpu_cpu_ns(m->vcpus[i], &ns);
        b->used_ns[m->plan->vcpus[i].vnode.v] += ns;
    }
    for (size_t i = 0; i < m->n_io; i++) {
        const struct idset *vnodes = &m->threads->io[i].vnodes;

        if (idset_count(vnodes) == 1)
            b->used_ns[idset_next(vnodes, 0)] += io_thread_ns(&m->io[i]);
    }
}

/* --- where its memory is ---------------------------------------------------------------------- */

static bool go_on(void *ctx)
{
    struct balancer *b = ctx;
    LOCK_SCOPE(&b->lock);

    return !b->held && !b->quit;
}

static uint64_t node_bytes(const struct residency_node *n)
{
    return n->pages_4k * 4 * KIB + n->pages_2m * 2 * MIB + n->pages_1g * GIB;
}

static int count_backing(struct balancer *b, const struct backing *backing,
                         const struct residency_pick *pick, struct residency *res,
                         struct errctx *ec)
{
    const struct topo_plan *plan = b->machine->plan;
    uint64_t seen, all;
    int r;

    machine_pager_hold(b->machine); /* looking would fill a hole that is made meanwhile */
    guest_mem_pages_stay(b->machine->mem);
    r = residency_scan_part(backing, b->machine->pagemap, pick, res, ec);
    guest_mem_pages_may_go(b->machine->mem);
    machine_pager_release(b->machine);
    if (r < 0)
        return r;
    seen = MAX(res->present_bytes, UINT64_C(1));
    all = pick->every > 1 ? res->present_bytes + res->reserved_bytes : res->present_bytes;
    for (size_t h = 0; h < plan->n_hosts; h++) {
        const uint32_t id = plan->hosts[h].id.v;

        if (id < res->n_nodes)
            b->at[backing->plan->vnode.v * plan->n_hosts + h] +=
                (uint64_t)((__uint128_t)node_bytes(&res->node[id]) * all / seen);
    }
    return 0;
}

static int count_memory(struct balancer *b, struct errctx *ec)
{
    const struct machine *m = b->machine;
    CLEANUP_FREE struct residency *res = malloc(sizeof(*res));
    struct residency_pick pick = { .go_on = go_on, .ctx = b };
    uint64_t windows = 0;
    int r = 0;

    if (res == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count pages");
    for (size_t i = 0; i < guest_mem_n_backings(m->mem); i++)
        windows += guest_mem_backing(m->mem, i)->len_bytes / RESIDENCY_WINDOW_BYTES;
    pick.every = (uint32_t)(windows / WINDOWS) + 1;
    memset(b->at, 0, m->plan->n_nodes * m->plan->n_hosts * sizeof(b->at[0]));
    for (size_t i = 0; r == 0 && i < guest_mem_n_backings(m->mem); i++) {
        const struct backing *backing = guest_mem_backing(m->mem, i);
        const uint64_t has = backing->len_bytes / RESIDENCY_WINDOW_BYTES;
        const uint32_t every = pick.every;

        pick.every = (uint32_t)MIN((uint64_t)every, has + 1); /* of a small piece not nothing */
        pick.first = pick.every > has ? 0 : b->round % pick.every;
        r = count_backing(b, backing, &pick, res, ec);
        pick.every = every;
    }
    b->round++;
    return r;
}

/* --- the trace -------------------------------------------------------------------------------- */

static void write_line(struct balancer *b, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    size_t len = text != NULL ? strlen(text) : 0, done = 0;

    json_decref(json);
    if (text == NULL) {
        b->trace_error = ENOMEM;
    } else {
        text[len++] = '\n'; /* in place of the terminator */
        while (done < len && b->trace_error == 0) {
            const ssize_t n = write(b->trace_fd, text + done, len - done);

            if (n > 0)
                done += (size_t)n;
            else if (n < 0 && errno != EINTR)
                b->trace_error = errno;
        }
    }
    free(text);
    if (b->trace_error != 0) {
        (void)close(b->trace_fd);
        b->trace_fd = -1;
    }
}

static void trace_snapshot(struct balancer *b, const struct balance_line *line)
{
    if (b->trace_fd >= 0 && !b->trace_began)
        write_line(b, balance_head_to_json(&b->head));
    if (b->trace_fd >= 0)
        write_line(b, balance_trace_to_json(&line->snap, b->trace_began && b->has_line
                                                             ? &b->line.snap
                                                             : NULL));
    b->trace_began = true;
}

/* --- all of it -------------------------------------------------------------------------------- */

/* The policy's turn; @line becomes the last one. */
static int decide(struct balancer *b, struct balance_line *line, struct errctx *ec)
{
    int r;

    trace_snapshot(b, line);
    if (b->has_line)
        balance_line_fini(&b->line);
    b->line = *line;
    b->has_line = b->looked = true;
    r = balance_epoch(b->policy, &b->line.snap, &b->decided, ec);
    if (r == 1 && b->trace_fd >= 0)
        write_line(b, json_pack("{s:o}", "decided",
                                balance_decision_json(&b->decided, b->head.hosts)));
    return r;
}

static int look(struct balancer *b, struct host_reading *now, uint64_t now_ns, struct errctx *ec)
{
    const struct balance_live live = { .plan = b->machine->plan,
                                       .before = &b->before,
                                       .now = now,
                                       .time_ns = now_ns,
                                       .passed_ns = MAX(now_ns - b->before_ns, UINT64_C(1)),
                                       .vnodes = b->vnodes,
                                       .at_bytes = b->at };
    struct balance_line line;
    int r = count_memory(b, ec);

    for (size_t i = 0; i < b->machine->plan->n_nodes; i++)
        b->vnodes[i].used_ns = b->used_ns[i] - MIN(b->used_before_ns[i], b->used_ns[i]);
    if (r == 0)
        r = balance_live_make(&live, &line, ec);
    return r < 0 ? r : decide(b, &line, ec);
}

/* Counters of CPUs that come and go say nothing of the time between: begin anew after a change. */
void balancer_look(struct balancer *b)
{
    struct host_reading now;
    uint64_t now_ns, *used;
    int r;

    b->looked = false;
    now_ns = evloop_now_ns();
    r = host_watch_read(b->watch, now_ns, &now, &b->job_ec);
    if (r < 0) {
        b->job_result = r;
        return;
    }
    add_used(b);
    if (b->has_before && idset_equal(&now.online, &b->before.online))
        r = look(b, &now, now_ns, &b->job_ec);
    b->online = now.online;
    b->cpu_pressure = now.cpu;
    b->memory_pressure = now.memory;
    host_reading_fini(&b->before);
    b->before = now;
    b->before_ns = now_ns;
    b->has_before = true;
    used = b->used_before_ns;
    b->used_before_ns = b->used_ns;
    b->used_ns = used;
    b->job_result = r;
}
