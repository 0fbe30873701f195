/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin for QEMU's software emulation that counts memory accesses by CPU and physical node, and
 * can make them slower with distance.
 *
 * Every load and store of translated code comes by with the memory that it reached in the end:
 * behind a guest's own page tables and behind nested paging, so an access made by a guest inside
 * the emulated host counts on the node of the host that holds the page. Whether a guest made it
 * is known exactly: a CPU is in a guest from its VMRUN to the instruction behind it, where every
 * exit resumes. Both are recognised by their bytes and place in memory when they are translated.
 * What VMRUN itself loads and saves belongs to nobody and is left out.
 *
 * Code is instrumented only while somebody counts or delays, so that the host boots at the usual
 * speed, and a guest's code alone where only guests are of interest: QEMU keeps translations of
 * guests apart from the host's, even of the same bytes. A change asked for inside (see accesses.h)
 * throws all translations away while every CPU stands still; counts are zeroed and delays are set
 * there, so a number belongs to one interval.
 *
 * The interface's header is not packaged; what is used of its version 1 is declared here. What it
 * calls a physical address is, in QEMU 7.2, the sum of a block's offset among all RAM, its place in
 * the board's RAM and the offset in it: rigaccess.py gives the nodes in that form.
 *
 * Threads: one per emulated CPU, each writes its own rows only. reconfigure() runs alone.
 */
#include "guest-tests/rig/accesses.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* --- the plugin interface ---------------------------------------------------------------- */

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct CPUState;
struct qemu_info; /* version, target and number of CPUs: not looked at */

typedef void simple_cb(uint64_t id);
typedef void tb_cb(uint64_t id, struct qemu_plugin_tb *tb);
typedef void insn_cb(unsigned int cpu, void *udata);
typedef void mem_cb(unsigned int cpu, uint32_t info, uint64_t vaddr, void *udata);

enum { CB_NO_REGS = 0, MEM_READ_WRITE = 3 };

extern void qemu_plugin_reset(uint64_t id, simple_cb *cb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_cb *cb);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_cb *cb,
                                                   int flags, void *udata);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, mem_cb *cb, int flags,
                                             int rw, void *udata);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t vaddr);
extern bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *addr);
extern uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *addr);

/*
 * Not of the interface, but exported for QEMU's own modules. A CPU can leave translated code with
 * its pointer to the last instruction's callbacks set; 7.2 frees these when all translations go,
 * and the next interrupt's stores would follow the pointer.
 */
extern struct CPUState *qemu_get_cpu(int index);
extern void qemu_plugin_disable_mem_helpers(struct CPUState *cpu);
extern void qemu_plugin_register_flush_cb(uint64_t id, simple_cb *cb);

/* What QEMU looks for in this file. */
extern int qemu_plugin_version;
int qemu_plugin_version = 1;
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

/* --- state --------------------------------------------------------------------------------- */

enum {
    MAX_ENTRIES = 64, /* places of a VMRUN; Linux has two, test guests one each */
    VMRUN_BYTES = 3,
    KNOCK_BYTES = 8,
    PAY_AT_NS = 2000, /* a delay is owed until it is long against reading the clock */
    LOCAL_DISTANCE = 10,
};

/* A VMRUN instruction somewhere in memory. */
struct entry {
    const char *code; /* where QEMU keeps its bytes: a guest may have code at the same address */
    uint64_t vaddr;
    bool of_host; /* was executed by the host, not by a guest that has guests */
};

struct cpu {
    _Alignas(64) bool in_guest;
    uint32_t last_node; /* where the last access went; the next one most often goes there, too */
    uint64_t owed_ns;
    uint64_t delay_ns[ACCESSES_MAX_NODES + 1];
};

/* QEMU's callbacks carry no pointer of ours everywhere, so a plugin's state is global. */
static struct {
    uint64_t id;
    struct accesses *page;
    uint64_t n_cpus, n_nodes;
    bool count_host, count_guests; /* these six change in reconfigure() only */
    bool instrument_host, instrument_guests;
    bool delay_users;   /* kernels' accesses are not delayed */
    bool leave_kernels; /* nor do they count: their code is not instrumented */
    struct entry entries[MAX_ENTRIES];
    uint32_t n_entries; /* grows only; an entry is complete before it is counted */
    int entry_lock;
    struct cpu cpus[ACCESSES_MAX_CPUS];
} state;

/* The CPU whose thread this is, once it has been in a guest: translation is not told. */
static __thread struct cpu *this_cpu;

/* --- accesses ------------------------------------------------------------------------------ */

static uint32_t node_of(struct cpu *c, const struct qemu_plugin_hwaddr *hw)
{
    const struct accesses *p = state.page;
    uint32_t low = 0, high = (uint32_t)state.n_nodes;
    uint64_t addr;

    if (hw == NULL || qemu_plugin_hwaddr_is_io(hw))
        return high;
    addr = qemu_plugin_hwaddr_phys_addr(hw);
    if (addr >= p->node_start[c->last_node] && addr < p->node_end[c->last_node])
        return c->last_node;
    while (high - low > 1) {
        uint32_t mid = (low + high) / 2;

        if (addr >= p->node_start[mid])
            low = mid;
        else
            high = mid;
    }
    if (addr < p->node_start[low] || addr >= p->node_end[low])
        return (uint32_t)state.n_nodes;
    c->last_node = low;
    return low;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pay(struct cpu *c)
{
    uint64_t end = now_ns() + c->owed_ns;

    c->owed_ns = 0;
    while (now_ns() < end)
        __builtin_ia32_pause();
}

static void on_access(unsigned int cpu, uint32_t info, uint64_t vaddr, void *is_kernel)
{
    struct cpu *c = &state.cpus[cpu];
    uint32_t node = node_of(c, qemu_plugin_get_hwaddr(info, vaddr));
    unsigned int kind =
        (c->in_guest ? ACCESSES_GUEST_USER : ACCESSES_HOST_USER) + (is_kernel != NULL);
    uint64_t *n = &state.page->count[cpu][kind][node];

    if (c->in_guest ? state.count_guests : state.count_host)
        __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED); /* one writer, readers elsewhere */
    if (is_kernel == NULL || !state.delay_users)
        c->owed_ns += c->delay_ns[node];
    if (c->owed_ns >= PAY_AT_NS)
        pay(c);
}

/* --- into a guest and out of it ------------------------------------------------------------ */

static void on_vmrun(unsigned int cpu, void *udata)
{
    struct entry *e = udata;

    if (!state.cpus[cpu].in_guest) /* a guest's own VMRUN exits to the host, and is no entry */
        __atomic_store_n(&e->of_host, true, __ATOMIC_RELAXED);
    state.cpus[cpu].in_guest = true;
    this_cpu = &state.cpus[cpu];
}

static void on_exit_of_guest(unsigned int cpu, void *udata)
{
    const struct entry *e = udata;

    if (__atomic_load_n(&e->of_host, __ATOMIC_RELAXED))
        state.cpus[cpu].in_guest = false;
}

static struct entry *entry_at(const char *code, uint64_t vaddr)
{
    uint32_t i, n = __atomic_load_n(&state.n_entries, __ATOMIC_ACQUIRE);

    for (i = 0; i < n; i++)
        if (state.entries[i].code == code && state.entries[i].vaddr == vaddr)
            return &state.entries[i];
    return NULL;
}

/* The VMRUN right before @insn, if any. */
static struct entry *entry_before(const struct qemu_plugin_insn *insn)
{
    const char *code = qemu_plugin_insn_haddr(insn);

    return entry_at(code - VMRUN_BYTES, qemu_plugin_insn_vaddr(insn) - VMRUN_BYTES);
}

static struct entry *entry_add(const char *code, uint64_t vaddr)
{
    struct entry *e;

    while (__atomic_exchange_n(&state.entry_lock, 1, __ATOMIC_ACQUIRE))
        ;
    e = entry_at(code, vaddr);
    if (e == NULL && state.n_entries < MAX_ENTRIES) {
        e = &state.entries[state.n_entries];
        e->code = code;
        e->vaddr = vaddr;
        __atomic_store_n(&state.n_entries, state.n_entries + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&state.entry_lock, 0, __ATOMIC_RELEASE);
    return e;
}

/* --- changes ------------------------------------------------------------------------------- */

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb);

/* All CPUs stand still; the callbacks of all instructions have just been freed. */
static void on_flush(uint64_t id)
{
    uint64_t cpu;

    (void)id;
    for (cpu = 0; cpu < state.n_cpus; cpu++) {
        struct CPUState *c = qemu_get_cpu((int)cpu);

        if (c != NULL)
            qemu_plugin_disable_mem_helpers(c);
    }
}

/* All CPUs stand still and all translated code is gone. */
static void reconfigure(uint64_t id)
{
    struct accesses *p = state.page;
    uint64_t asked = __atomic_load_n(&p->asked, __ATOMIC_ACQUIRE);
    uint64_t wanted = p->wanted, delay = p->delay_ns;
    size_t cpu, node;

    if (wanted & ACCESSES_ZERO)
        memset(p->count, 0, sizeof(p->count));
    for (cpu = 0; cpu < state.n_cpus; cpu++) {
        state.cpus[cpu].owed_ns = 0;
        for (node = 0; node < state.n_nodes; node++) {
            uint64_t d = p->distance[p->cpu_node[cpu] % ACCESSES_MAX_NODES][node];

            state.cpus[cpu].delay_ns[node] = d > LOCAL_DISTANCE ? (d - LOCAL_DISTANCE) * delay : 0;
        }
    }
    state.count_guests = (wanted & ACCESSES_COUNT) != 0;
    state.count_host = state.count_guests && !(wanted & ACCESSES_GUESTS);
    state.instrument_guests = state.count_guests || delay != 0;
    state.instrument_host = state.count_host || delay != 0;
    state.delay_users = (wanted & ACCESSES_DELAY_USERS) != 0;
    state.leave_kernels = state.delay_users && !state.count_guests;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_flush_cb(id, on_flush);
    p->active = wanted & (ACCESSES_COUNT | ACCESSES_GUESTS | ACCESSES_DELAY_USERS);
    __atomic_store_n(&p->done, asked, __ATOMIC_RELEASE);
}

static void on_knock(unsigned int cpu, void *udata)
{
    (void)cpu;
    (void)udata;
    if (__atomic_load_n(&state.page->asked, __ATOMIC_ACQUIRE) != state.page->done)
        qemu_plugin_reset(state.id, reconfigure);
}

static bool is_vmrun(const unsigned char *code, size_t size)
{
    return size == VMRUN_BYTES && code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xd8;
}

static bool is_knock(const unsigned char *code, size_t size)
{
    static const unsigned char nop[] = { 0x0f, 0x1f, 0x84, 0x00 };
    const uint32_t knock = ACCESSES_KNOCK;

    return size == KNOCK_BYTES && memcmp(code, nop, sizeof(nop)) == 0 &&
           memcmp(code + sizeof(nop), &knock, sizeof(knock)) == 0;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    size_t i, n = qemu_plugin_tb_n_insns(tb);
    struct entry *left = entry_before(qemu_plugin_tb_get_insn(tb, 0));
    bool of_guest = this_cpu != NULL && this_cpu->in_guest && (left == NULL || !left->of_host);
    bool instrument = of_guest ? state.instrument_guests : state.instrument_host;

    (void)id;
    if (left != NULL) /* every exit begins a translation of its own */
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, 0), on_exit_of_guest,
                                               CB_NO_REGS, left);
    for (i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const unsigned char *code = qemu_plugin_insn_data(insn);
        size_t size = qemu_plugin_insn_size(insn);
        uint64_t vaddr = qemu_plugin_insn_vaddr(insn);
        bool of_kernel = vaddr >> 63 != 0;

        if (is_vmrun(code, size)) {
            struct entry *e = entry_add(qemu_plugin_insn_haddr(insn), vaddr);

            if (e != NULL) /* full: of guests' own ones, the host's come first */
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmrun, CB_NO_REGS, e);
            continue;
        }
        if (is_knock(code, size))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_knock, CB_NO_REGS, NULL);
        if (instrument && !(of_kernel && state.leave_kernels))
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, CB_NO_REGS, MEM_READ_WRITE,
                                             of_kernel ? &state : NULL);
    }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
    static const char key[] = "page=";
    void *page;
    int fd;

    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof(key) - 1) != 0) {
        fprintf(stderr, "accesses: the only argument is page=FILE\n");
        return -1;
    }
    fd = open(argv[0] + sizeof(key) - 1, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        perror("accesses: the shared page");
        return -1;
    }
    page = mmap(NULL, ACCESSES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) {
        perror("accesses: map the shared page");
        return -1;
    }
    state.page = page;
    state.id = id;
    state.n_cpus = state.page->n_cpus;
    state.n_nodes = state.page->n_nodes;
    if (state.page->magic != ACCESSES_MAGIC || state.n_cpus < 1 || state.n_nodes < 1 ||
        state.n_cpus > ACCESSES_MAX_CPUS || state.n_nodes > ACCESSES_MAX_NODES) {
        fprintf(stderr, "accesses: %s describes no machine\n", argv[0]);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_flush_cb(id, on_flush);
    return 0;
}
