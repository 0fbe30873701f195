/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O threads: an event loop each, on which devices live. The one that gives guest memory back has
 * a sandbox of its own kind and never polls.
 *
 * The loops exist as long as the devices; their threads only while the machine runs, and only where
 * a device lives on the loop. Before and after, what is called on a loop runs on the caller's
 * thread, which is the main one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

static void say_ready(void *ctx)
{
    struct io_thread *io = ctx;

    (void)sem_post(&io->ready);
}

static int io_thread_setup(struct io_thread *io)
{
    const struct sandbox *sandbox = io->machine->sandbox;
    const struct machine_threads *threads = io->machine->threads;
    const enum sandbox_kind kind = threads->io[io->index].reclaims ? SANDBOX_RECLAIM : SANDBOX_IO;
    char name[MACHINE_THREAD_NAME];
    int r;

    place_name_thread(machine_thread_name(threads, io->index, name));
    r = place_pin_thread(&io->machine->threads->io[io->index].host_cpus, &io->ec);
    if (r < 0)
        return r;
    r = sandbox != NULL ? sandbox_enter(sandbox, kind, &io->ec) : 0;
    if (r == 0 && evloop_post(io->loop, say_ready, io) < 0) /* the first thing that is served */
        r = errctx_set(&io->ec, ENOMEM, "no memory");
    return r;
}

static void *io_thread_main(void *arg)
{
    struct io_thread *io = arg;
    struct errctx ec = { 0 };

    io->result = io_thread_setup(io);
    if (io->result < 0)
        say_ready(io);
    else if (evloop_run(io->loop, &ec) < 0) {
        machine_request_end(io->machine, MACHINE_END_FAILURE, 0, ec.msg);
        evloop_stop(io->machine->main_loop); /* its devices will not stand */
    }
    return NULL;
}

int machine_make_io(struct machine *m, struct errctx *ec)
{
    int r = machine_threads_plan(m->config, m->plan, &m->threads, ec);

    if (r < 0)
        return r;
    m->io = calloc(m->threads->n_io, sizeof(m->io[0]));
    if (m->io == NULL)
        return errctx_set(ec, ENOMEM, "no memory for I/O threads");
    for (; m->n_io < m->threads->n_io; m->n_io++) {
        struct io_thread *io = &m->io[m->n_io];

        r = evloop_new(&io->loop, ec);
        if (r < 0)
            return r;
        if (!m->threads->io[m->n_io].reclaims)
            evloop_set_poll(io->loop, (uint64_t)m->config->io_poll_us * 1000u);
        io->index = (unsigned)m->n_io;
        io->machine = m;
    }
    return 0;
}

/* Returns when the loop is served, or when it is known why it cannot be. */
static int start_io_thread(struct io_thread *io, struct errctx *ec)
{
    int r;

    (void)sem_init(&io->ready, 0, 0);
    r = pthread_create(&io->thread, NULL, io_thread_main, io);
    if (r != 0) {
        (void)sem_destroy(&io->ready);
        return errctx_set_os(ec, r, "I/O thread %u", io->index);
    }
    io->started = true;
    while (sem_wait(&io->ready) < 0)
        ; /* interrupted */
    return io->result < 0 ? errctx_set(ec, -io->result, "I/O thread %u: %s", io->index, io->ec.msg)
                          : 0;
}

int machine_start_io(struct machine *m, struct errctx *ec)
{
    for (size_t i = 0; i < m->n_io; i++) {
        int r = m->io[i].wanted ? start_io_thread(&m->io[i], ec) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

void machine_stop_io(struct machine *m)
{
    for (size_t i = 0; i < m->n_io; i++) {
        if (!m->io[i].started)
            continue;
        evloop_stop(m->io[i].loop);
        (void)pthread_join(m->io[i].thread, NULL);
        (void)sem_destroy(&m->io[i].ready);
        m->io[i].started = false;
    }
}

void machine_free_io(struct machine *m)
{
    for (size_t i = 0; i < m->n_io; i++)
        evloop_free(m->io[i].loop);
    machine_threads_free(m->threads);
    m->threads = NULL;
    free(m->io);
    m->io = NULL;
    m->n_io = 0;
}
