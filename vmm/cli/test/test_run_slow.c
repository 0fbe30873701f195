/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slow disk has what a guest waits for, or is to take what is evicted: whoever asks the machine
 * something is answered meanwhile, through its control socket, and who pauses, resets or stops it is
 * when the disk is done. On this machine's kernel, but for the disk, KVM and the guest, which is a
 * thread that touches memory and comes by the gate.
 */
// LDFLAGS: -Wl,--wrap=swap_ring_new,--wrap=swap_ring_free,--wrap=swap_ring_buffer
// LDFLAGS: -Wl,--wrap=swap_ring_read,--wrap=swap_ring_write
// LDFLAGS: -Wl,--wrap=swap_file_open,--wrap=swap_file_close
// LDFLAGS: -Wl,--wrap=machine_load_firmware,--wrap=machine_set_power_on
// LDFLAGS: -Wl,--wrap=machine_arch_clock_reset,--wrap=machine_arch_clock_stop
// LDFLAGS: -Wl,--wrap=machine_arch_clock_go
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory/pager/uffd.h"
#include "memory/store/test/fake_disk.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/cli/run_control.h"
#include "vmm/cli/terminal.h"
#include "vmm/machine/control_dir.h"
#include "vmm/machine/machine_private.h"

enum { SMALL = 4096, NODE_BYTES = 8 * MIB, BLOCKS = 4096, WAIT_MS = 60000, AT = NODE_BYTES / 2 + 5 };

int __wrap_swap_file_open(const char *path, struct swap_file *ret_file, struct errctx *ec);
void __wrap_swap_file_close(struct swap_file *file);
int __wrap_machine_load_firmware(struct machine *m, struct errctx *ec);
int __wrap_machine_set_power_on(struct machine *m, struct errctx *ec);
int __wrap_machine_arch_clock_reset(struct machine *m, struct errctx *ec);
int __wrap_machine_arch_clock_stop(struct machine *m, struct errctx *ec);
int __wrap_machine_arch_clock_go(struct machine *m, struct errctx *ec);

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

int __wrap_machine_load_firmware(struct machine *m, struct errctx *ec)
{
    (void)ec;
    *guest_mem_backing(m->mem, 0)->host = 0xfa;
    return 0;
}

int __wrap_machine_set_power_on(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

int __wrap_machine_arch_clock_reset(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

int __wrap_machine_arch_clock_stop(struct machine *m, struct errctx *ec)
{
    assert_true(run_gate_is_parked(&m->gate));
    (void)ec;
    return 0;
}

int __wrap_machine_arch_clock_go(struct machine *m, struct errctx *ec)
{
    (void)m;
    (void)ec;
    return 0;
}

struct fixture {
    char dir[64];
    struct plan_ram ram;
    struct mem_layout *layout;
    struct evloop *loop;
    struct terminal *terminal;
    struct control *control;
    struct run_share share;
    struct run_control asked;
    struct machine_config config;
    struct machine_threads threads;
    struct machine m;
    uint32_t told; /* the distance of the node from itself */
    int no_stats;
    pthread_t runs, guest;
    struct machine_end end;
    _Atomic bool ended;
    _Atomic unsigned touches; /* that the guest is done with */
    _Atomic uint8_t got;      /* by the first */
};

/* Noise, which does not shrink. */
static uint8_t byte_of(size_t at)
{
    return (uint8_t)((at * 0x9e3779b97f4a7c15ull + at / SMALL) >> 40);
}

/* --- the machine ------------------------------------------------------------------------------ */

static void leave(void *ctx, const char *why)
{
    machine_stop(&((struct fixture *)ctx)->m, why);
}

static void *run_machine(void *arg)
{
    struct fixture *f = arg;

    assert_int_equal(machine_run(&f->m, &f->end, NULL), 0);
    atomic_store(&f->ended, true);
    return NULL;
}

static void make_machine(struct fixture *f)
{
    static const uint64_t bytes[] = { NODE_BYTES };
    struct machine *m = &f->m;
    struct errctx ec = { 0 };

    f->config.name = (char *)(uintptr_t)"vm";
    f->config.no_sandbox = true;
    f->config.pager = CONFIG_PAGER_ON;
    f->config.pager_store_bytes = 2 * MIB;
    f->config.pager_swap = (char *)(uintptr_t)"a disk";
    plan_ram_init(&f->ram, 1, bytes);
    f->told = 10;
    f->ram.plan.distances = &f->told;
    assert_int_equal(mem_layout_make(&test_map, &f->ram.plan, 40, &f->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f->ram.plan, f->layout, &m->mem, NULL), 0);
    m->plan = &f->ram.plan;
    m->main_loop = f->loop;
    m->config = &f->config;
    m->threads = &f->threads;
    m->pagemap = -1;
    f->no_stats = -1;
    m->stats_fds = &f->no_stats;
    (void)pthread_mutex_init(&m->request_lock, NULL);
    run_gate_init(&m->gate);
    assert_int_equal(machine_stand_new(m, NULL), 0);
    if (machine_make_pager(m, &ec) < 0)
        fail_msg("%s", ec.msg);
    for (size_t i = 0; i < NODE_BYTES; i++)
        guest_mem_backing(m->mem, 0)->host[i] = byte_of(i);
}

static struct fixture *begin(void)
{
    static const struct terminal_ops ops = { .leave = leave };
    struct fixture *f = calloc(1, sizeof(*f));
    struct control_params params = { .name = "vm", .ops = &run_control_ops };
    struct errctx ec = { 0 };
    int fd = -1, r = uffd_open(&fd, &ec);

    assert_non_null(f);
    if (r == -EPERM || r == -EACCES || r == -ENOSYS || r == -ENOTSUP) {
        print_message("# skip: %s\n", ec.msg);
        free(f);
        skip();
    }
    (void)close(fd);
    memcpy(f->dir, "/tmp/nv-slow-XXXXXX", sizeof("/tmp/nv-slow-XXXXXX"));
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(terminal_new(f->loop, -1, &ops, f, &f->terminal, NULL), 0);
    make_machine(f);
    f->asked = (struct run_control){ .machine = &f->m, .share = &f->share };
    params.dir = f->dir;
    params.ctx = &f->asked;
    assert_int_equal(control_new(&params, f->loop, &f->control, NULL), 0);
    assert_int_equal(pthread_create(&f->runs, NULL, run_machine, f), 0);
    return f;
}

/* After the machine ended. */
static void end(struct fixture *f)
{
    assert_int_equal(pthread_join(f->runs, NULL), 0);
    control_free(f->control);
    terminal_free(f->terminal);
    machine_stand_free(&f->m);
    fake_disk_fini();
    evloop_free(f->loop);
    guest_mem_free(f->m.mem);
    mem_layout_free(f->layout);
    run_gate_fini(&f->m.gate);
    (void)pthread_mutex_destroy(&f->m.request_lock);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
}

/* --- who asks --------------------------------------------------------------------------------- */

static int say(const struct fixture *f, const char *request)
{
    int fd = -1;

    assert_int_equal(control_dir_connect(f->dir, "vm", &fd, NULL), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    assert_int_equal(send(fd, "\n", 1, MSG_NOSIGNAL), 1);
    return fd;
}

/* The reply, whole; closes @fd. */
static json_t *hear(int fd)
{
    static char buf[65536];
    size_t len = 0;
    json_t *reply;

    while (len == 0 || buf[len - 1] != '\n') {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = recv(fd, buf + len, sizeof(buf) - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
    }
    (void)close(fd);
    reply = json_loadb(buf, len, 0, NULL);
    assert_non_null(reply);
    return reply;
}

static bool is_silent(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 50) == 0;
}

static void is_granted(int fd)
{
    json_t *reply = hear(fd);

    if (!json_is_true(json_object_get(reply, "ok")))
        fail_msg("%s", json_string_value(json_object_get(reply, "error")));
    json_decref(reply);
}

static void is_refused(int fd, const char *why)
{
    json_t *reply = hear(fd);

    assert_string_equal(json_string_value(json_object_get(reply, "error")), why);
    json_decref(reply);
}

/* A word of what a request without members has for an answer. */
static void is_told(const struct fixture *f, const char *request, const char *name,
                    const char *expected)
{
    json_t *reply = hear(say(f, request));

    assert_string_equal(
        json_string_value(json_object_get(json_object_get(reply, "result"), name)), expected);
    json_decref(reply);
}

#define ASK(command) "{\"command\":\"" command "\"}"
static const char evict[] = "{\"command\":\"evict\",\"vnode\":0,\"bytes\":8388608}";

/* What asks for nothing that stands is answered whatever the machine waits for. */
static void answers(const struct fixture *f, const char *state)
{
    is_told(f, ASK("status"), "state", state);
    is_granted(say(f, ASK("stats")));
    is_told(f, ASK("move-status"), "state", "none");
    is_granted(say(f, ASK("evict-status")));
}

static void wait_evicted(const struct fixture *f)
{
    for (bool over = false; !over;) {
        json_t *reply = hear(say(f, ASK("evict-status")));
        const json_t *result = json_object_get(reply, "result");

        over = strcmp(json_string_value(json_object_get(result, "state")), "over") == 0;
        json_decref(reply);
        (void)usleep(1000);
    }
    assert_int_equal(guest_mem_resident_bytes(f->m.mem, (struct vnode_id){ 0 }), 0);
    assert_true(atomic_load(&disk.writes) > 0);
}

/* --- the guest -------------------------------------------------------------------------------- */

/* A vCPU: touches a page, then comes by the gate, for as long as it is open. */
static void *guest_main(void *arg)
{
    static const atomic_bool present = false;
    struct fixture *f = arg;

    do {
        const uint8_t byte = *(volatile uint8_t *)(guest_mem_backing(f->m.mem, 0)->host + AT);

        if (atomic_fetch_add(&f->touches, 1) == 0)
            atomic_store(&f->got, byte);
        (void)sched_yield();
    } while (run_gate_pass(&f->m.gate, &present));
    run_gate_leave(&f->m.gate);
    return NULL;
}

/* More than the store has room for is away, and the disk holds the page that the guest wants. */
static void have_guest_wait(struct fixture *f)
{
    is_granted(say(f, evict));
    wait_evicted(f);
    atomic_store(&disk.holds_reads, true);
    run_gate_enter(&f->m.gate);
    assert_int_equal(pthread_create(&f->guest, NULL, guest_main, f), 0);
    while (!atomic_load(&disk.is_held))
        (void)sched_yield();
}

static void stop(struct fixture *f)
{
    is_granted(say(f, ASK("stop")));
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    assert_int_equal(atomic_load(&f->got), byte_of(AT));
}

static void a_pause_is_done_when_the_page_is_there(void **state)
{
    struct fixture *f = begin();
    unsigned touches;
    int pause, resume;

    (void)state;
    have_guest_wait(f);
    answers(f, "running");
    pause = say(f, ASK("pause"));
    answers(f, "pausing");
    is_refused(say(f, ASK("pause")), "the machine is being paused already");
    is_granted(say(f, ASK("memory"))); /* nothing is evicted */
    is_granted(say(f, ASK("ledger")));
    resume = say(f, ASK("resume")); /* has its turn after the pause */
    assert_true(is_silent(pause) && is_silent(resume));
    assert_int_equal(atomic_load(&f->touches), 0);
    atomic_store(&disk.holds_reads, false);
    is_granted(pause);
    is_granted(resume);
    is_granted(say(f, ASK("pause")));
    answers(f, "paused");
    touches = atomic_load(&f->touches);
    assert_true(run_gate_is_parked(&f->m.gate) && touches > 0);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&f->touches), touches);
    is_granted(say(f, ASK("resume")));
    answers(f, "running");
    while (atomic_load(&f->touches) == touches)
        (void)sched_yield();
    stop(f);
    end(f);
}

static void a_reset_is_done_when_the_page_is_there(void **state)
{
    struct fixture *f = begin();
    int reset, pause;

    (void)state;
    have_guest_wait(f);
    reset = say(f, ASK("reset"));
    answers(f, "resetting");
    pause = say(f, ASK("pause"));
    assert_true(is_silent(reset) && is_silent(pause));
    assert_int_equal(f->m.n_resets + atomic_load(&f->touches), 0);
    atomic_store(&disk.holds_reads, false);
    is_granted(reset);
    is_granted(pause);
    answers(f, "paused");
    assert_int_equal(f->m.n_resets, 1);
    assert_int_equal(*guest_mem_backing(f->m.mem, 0)->host, 0xfa);
    assert_int_equal(*(guest_mem_backing(f->m.mem, 0)->host + AT), 0);
    stop(f);
    end(f);
}

/* A guest's own, which has no peer. */
static void a_guest_is_reset_when_another_vcpu_has_its_page(void **state)
{
    struct fixture *f = begin();

    (void)state;
    have_guest_wait(f);
    machine_request_reset(&f->m, "as a vCPU would");
    answers(f, "resetting");
    assert_int_equal(f->m.n_resets + atomic_load(&f->touches), 0);
    atomic_store(&disk.holds_reads, false);
    while (atomic_load(&f->touches) < 2)
        (void)sched_yield();
    is_granted(say(f, ASK("pause")));
    assert_int_equal(f->m.n_resets, 1);
    stop(f);
    end(f);
}

static void a_stop_is_done_when_the_page_is_there(void **state)
{
    struct fixture *f = begin();
    int pause;

    (void)state;
    have_guest_wait(f);
    pause = say(f, ASK("pause"));
    assert_true(is_silent(pause));
    is_granted(say(f, ASK("stop"))); /* before the pause */
    answers(f, "ending");
    is_granted(say(f, ASK("stop"))); /* once more changes nothing */
    assert_true(is_silent(pause));
    assert_false(atomic_load(&f->ended));
    atomic_store(&disk.holds_reads, false);
    is_refused(pause, "the machine ends");
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    assert_int_equal(atomic_load(&f->got), byte_of(AT));
    while (!atomic_load(&f->ended))
        (void)sched_yield();
    assert_int_equal(f->end.kind, MACHINE_END_STOPPED);
    assert_string_equal(f->end.reason, "ctl stop");
    end(f);
}

static void a_signal_is_heard_while_a_pause_waits(void **state)
{
    struct fixture *f = begin();
    int pause;

    (void)state;
    have_guest_wait(f);
    pause = say(f, ASK("pause"));
    assert_true(is_silent(pause));
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    while (is_silent(pause) && atomic_load(&f->touches) == 0) {
        json_t *reply = hear(say(f, ASK("status")));
        const json_t *result = json_object_get(reply, "result");
        const bool heard =
            strcmp(json_string_value(json_object_get(result, "state")), "ending") == 0;

        json_decref(reply);
        if (heard)
            atomic_store(&disk.holds_reads, false);
    }
    is_refused(pause, "the machine ends");
    assert_int_equal(pthread_join(f->guest, NULL), 0);
    while (!atomic_load(&f->ended))
        (void)sched_yield();
    assert_string_equal(f->end.reason, "SIGTERM");
    end(f);
}

/* A peer that hangs up takes nothing back. */
static void nobody_need_wait_for_his_pause(void **state)
{
    struct fixture *f = begin();

    (void)state;
    have_guest_wait(f);
    (void)close(say(f, ASK("pause")));
    answers(f, "pausing");
    atomic_store(&disk.holds_reads, false);
    while (atomic_load(&f->touches) == 0)
        (void)sched_yield();
    is_granted(say(f, ASK("reset"))); /* has its turn after the pause */
    answers(f, "paused");
    stop(f);
    end(f);
}

static void counting_waits_for_what_is_written_and_a_pause_too(void **state)
{
    struct fixture *f = begin();
    int memory, ledger, pause;

    (void)state;
    atomic_store(&disk.holds_writes, true);
    is_granted(say(f, evict));
    while (!atomic_load(&disk.is_held))
        (void)sched_yield();
    memory = say(f, ASK("memory"));
    ledger = say(f, ASK("ledger"));
    answers(f, "running");
    pause = say(f, ASK("pause"));
    answers(f, "pausing");
    assert_true(is_silent(memory) && is_silent(ledger) && is_silent(pause));
    atomic_store(&disk.holds_writes, false);
    is_granted(memory);
    is_granted(ledger);
    is_granted(pause);
    answers(f, "paused");
    is_granted(say(f, ASK("resume")));
    wait_evicted(f);
    is_granted(say(f, ASK("stop")));
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pause_is_done_when_the_page_is_there),
        cmocka_unit_test(a_reset_is_done_when_the_page_is_there),
        cmocka_unit_test(a_guest_is_reset_when_another_vcpu_has_its_page),
        cmocka_unit_test(a_stop_is_done_when_the_page_is_there),
        cmocka_unit_test(a_signal_is_heard_while_a_pause_waits),
        cmocka_unit_test(nobody_need_wait_for_his_pause),
        cmocka_unit_test(counting_waits_for_what_is_written_and_a_pause_too),
    };

    if (terminal_block_signals(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vmm/cli/run slow", tests, NULL, NULL);
}
