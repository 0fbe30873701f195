/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GIC and the timer: the virtual timer's private interrupt on every CPU, interrupts from CPU
 * to CPU, one by one and to all others, and shared ones of serial port and clock, which go to the
 * CPU that they are routed to.
 */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"

enum {
    SECONDS = 60,
    MAX = 64,
    SGI_ONE = 3,
    SGI_ALL = 5,
    SERIAL_IRQ = 32 + ARM64_SERIAL_SPI,
    RTC_IRQ = 32 + ARM64_RTC_SPI,
    TIMER_OFF = 0,
    TIMER_ON = 1,
    UART_FLAGS = 0x18,
    UART_MASK = 0x38,
    UART_CLEAR = 0x44,
    UART_DATA = 0,
    UART_TX = 0x20,
    RTC_NOW = 0x00,
    RTC_MATCH = 0x04,
    RTC_MASK = 0x10,
    RTC_CLEAR = 0x1c,
};

static uint64_t mpidr[MAX];
static unsigned n_cpus;
static volatile uint32_t timers[MAX], ones[MAX], alls[MAX], ready[MAX], done;
static volatile uint64_t taken_by[IRQ_MAX];

static void take(const struct tree_node *node, void *arg)
{
    (void)arg;
    if (tree_is(node, "device_type", "cpu") && n_cpus < MAX)
        mpidr[n_cpus++] = tree_cell(node, "reg", 0, 0);
}

static unsigned me(void)
{
    unsigned i;

    for (i = 0; i < n_cpus && mpidr[i] != cpu_mpidr(); i++)
        ;
    return i % MAX;
}

static void on_timer(unsigned id)
{
    (void)id;
    sys_write("cntv_ctl_el0", TIMER_OFF);
    timers[me()]++;
}

static void on_sgi(unsigned id)
{
    if (id == SGI_ONE)
        ones[me()]++;
    else
        alls[me()]++;
}

static void on_serial(unsigned id)
{
    write32(ARM64_SERIAL_BASE + UART_MASK, 0);
    write32(ARM64_SERIAL_BASE + UART_CLEAR, 0x7ff);
    taken_by[id] = cpu_mpidr() + 1;
}

static void on_rtc(unsigned id)
{
    write32(ARM64_RTC_BASE + RTC_MASK, 0);
    write32(ARM64_RTC_BASE + RTC_CLEAR, 1);
    taken_by[id] = cpu_mpidr() + 1;
}

/* True when *@what became @least in time. */
static bool wait_for(const volatile uint32_t *what, uint32_t least)
{
    struct deadline late = deadline_in(SECONDS);

    while (*what < least)
        if (deadline_over(&late))
            return false;
    return true;
}

static void timer_here(void)
{
    gic_enable(TIMER_IRQ);
    sys_write("cntv_tval_el0", sys_read("cntfrq_el0") / 1000);
    sys_write("cntv_ctl_el0", TIMER_ON);
    irq_on();
    (void)wait_for(&timers[me()], 1);
}

static void other_cpu(unsigned number)
{
    gic_enable(SGI_ONE);
    gic_enable(SGI_ALL);
    timer_here();
    ready[number] = 1;
    barrier();
    while (!done)
        cpu_wait();
}

static unsigned count(const volatile uint32_t *what)
{
    unsigned i, n = 0;

    for (i = 1; i < n_cpus; i++)
        n += what[i] == 1;
    return n;
}

static void between_cpus(void)
{
    unsigned i, here = 0;

    for (i = 1; i < n_cpus; i++)
        here += wait_for(&ready[i], 1);
    ok(here == n_cpus - 1, "%u other CPUs are ready", here);
    ok(count(timers) == n_cpus - 1 && timers[0] == 1, "the timer interrupts each CPU once");
    for (i = 1; i < n_cpus; i++) {
        gic_send(SGI_ONE, mpidr[i]);
        (void)wait_for(&ones[i], 1);
    }
    ok(count(ones) == n_cpus - 1 && ones[0] == 0, "an interrupt for each CPU reaches that one");
    gic_send_all(SGI_ALL);
    for (i = 1; i < n_cpus; i++)
        (void)wait_for(&alls[i], 1);
    ok(count(alls) == n_cpus - 1 && alls[0] == 0, "one for all others reaches them and not us");
}

static void shared(unsigned id, const char *name, void (*fn)(unsigned id), void (*raise)(void),
                   uint64_t to)
{
    struct deadline late = deadline_in(SECONDS);

    irq_handler(id, fn);
    gic_route(id, to);
    gic_enable(id);
    raise();
    while (taken_by[id] == 0 && !deadline_over(&late))
        cpu_pause();
    ok(taken_by[id] == to + 1, "the %s interrupts MPIDR %lx (%lx)", name, to, taken_by[id] - 1);
}

static void raise_serial(void)
{
    write32(ARM64_SERIAL_BASE + UART_MASK, UART_TX);
    write32(ARM64_SERIAL_BASE + UART_DATA, '\n');
}

static void raise_rtc(void)
{
    /* Not the next second: a match that has passed when it is written is one in 136 years. */
    write32(ARM64_RTC_BASE + RTC_MATCH, read32(ARM64_RTC_BASE + RTC_NOW) + 4);
    write32(ARM64_RTC_BASE + RTC_MASK, 1);
}

void guest_main(void)
{
    unsigned i, refused = 0;

    ok(tree_each(take, NULL) && n_cpus > 0, "the tree names %u CPUs", n_cpus);
    irq_handler(TIMER_IRQ, on_timer);
    irq_handler(SGI_ONE, on_sgi);
    irq_handler(SGI_ALL, on_sgi);
    gic_enable(SGI_ONE);
    gic_enable(SGI_ALL);
    timer_here();
    ok(timers[0] == 1, "the timer interrupts the boot CPU");
    for (i = 1; i < n_cpus; i++)
        refused += smp_start(mpidr[i], i, other_cpu) != 0;
    ok(refused == 0, "the other CPUs start");
    between_cpus();
    shared(SERIAL_IRQ, "serial port", on_serial, raise_serial, mpidr[n_cpus - 1]);
    shared(RTC_IRQ, "clock", on_rtc, raise_rtc, mpidr[n_cpus / 2]);
    done = 1;
    tap_done();
}
