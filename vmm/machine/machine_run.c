/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's life between its first and its last guest instruction.
 *
 * A pause, a reset and the end wish for a standstill (machine_stand.h) and are done when it is there;
 * the main loop serves whoever asks for something until then. Threads that bring memory back end
 * last of all. A reset happens in place: devices reset, memory given back, firmware loaded anew,
 * registers as at power-on. All of it on the main loop's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/registry.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/machine_config.h"
#include "vmm/machine/machine_private.h"

/* On a machine that stands still. The sandbox lets no threads be made, so memory that was there
 * before the start is taken again by this one alone. */
static int reset_in_place(struct machine *m, struct errctx *ec)
{
    const struct guest_mem_commit alone = { .threads = false };
    int r;

    for (size_t i = 0; i < m->n_devices; i++)
        m->devices[i]->ops->reset(m->devices[i]);
    r = machine_pager_reset(m, ec);
    machine_unmap_plugged(m);
    if (r == 0)
        r = guest_mem_discard(m->mem, ec);
    if (r == 0)
        r = guest_mem_commit(m->mem, &alone, ec);
    if (r == 0)
        r = machine_pager_make_huge(m, ec);
    if (r < 0)
        return r;
    r = machine_load_firmware(m, ec);
    if (r < 0)
        return r;
    r = machine_arch_clock_reset(m, ec);
    if (r < 0)
        return r;
    m->n_resets++;
    return machine_set_power_on(m, ec);
}

/* Half-way there is no machine to go back to. */
static int reset_or_end(struct machine *m, struct errctx *ec)
{
    int r = reset_in_place(m, ec);

    if (r < 0) {
        r = errctx_wrap(ec, r, "reset");
        machine_request_end(m, MACHINE_END_FAILURE, 0, ec->msg);
    }
    return r;
}

/* The request of now: a reset may have become an end meanwhile. */
static void serve(struct stand_wish *wish, bool stands)
{
    struct machine *m = container_of(wish, struct machine, request_wish);
    enum machine_request request;
    struct errctx ec = { 0 };

    {
        LOCK_SCOPE(&m->request_lock);
        request = m->request;
        if (request == REQUEST_RESET)
            m->request = REQUEST_NONE;
    }
    if (stands && request == REQUEST_RESET)
        (void)reset_or_end(m, &ec);
    if (stands && request == REQUEST_END) {
        evloop_stop(m->main_loop);
        machine_stand_give_up(m);
    }
}

void machine_serve_request(void *ctx)
{
    struct machine *m = ctx;

    {
        LOCK_SCOPE(&m->request_lock);
        m->posted = false;
        if (m->request == REQUEST_NONE)
            return;
    }
    m->request_wish.level = STAND_ALL;
    m->request_wish.run = serve;
    machine_stand_ask_first(m, &m->request_wish);
}

static int start_vcpus(struct machine *m, struct errctx *ec)
{
    for (size_t i = 0; i < m->n_vcpus; i++) {
        int r = vcpu_start(m->vcpus[i], ec);

        if (r < 0)
            return r;
    }
    return 0;
}

static void stop_vcpus(struct machine *m)
{
    run_gate_set(&m->gate, RUN_STATE_STOP);
    for (size_t i = 0; i < m->n_vcpus; i++)
        vcpu_kick(m->vcpus[i]);
    for (size_t i = 0; i < m->n_vcpus; i++)
        vcpu_join(m->vcpus[i]);
}

/* Filters and files for what this machine's devices need; capabilities go here, before threads are
 * made. */
static int make_sandbox(struct machine *m, struct errctx *ec)
{
    char control_dir[256], service[320];
    const struct device_needs needs = machine_config_needs(m->config);
    const struct sandbox_request req = {
        .user_network = needs.network,
        .vsock_socket = needs.socket,
        .peers = needs.peers,
        .n_peers = needs.n_peers,
        .control_dir = control_dir_path(control_dir, sizeof(control_dir)),
        .service_socket = m->config->domain == NULL
                              ? NULL
                              : machine_config_domain_socket(m->config, service, sizeof(service)),
    };
    int r;

    if (m->config->no_sandbox)
        return 0;
    r = sandbox_new(&req, &m->sandbox, ec);
    return r < 0 ? r : sandbox_enter_process(m->sandbox, ec);
}

static int start(struct machine *m, struct errctx *ec)
{
    int r = machine_open_balancer(m, ec);

    if (r < 0)
        return r;
    r = make_sandbox(m, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "sandbox");
    r = machine_start_pager(m, ec);
    if (r == 0)
        r = machine_start_slow(m, ec);
    if (r == 0)
        r = machine_start_io(m, ec);
    if (r == 0)
        r = machine_start_mover(m, ec);
    if (r == 0)
        r = machine_start_balancer(m, ec);
    if (r == 0)
        r = machine_start_throttle(m, ec);
    if (r == 0)
        r = start_vcpus(m, ec);
    if (r == 0) /* last: threads start where the one is that makes them */
        r = place_pin_thread(&m->threads->main.host_cpus, ec);
    if (r == 0 && m->sandbox != NULL)
        r = sandbox_enter(m->sandbox, SANDBOX_MAIN, ec);
    return r;
}

/* Let the guest go, unless somebody asked for something before anybody could be told. */
static void begin(struct machine *m)
{
    bool asked;

    {
        LOCK_SCOPE(&m->request_lock);
        m->running = true;
        asked = m->request != REQUEST_NONE;
        if (!asked)
            run_gate_set(&m->gate, RUN_STATE_RUN);
    }
    if (asked)
        machine_serve_request(m);
}

int machine_run(struct machine *m, struct machine_end *ret_end, struct errctx *ec)
{
    int r = start(m, ec);

    if (r == 0) {
        begin(m);
        r = evloop_run(m->main_loop, ec);
    }
    machine_stand_give_up(m);
    machine_stop_balancer(m);
    machine_stop_throttle(m);
    stop_vcpus(m);
    machine_stop_mover(m);
    machine_stop_io(m);
    machine_stop_slow(m);
    machine_stop_pager(m);
    sandbox_free(m->sandbox);
    m->sandbox = NULL;
    LOCK_SCOPE(&m->request_lock);
    m->running = false;
    if (m->request != REQUEST_END)
        m->end = (struct machine_end){ .kind = MACHINE_END_STOPPED, .reason = "stopped" };
    if (r == 0)
        *ret_end = m->end;
    return r;
}

/* --- what the control socket asks for --------------------------------------------------------- */

void machine_ask_when(struct machine *m, struct machine_ask *ask, enum stand_level level,
                      void (*run)(struct stand_wish *wish, bool stands))
{
    ask->machine = m;
    ask->wish = (struct stand_wish){ .level = level, .run = run };
    machine_stand_ask(m, &ask->wish);
}

int machine_ask_ending(struct errctx *ec)
{
    return errctx_set(ec, ECANCELED, "the machine ends");
}

static void pause_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct machine *m = ask->machine;
    struct errctx ec = { 0 };
    int r = stands ? machine_arch_clock_stop(m, &ec) : machine_ask_ending(&ec);

    m->pausing = false;
    m->paused = r == 0;
    ask->answer(ask, r, NULL, &ec);
}

void machine_pause(struct machine *m, struct machine_ask *ask)
{
    struct errctx ec = { 0 };
    int r = 0;

    if (m->paused || m->pausing)
        r = errctx_set(&ec, EALREADY, "the machine is %s already",
                       m->paused ? "paused" : "being paused");
    if (r < 0) {
        ask->answer(ask, r, NULL, &ec);
        return;
    }
    m->pausing = true;
    machine_ask_when(m, ask, STAND_ALL, pause_now);
}

static void resume_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct machine *m = ask->machine;
    struct errctx ec = { 0 };
    int r = !stands     ? machine_ask_ending(&ec)
            : !m->paused ? errctx_set(&ec, EALREADY, "the machine is not paused")
                         : machine_arch_clock_go(m, &ec);

    if (r == 0)
        m->paused = false;
    ask->answer(ask, r, NULL, &ec);
}

void machine_resume(struct machine *m, struct machine_ask *ask)
{
    struct errctx ec = { 0 };

    if (m->paused || m->pausing) { /* after what is in the line before */
        machine_ask_when(m, ask, STAND_ALL, resume_now);
        return;
    }
    (void)errctx_set(&ec, EALREADY, "the machine is not paused");
    ask->answer(ask, -EALREADY, NULL, &ec);
}

int machine_power_button(struct machine *m, struct errctx *ec)
{
    if (m->paused)
        return errctx_set(ec, EBUSY, "the machine is paused and cannot see its power button");
    return machine_arch_power_button(m, ec);
}

static void reset_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct machine *m = ask->machine;
    struct errctx ec = { 0 };
    int r = stands ? reset_or_end(m, &ec) : machine_ask_ending(&ec);

    m->n_resetting--;
    ask->answer(ask, r, NULL, &ec);
}

void machine_reset(struct machine *m, struct machine_ask *ask)
{
    m->n_resetting++;
    machine_ask_when(m, ask, STAND_ALL, reset_now);
}

void machine_stop(struct machine *m, const char *why)
{
    machine_request_end(m, MACHINE_END_STOPPED, 0, why);
}

size_t machine_console_input(struct machine *m, const void *data, size_t len)
{
    if (m->config->console == CONSOLE_VIRTIO) {
        ssize_t n = write(m->console_pipe[1], data, len);

        return n < 0 ? 0 : (size_t)n;
    }
    return machine_arch_receive(m, data, len);
}
