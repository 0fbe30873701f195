/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_stand.h. */
#include "vmm/machine/machine_stand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/machine/machine_private.h"

enum stand_state { RUNS, PARKING, PARKED, QUIESCING, HOLDING, DRAINING, STANDS, RESUMING };

struct machine_stand {
    int fd; /* readable: look again */
    struct evloop_watch *watch;
    enum stand_state state;
    struct stand_wish *first;   /* the line */
    struct stand_wish *evictor; /* those that wish no more than that; any order */
    bool looking;
};

/* --- devices, on their loops ------------------------------------------------------------------ */

static void quiesce(struct device *dev)
{
    if (dev->ops->quiesce != NULL)
        dev->ops->quiesce(dev);
}

static void resume(struct device *dev)
{
    if (dev->ops->resume != NULL)
        dev->ops->resume(dev);
}

static void quiesce_on(const struct machine *m, const struct evloop *loop)
{
    for (size_t i = 0; i < m->n_devices; i++)
        if (m->devices[i]->loop == loop)
            quiesce(m->devices[i]);
}

static void resume_on(const struct machine *m, const struct evloop *loop)
{
    for (size_t i = m->n_devices; i > 0; i--)
        if (m->devices[i - 1]->loop == loop)
            resume(m->devices[i - 1]);
}

static void leave_loop(const struct io_thread *io)
{
    struct machine *m = io->machine;

    if (atomic_fetch_sub(&m->n_loops_asked, 1) == 1)
        machine_stand_tell(m);
}

static void quiesce_loop(void *ctx)
{
    const struct io_thread *io = ctx;

    quiesce_on(io->machine, io->loop);
    leave_loop(io);
}

static void resume_loop(void *ctx)
{
    const struct io_thread *io = ctx;

    resume_on(io->machine, io->loop);
    leave_loop(io);
}

/* Where nobody serves a loop, or cannot be told, it is done from here. */
static void ask_loops(struct machine *m, void (*what)(void *ctx))
{
    for (size_t i = 0; i < m->n_io; i++) {
        atomic_fetch_add(&m->n_loops_asked, 1);
        if (!m->io[i].started || evloop_post(m->io[i].loop, what, &m->io[i]) < 0)
            what(&m->io[i]);
    }
}

/* --- the way to a standstill and back --------------------------------------------------------- */

static void close_gate(struct machine *m)
{
    run_gate_set(&m->gate, RUN_STATE_PAUSE);
    for (size_t i = 0; i < m->n_vcpus; i++)
        vcpu_kick(m->vcpus[i]);
}

/* One that was requested, by a guest too, has its message on the way, and that decides. */
static void open_gate(struct machine *m)
{
    LOCK_SCOPE(&m->request_lock);

    if (m->request == REQUEST_NONE)
        run_gate_set(&m->gate, RUN_STATE_RUN);
}

static bool is_ending(struct machine *m)
{
    LOCK_SCOPE(&m->request_lock);

    return m->request == REQUEST_END;
}

/* One step, if it can be done now. */
static bool step(struct machine *m)
{
    struct machine_stand *s = m->stand;

    switch (s->state) {
    case RUNS:
        close_gate(m);
        break;
    case PARKING:
        if (!run_gate_is_parked(&m->gate))
            return false;
        break;
    case PARKED:
        quiesce_on(m, NULL);
        ask_loops(m, quiesce_loop);
        break;
    case QUIESCING:
        if (atomic_load(&m->n_loops_asked) > 0)
            return false;
        machine_mover_hold(m);
        machine_balancer_hold(m);
        machine_pager_ask(m);
        break;
    case HOLDING:
        if (!machine_mover_is_still(m) || !machine_balancer_is_still(m) ||
            !machine_pager_is_still(m))
            return false;
        machine_pager_drain(m);
        break;
    case DRAINING:
        if (!machine_pager_is_drained(m))
            return false;
        break;
    case STANDS: /* and now back */
        machine_pager_release(m);
        machine_balancer_release(m);
        machine_mover_release(m);
        ask_loops(m, resume_loop);
        break;
    case RESUMING:
        if (atomic_load(&m->n_loops_asked) > 0)
            return false;
        resume_on(m, NULL);
        open_gate(m);
        s->state = RUNS;
        return true;
    }
    s->state++;
    return true;
}

/* Return: whether the machine stands as @level says, or it will be told. */
static bool reach(struct machine *m, enum stand_level level)
{
    const enum stand_state wanted = level == STAND_ALL ? STANDS : PARKED;
    const struct machine_stand *s = m->stand;

    while (s->state != STANDS && s->state != wanted)
        if (!step(m))
            return false;
    return true;
}

/* Nobody wishes anything. */
static void go(struct machine *m)
{
    struct machine_stand *s = m->stand;

    if (m->paused || s->state == RUNS || is_ending(m))
        return;
    if (s->state == PARKED) {
        open_gate(m);
        s->state = RUNS;
        return;
    }
    while (s->state != RUNS && step(m))
        ;
}

/* --- wishes ----------------------------------------------------------------------------------- */

static void run_for_evictor(struct machine *m)
{
    struct machine_stand *s = m->stand;

    while (s->evictor != NULL && machine_pager_is_still(m)) {
        struct stand_wish *wish = s->evictor;

        s->evictor = wish->next;
        wish->in_line = false;
        wish->run(wish, true);
        machine_pager_release(m);
    }
}

static void look(struct machine *m)
{
    struct machine_stand *s = m->stand;

    if (s->looking) /* a wish in the middle of another; it has its turn */
        return;
    s->looking = true;
    run_for_evictor(m);
    while (s->first != NULL && reach(m, s->first->level)) {
        struct stand_wish *wish = s->first;

        s->first = wish->next;
        wish->in_line = false;
        wish->run(wish, true);
        run_for_evictor(m);
    }
    if (s->first == NULL)
        go(m);
    s->looking = false;
}

static void told(void *ctx, uint32_t events)
{
    struct machine *m = ctx;
    eventfd_t n;

    (void)events;
    (void)eventfd_read(m->stand->fd, &n);
    look(m);
}

void machine_stand_ask(struct machine *m, struct stand_wish *wish)
{
    struct stand_wish **end = &m->stand->first;

    if (wish->in_line)
        return;
    wish->in_line = true;
    if (wish->level == STAND_EVICTOR) {
        machine_pager_ask(m);
        end = &m->stand->evictor;
    }
    while (*end != NULL)
        end = &(*end)->next;
    wish->next = NULL;
    *end = wish;
    look(m);
}

void machine_stand_ask_first(struct machine *m, struct stand_wish *wish)
{
    if (wish->in_line)
        return;
    wish->in_line = true;
    wish->next = m->stand->first;
    m->stand->first = wish;
    look(m);
}

void machine_stand_give_up(struct machine *m)
{
    struct machine_stand *s = m->stand;

    while (s->evictor != NULL || s->first != NULL) {
        struct stand_wish **list = s->evictor != NULL ? &s->evictor : &s->first;
        struct stand_wish *wish = *list;
        const bool held = wish->level == STAND_EVICTOR;

        *list = wish->next;
        wish->in_line = false;
        wish->run(wish, false);
        if (held)
            machine_pager_release(m);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

void machine_stand_tell(const struct machine *m)
{
    if (m->stand != NULL)
        (void)eventfd_write(m->stand->fd, 1);
}

static void vcpus_arrived(void *ctx)
{
    machine_stand_tell(ctx);
}

int machine_stand_new(struct machine *m, struct errctx *ec)
{
    struct machine_stand *s = m->stand = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory to have a machine stand still");
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = s->fd < 0 ? errctx_set_os(ec, errno, "eventfd")
                  : evloop_watch_fd(m->main_loop, s->fd, EPOLLIN, told, m, &s->watch, ec);
    if (r < 0)
        machine_stand_free(m);
    else
        run_gate_tell(&m->gate, vcpus_arrived, m);
    return r;
}

void machine_stand_free(struct machine *m)
{
    struct machine_stand *s = m->stand;

    if (s == NULL)
        return;
    evloop_unwatch(s->watch);
    if (s->fd >= 0)
        (void)close(s->fd);
    free(s);
    m->stand = NULL;
}
