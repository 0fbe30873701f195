/* SPDX-License-Identifier: Apache-2.0 */
/* Why the guest came back, and the thread around it, with KVM_RUN replaced by a script. */
// LDFLAGS: -Wl,--wrap=kvm_vcpu_enter,--wrap=kvm_vcpu_get_regs,--wrap=kvm_vcpu_get_sregs
// LDFLAGS: -Wl,--wrap=kvm_vcpu_translate,--wrap=vcpu_tell_lost,--wrap=vcpu_tell_beside
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcpu/test/gate_wait.h"
#include "vcpu/vcpu_private.h"
#include "vmm/kvm/x86/kvm_state.h"

enum { RUN_BYTES = 4096, N_FAKES = 4, LOG = 32 };

int __wrap_kvm_vcpu_enter(const struct kvm_vcpu *kvm);
int __wrap_kvm_vcpu_get_regs(const struct kvm_vcpu *kvm, struct kvm_regs *regs, struct errctx *ec);
int __wrap_kvm_vcpu_get_sregs(const struct kvm_vcpu *kvm, struct kvm_sregs *sregs,
                              struct errctx *ec);
int __wrap_kvm_vcpu_translate(const struct kvm_vcpu *kvm, uint64_t linear, struct gpa *ret_addr,
                              struct errctx *ec);

struct fake {
    struct vcpu vcpu;
    struct run_gate gate;
    int (*enter)(struct fake *f, struct kvm_run *run);
    _Atomic unsigned n_entered;
    struct {
        uint64_t addr, data;
        size_t size;
        bool is_write;
    } log[LOG];
    unsigned n_log;
    uint64_t answer;
    enum vcpu_event event;
    unsigned n_events;
    char why[300];
    uint8_t eoi;
    int setup_code;
};

int __wrap_kvm_vcpu_enter(const struct kvm_vcpu *kvm)
{
    struct vcpu *vcpu = (struct vcpu *)(uintptr_t)((const char *)kvm - offsetof(struct vcpu, kvm));
    struct fake *f = (struct fake *)(void *)vcpu; /* its first member */

    f->n_entered++;
    return f->enter(f, kvm->run);
}

enum { CODE_BASE = 0x1000, RIP = 0x234, MAP_OFFSET = 0xd0000000 };

int __wrap_kvm_vcpu_get_regs(const struct kvm_vcpu *kvm, struct kvm_regs *regs, struct errctx *ec)
{
    (void)kvm;
    (void)ec;
    *regs = (struct kvm_regs){ .rip = RIP, .rsp = 0x8000 };
    return 0;
}

int __wrap_kvm_vcpu_get_sregs(const struct kvm_vcpu *kvm, struct kvm_sregs *sregs,
                              struct errctx *ec)
{
    (void)kvm;
    (void)ec;
    *sregs = (struct kvm_sregs){ .cs.base = CODE_BASE, .cs.selector = 0x10, .cr0 = 0x11 };
    return 0;
}

static int translate_code; /* errno; 0: the page is mapped */

int __wrap_kvm_vcpu_translate(const struct kvm_vcpu *kvm, uint64_t linear, struct gpa *ret_addr,
                              struct errctx *ec)
{
    (void)kvm;
    assert_int_equal(linear, CODE_BASE + RIP);
    if (translate_code != 0)
        return errctx_set(ec, translate_code, "not mapped");
    *ret_addr = (struct gpa){ linear + MAP_OFFSET };
    return 0;
}

static void on_access(void *ctx, uint64_t addr, bool is_write, void *data, size_t size)
{
    struct fake *f = ctx;

    if (f->n_log < LOG) {
        f->log[f->n_log].addr = addr;
        f->log[f->n_log].size = size;
        f->log[f->n_log].is_write = is_write;
        memcpy(&f->log[f->n_log].data, data, size);
        f->n_log++;
    }
    if (!is_write) {
        memcpy(data, &f->answer, size);
        f->answer++;
    }
}

static void on_pio(void *ctx, uint16_t port, bool is_write, void *data, size_t size)
{
    on_access(ctx, port, is_write, data, size);
}

static bool has_device = true; /* at every address */

static bool on_mmio(void *ctx, struct gpa addr, bool is_write, void *data, size_t size)
{
    on_access(ctx, addr.v, is_write, data, size);
    return has_device;
}

static void on_eoi(void *ctx, uint8_t vector)
{
    ((struct fake *)ctx)->eoi = vector;
}

static bool memory_goes; /* where KVM finds no page */

static bool on_no_page(void *ctx)
{
    (void)ctx;
    return memory_goes;
}

static bool has_ram; /* everywhere, or nowhere */

static bool on_is_ram(void *ctx, struct gpa addr)
{
    (void)ctx;
    assert_int_equal(addr.v, MAP_OFFSET + CODE_BASE + RIP);
    return has_ram;
}

static void on_event(void *ctx, struct vcpu_id vcpu, enum vcpu_event event, const char *why)
{
    struct fake *f = ctx;

    assert_int_equal(vcpu.v, 7);
    f->event = event;
    f->n_events++;
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
    run_gate_set(&f->gate, RUN_STATE_STOP);
}

static int on_setup(void *ctx, struct vcpu_id vcpu, struct errctx *ec)
{
    struct fake *f = ctx;

    (void)vcpu;
    return f->setup_code ? errctx_set(ec, f->setup_code, "sandbox says no") : 0;
}

static struct {
    int answer;           /* of lost_page() */
    const void *host;     /* it was asked about */
    bool memory;          /* answer of lost_memory() */
    int tell_answer;      /* of vcpu_tell_lost() */
    unsigned n_asked, n_told, n_beside, n_broadcasts, n_entered_then;
    struct gpa told_at;
    bool told_whole;
} lost;

enum { LOST_ADDR = 0x1234000 };

static int on_lost_page(void *ctx, const void *host, struct vcpu_lost_page *ret_page)
{
    (void)ctx;
    lost.n_asked++;
    lost.host = host;
    *ret_page = (struct vcpu_lost_page){ .addr = { LOST_ADDR }, .why = "a page is gone" };
    return lost.answer;
}

static bool on_lost_memory(void *ctx, struct gpa addr, struct vcpu_lost_page *ret_page)
{
    (void)ctx;
    *ret_page = (struct vcpu_lost_page){ .addr = addr, .why = "a page is gone" };
    return lost.memory;
}

static void on_broadcast(void *ctx, struct vcpu_id vcpu)
{
    (void)ctx;
    (void)vcpu;
    lost.n_broadcasts++;
}

int __wrap_vcpu_tell_lost(const struct vcpu *vcpu, struct gpa addr, bool is_whole);
void __wrap_vcpu_tell_beside(const struct vcpu *vcpu);

int __wrap_vcpu_tell_lost(const struct vcpu *vcpu, struct gpa addr, bool is_whole)
{
    (void)vcpu;
    lost.n_told++;
    lost.told_at = addr;
    lost.told_whole = is_whole;
    return lost.tell_answer;
}

void __wrap_vcpu_tell_beside(const struct vcpu *vcpu)
{
    (void)vcpu;
    lost.n_beside++;
}

static const struct vcpu_exit_ops ops = {
    .pio = on_pio, .mmio = on_mmio, .ioapic_eoi = on_eoi, .is_ram = on_is_ram,
    .no_page = on_no_page, .lost_page = on_lost_page, .lost_memory = on_lost_memory,
    .broadcast = on_broadcast, .event = on_event, .thread_setup = on_setup,
};

static const struct idset anywhere;

static void init(struct fake *f, int (*enter)(struct fake *f, struct kvm_run *run))
{
    memset(f, 0, sizeof(*f));
    memset(&lost, 0, sizeof(lost));
    lost.answer = -ENOENT;
    f->enter = enter;
    f->vcpu.id.v = 7;
    f->vcpu.kvm.fd = -1;
    f->vcpu.kvm.run = calloc(1, RUN_BYTES);
    f->vcpu.ops = &ops;
    f->vcpu.ops_ctx = f;
    f->vcpu.gate = &f->gate;
    f->vcpu.host_cpus = &anywhere;
    (void)pthread_mutex_init(&f->vcpu.kick_lock, NULL);
    run_gate_init(&f->gate);
}

static void fini(struct fake *f)
{
    free(f->vcpu.kvm.run);
    (void)pthread_mutex_destroy(&f->vcpu.kick_lock);
    run_gate_fini(&f->gate);
}

/* --- one exit --------------------------------------------------------------------------------- */

static int string_out(struct fake *f, struct kvm_run *run)
{
    (void)f;
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = KVM_EXIT_IO_OUT;
    run->io.port = 0x3f8;
    run->io.size = 2;
    run->io.count = 3;
    run->io.data_offset = 1024;
    memcpy((char *)run + 1024, "aabbcc", 6);
    return 0;
}

static void a_string_of_ports_is_split_in_order(void **state)
{
    struct fake f;

    (void)state;
    init(&f, string_out);
    assert_int_equal(vcpu_run_once(&f.vcpu, NULL), VCPU_CONTINUE);
    assert_int_equal(f.n_log, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f.log[i].addr, 0x3f8);
        assert_int_equal(f.log[i].size, 2);
        assert_true(f.log[i].is_write);
    }
    assert_int_equal(f.log[1].data, 'b' << 8 | 'b');
    assert_int_equal(vcpu_exit_count(&f.vcpu, KVM_EXIT_IO), 1);
    assert_int_equal(vcpu_exit_count(&f.vcpu, 100000), 0);
    fini(&f);
}

static int port_in(struct fake *f, struct kvm_run *run)
{
    (void)string_out(f, run);
    run->io.direction = KVM_EXIT_IO_IN;
    run->io.size = 1;
    return 0;
}

static int mmio_read(struct fake *f, struct kvm_run *run)
{
    (void)f;
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = 0xfec00010;
    run->mmio.len = 4;
    return 0;
}

static void reads_put_the_answer_where_kvm_looks(void **state)
{
    struct fake f;

    (void)state;
    init(&f, port_in);
    f.answer = 0x41;
    assert_int_equal(vcpu_run_once(&f.vcpu, NULL), VCPU_CONTINUE);
    assert_memory_equal((char *)f.vcpu.kvm.run + 1024, "ABC", 3);
    f.enter = mmio_read;
    f.answer = 0x11223344;
    assert_int_equal(vcpu_run_once(&f.vcpu, NULL), VCPU_CONTINUE);
    assert_int_equal(f.log[3].addr, 0xfec00010);
    assert_false(f.log[3].is_write);
    assert_memory_equal(f.vcpu.kvm.run->mmio.data, "\x44\x33\x22\x11", 4);
    fini(&f);
}

static int reason;

static int with_reason(struct fake *f, struct kvm_run *run)
{
    (void)f;
    run->exit_reason = (uint32_t)reason;
    run->eoi.vector = 0x31;
    return 0;
}

static void unknown_reasons_end_the_run_with_a_sentence(void **state)
{
    static const struct {
        int reason;
        const char *sentence;
    } rows[] = { { KVM_EXIT_UNKNOWN, "exit reason 0 has no handler" },
                 { KVM_EXIT_DEBUG, "exit reason 4 has no handler" },
                 { 39, "exit reason 39 has no handler" },
                 { 40, "exit reason 40 has no handler" },
                 { -1, "exit reason 4294967295 has no handler" } };
    struct fake f;

    (void)state;
    init(&f, with_reason);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct errctx ec = { 0 };

        reason = rows[i].reason;
        assert_int_equal(vcpu_run_once(&f.vcpu, &ec), -ENOSYS);
        assert_string_equal(ec.msg, rows[i].sentence);
    }
    assert_int_equal(f.n_events, 0);
    fini(&f);
}

static int interrupted(struct fake *f, struct kvm_run *run)
{
    (void)f;
    (void)run;
    return -EINTR;
}

static int broken(struct fake *f, struct kvm_run *run)
{
    (void)f;
    (void)run;
    return -EFAULT;
}

static int undecoded(struct fake *f, struct kvm_run *run)
{
    (void)f;
    (void)run;
    return -ENOSYS;
}

static void other_ways_back(void **state)
{
    struct errctx ec = { 0 };
    struct fake f;

    (void)state;
    init(&f, interrupted);
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), VCPU_CHECK);
    f.enter = broken;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), VCPU_CHECK); /* it may be gone now */
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), -EFAULT);
    assert_string_equal(ec.msg, "KVM_RUN: Bad address");
    memory_goes = true;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), VCPU_CHECK);
    memory_goes = false;
    f.enter = undecoded;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), -EIO);
    assert_non_null(strstr(ec.msg, "by an instruction that KVM cannot decode ("));
    f.enter = with_reason;
    reason = KVM_EXIT_IOAPIC_EOI;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), VCPU_CONTINUE);
    assert_int_equal(f.eoi, 0x31);
    reason = KVM_EXIT_SHUTDOWN;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), VCPU_CHECK);
    assert_int_equal(f.event, VCPU_EVENT_SHUTDOWN);
    f.vcpu.kvm.run->system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
    reason = KVM_EXIT_FAIL_ENTRY;
    assert_int_equal(vcpu_run_once(&f.vcpu, &ec), -EIO);
    fini(&f);
}

static int internal_error(struct fake *f, struct kvm_run *run)
{
    (void)f;
    run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run->internal.suberror = (uint32_t)reason;
    return 0;
}

static void what_kvm_gives_up_on_is_told_apart(void **state)
{
#define REGS "(rip 0x234 rsp 0x8000 cs 0x10 cr0 0x11 cr3 0x0 cr4 0x0 efer 0x0)"
    static const struct {
        int suberror, translate_code;
        bool has_ram;
        const char *sentence;
    } rows[] = {
        { KVM_INTERNAL_ERROR_EMULATION, 0, false,
          "the guest runs instructions at physical address 0xd0001234, where it has no memory "
          REGS },
        { KVM_INTERNAL_ERROR_EMULATION, 0, true,
          "KVM could not emulate an instruction of the guest " REGS },
        { KVM_INTERNAL_ERROR_EMULATION, EFAULT, false,
          "KVM could not emulate an instruction of the guest " REGS },
        { KVM_INTERNAL_ERROR_DELIVERY_EV, 0, false, "KVM reports internal error 3 " REGS },
    };
#undef REGS
    struct fake f;

    (void)state;
    init(&f, internal_error);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct errctx ec = { 0 };

        reason = rows[i].suberror;
        translate_code = rows[i].translate_code;
        has_ram = rows[i].has_ram;
        assert_int_equal(vcpu_run_once(&f.vcpu, &ec), -EIO);
        assert_string_equal(ec.msg, rows[i].sentence);
    }
    translate_code = 0;
    fini(&f);
}

/* --- the thread ------------------------------------------------------------------------------- */

static int no_handler(struct fake *f, struct kvm_run *run)
{
    (void)f;
    run->exit_reason = KVM_EXIT_DEBUG;
    return 0;
}

static void a_failure_is_told_with_the_vcpus_number(void **state)
{
    struct fake f;

    (void)state;
    init(&f, no_handler);
    run_gate_set(&f.gate, RUN_STATE_RUN);
    assert_int_equal(vcpu_start(&f.vcpu, NULL), 0);
    vcpu_join(&f.vcpu);
    assert_int_equal(f.n_events, 1);
    assert_int_equal(f.event, VCPU_EVENT_FAILED);
    assert_string_equal(f.why, "vCPU 7: exit reason 4 has no handler");
    fini(&f);
}

static void a_failed_set_up_never_enters_the_guest(void **state)
{
    struct fake f;

    (void)state;
    init(&f, interrupted);
    f.setup_code = EPERM;
    run_gate_set(&f.gate, RUN_STATE_RUN);
    assert_int_equal(vcpu_start(&f.vcpu, NULL), 0);
    vcpu_join(&f.vcpu);
    assert_string_equal(f.why, "vCPU 7: sandbox says no");
    assert_int_equal(f.n_entered, 0);
    fini(&f);
}

/* A 24-byte access comes in three pieces: KVM hands the next one out when the last is entered
 * with, before it looks at immediate_exit. */
static int pieces(struct fake *f, struct kvm_run *run)
{
    if (f->n_entered <= 3) {
        run->exit_reason = KVM_EXIT_MMIO;
        run->mmio.phys_addr = 0x1000 + 8 * f->n_entered;
        run->mmio.len = 8;
        run->mmio.is_write = 1;
        if (f->n_entered == 1)
            run_gate_set(&f->gate, RUN_STATE_STOP);
        return 0;
    }
    return -EINTR;
}

static void a_stop_in_the_middle_of_an_instruction_serves_all_its_pieces(void **state)
{
    struct fake f;

    (void)state;
    init(&f, pieces);
    run_gate_set(&f.gate, RUN_STATE_RUN);
    assert_int_equal(vcpu_start(&f.vcpu, NULL), 0);
    vcpu_join(&f.vcpu);
    assert_int_equal(f.n_log, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f.log[i].addr, 0x1008 + 8 * i);
    assert_int_equal(f.n_entered, 4);
    assert_int_equal(f.n_events, 0);
    fini(&f);
}

/* Runs until kicked, as KVM_RUN does. */
static int until_kicked(struct fake *f, struct kvm_run *run)
{
    (void)f;
    while (!__atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST))
        (void)sched_yield();
    return -EINTR;
}

static struct fake group[N_FAKES];
static _Atomic bool group_done;

static void *kick_everybody(void *arg)
{
    (void)arg;
    while (!atomic_load(&group_done))
        for (int i = 0; i < N_FAKES; i++) {
            vcpu_kick(&group[i].vcpu);
            (void)sched_yield();
        }
    return NULL;
}

static void kick_all(void)
{
    for (int i = 0; i < N_FAKES; i++)
        vcpu_kick(&group[i].vcpu);
}

static unsigned runs_of(struct fake *f)
{
    return atomic_load(&f->n_entered);
}

/* A hold stops vCPUs in RUN, does not end a pause, and does not keep anybody from the end. */
static void a_hold_keeps_vcpus_out_of_the_guest(void **state)
{
    struct run_gate gate;
    unsigned runs;

    (void)state;
    assert_int_equal(vcpu_install_handlers(NULL), 0);
    run_gate_init(&gate);
    for (int i = 0; i < N_FAKES; i++) {
        init(&group[i], until_kicked);
        group[i].vcpu.gate = &gate;
        assert_int_equal(vcpu_start(&group[i].vcpu, NULL), 0);
    }
    for (int round = 0; round < 50; round++) {
        run_gate_set(&gate, RUN_STATE_RUN);
        while (!run_gate_is_open(&gate) || runs_of(&group[0]) == 0)
            (void)sched_yield();
        run_gate_hold(&gate, true);
        assert_false(run_gate_is_open(&gate));
        run_gate_set(&gate, RUN_STATE_PAUSE); /* to be told that all stand */
        kick_all();
        gate_wait(&gate);
        runs = runs_of(&group[0]);
        run_gate_set(&gate, RUN_STATE_RUN);
        for (int i = 0; i < 20; i++)
            (void)sched_yield();
        assert_int_equal(runs_of(&group[0]), runs);
        assert_int_equal(gate.parked, N_FAKES);
        run_gate_hold(&gate, false);
        while (runs_of(&group[0]) == runs)
            (void)sched_yield();
    }
    run_gate_hold(&gate, true);
    run_gate_set(&gate, RUN_STATE_STOP);
    kick_all();
    for (int i = 0; i < N_FAKES; i++)
        vcpu_join(&group[i].vcpu);
    for (int i = 0; i < N_FAKES; i++)
        fini(&group[i]);
    run_gate_fini(&gate);
}

/* A vCPU may kick the others at any time of their lives: not made, running, gone, joined. */
static void pause_and_stop_reach_everyone_while_others_kick(void **state)
{
    struct run_gate gate;
    pthread_t kicker;

    (void)state;
    assert_int_equal(vcpu_install_handlers(NULL), 0);
    run_gate_init(&gate);
    atomic_store(&group_done, false);
    for (int i = 0; i < N_FAKES; i++) {
        init(&group[i], until_kicked);
        group[i].vcpu.gate = &gate;
    }
    assert_int_equal(pthread_create(&kicker, NULL, kick_everybody, NULL), 0);
    for (int i = 0; i < N_FAKES; i++)
        assert_int_equal(vcpu_start(&group[i].vcpu, NULL), 0);
    for (int round = 0; round < 100; round++) {
        run_gate_set(&gate, RUN_STATE_RUN);
        run_gate_set(&gate, RUN_STATE_PAUSE);
        for (int i = 0; i < N_FAKES; i++)
            vcpu_kick(&group[i].vcpu);
        gate_wait(&gate);
        assert_int_equal(gate.parked, N_FAKES);
    }
    run_gate_set(&gate, RUN_STATE_STOP);
    run_gate_set(&gate, RUN_STATE_RUN); /* too late: a stop is for good */
    assert_int_equal(run_gate_wanted(&gate), RUN_STATE_STOP);
    for (int i = 0; i < N_FAKES; i++)
        vcpu_kick(&group[i].vcpu);
    for (int i = 0; i < N_FAKES; i++)
        vcpu_join(&group[i].vcpu);
    atomic_store(&group_done, true);
    assert_int_equal(pthread_join(kicker, NULL), 0);
    assert_int_equal(gate.present, 0);
    assert_int_equal(gate.parked, 0);
    for (int i = 0; i < N_FAKES; i++)
        fini(&group[i]);
    run_gate_fini(&gate);
}

/* --- memory whose content is lost ------------------------------------------------------------- */

static char poisoned[16];

/* As KVM does where the kernel says that a page is poisoned. */
static int hit_poison(struct fake *f, struct kvm_run *run)
{
    siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AR, .si_addr = poisoned };

    (void)f;
    (void)run;
    assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info), 0);
    return -EINTR;
}

static int hit_closed(struct fake *f, struct kvm_run *run)
{
    (void)f;
    (void)run;
    return -EFAULT;
}

static void a_poisoned_page_is_told_before_the_guest_goes_on(void **state)
{
    struct fake fake, *f = &fake;

    (void)state;
    assert_int_equal(vcpu_install_handlers(NULL), 0);
    init(f, hit_poison);
    lost.answer = 1;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CHECK);
    assert_ptr_equal(lost.host, poisoned);
    assert_int_equal(lost.n_told, 0); /* nothing may be half-way */
    vcpu_tell(&f->vcpu);
    assert_int_equal(lost.n_told, 1);
    assert_int_equal(lost.told_at.v, LOST_ADDR);
    assert_true(lost.told_whole);
    vcpu_tell(&f->vcpu);
    assert_int_equal(lost.n_told, 1);
    assert_int_equal(f->n_events + lost.n_broadcasts, 0);
    /* Others are told, too, where the architecture wants that. */
    lost.tell_answer = 1;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CHECK);
    vcpu_tell(&f->vcpu);
    assert_int_equal(lost.n_broadcasts, 1);
    vcpu_broadcast(&f->vcpu);
    vcpu_tell(&f->vcpu);
    assert_int_equal(lost.n_beside, 1);
    fini(f);
}

static void a_guest_that_cannot_be_told_goes_no_further(void **state)
{
    struct fake fake, *f = &fake;

    (void)state;
    init(f, hit_closed);
    lost.answer = 1;
    lost.tell_answer = -ENOTSUP;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CHECK);
    assert_null(lost.host);
    vcpu_tell(&f->vcpu);
    assert_int_equal(f->n_events, 1);
    assert_int_equal(f->event, VCPU_EVENT_LOST);
    assert_string_equal(f->why, "a page is gone");
    fini(f);
    /* Nor one of which nobody knows what it touched. */
    init(f, hit_closed);
    lost.answer = -ENODATA;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CHECK);
    assert_int_equal(f->event, VCPU_EVENT_LOST);
    assert_int_equal(lost.n_told, 0);
    fini(f);
}

static void a_page_that_is_not_lost_any_more_is_tried_again(void **state)
{
    struct fake fake, *f = &fake;
    struct errctx ec = { 0 };
    int r = VCPU_CHECK;

    (void)state;
    init(f, hit_closed);
    lost.answer = 0;
    for (int i = 0; i < 1000 && r >= 0; i++)
        r = vcpu_run_once(&f->vcpu, &ec);
    assert_int_equal(r, VCPU_CHECK);
    while (r >= 0) /* but not for ever */
        r = vcpu_run_once(&f->vcpu, &ec);
    assert_int_equal(r, -EFAULT);
    assert_int_equal(f->n_events + lost.n_told, 0);
    fini(f);
}

static void lost_memory_that_the_emulator_reads_is_told_with_the_exit_done(void **state)
{
    struct fake fake, *f = &fake;

    (void)state;
    init(f, mmio_read);
    has_device = false;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CONTINUE);
    lost.memory = true;
    assert_int_equal(vcpu_run_once(&f->vcpu, NULL), VCPU_CHECK);
    vcpu_tell(&f->vcpu);
    assert_int_equal(lost.n_told, 1);
    assert_int_equal(lost.told_at.v, f->log[0].addr);
    assert_false(lost.told_whole);
    has_device = true;
    fini(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_string_of_ports_is_split_in_order),
        cmocka_unit_test(reads_put_the_answer_where_kvm_looks),
        cmocka_unit_test(unknown_reasons_end_the_run_with_a_sentence),
        cmocka_unit_test(other_ways_back),
        cmocka_unit_test(what_kvm_gives_up_on_is_told_apart),
        cmocka_unit_test(a_failure_is_told_with_the_vcpus_number),
        cmocka_unit_test(a_failed_set_up_never_enters_the_guest),
        cmocka_unit_test(a_stop_in_the_middle_of_an_instruction_serves_all_its_pieces),
        cmocka_unit_test(a_hold_keeps_vcpus_out_of_the_guest),
        cmocka_unit_test(a_poisoned_page_is_told_before_the_guest_goes_on),
        cmocka_unit_test(a_guest_that_cannot_be_told_goes_no_further),
        cmocka_unit_test(a_page_that_is_not_lost_any_more_is_tried_again),
        cmocka_unit_test(lost_memory_that_the_emulator_reads_is_told_with_the_exit_done),
        cmocka_unit_test(pause_and_stop_reach_everyone_while_others_kick),
    };

    return cmocka_run_group_tests_name("vcpu/exit", tests, NULL, NULL);
}
