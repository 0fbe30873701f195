/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arm64 guests get besides: included at the end of lib/bare.h.
 *
 * Guests run at EL1 with the MMU on: what lies in a gigabyte with RAM is normal memory, the rest
 * device memory. The GIC's interface is on and interrupts are masked.
 */
#ifndef GUEST_TESTS_BARE_LIB_ARM64_ARCH_H
#define GUEST_TESTS_BARE_LIB_ARM64_ARCH_H

#include "firmware/arm64/arm64_platform.h"
#include "guest-tests/bare/lib/arm64/asm.h"
#include "guest-tests/bare/lib/bare.h"

#define FREE_MMIO         0x0a000000ull /* no device answers here */
#define DEVICE_SPACE      ARM64_GICD_BASE
#define DEVICE_SPACE_NAME "the GIC's distributor"
#define RAM_START         ARM64_RAM_BASE

/* --- instructions ---------------------------------------------------------------------------- */

/* Accesses of one width at an address that need not be RAM: one plain load or store each, of the
 * kind that KVM is told the operands of. */
#define MMIO(bits, suffix, reg)                                                                    \
    static inline uint##bits##_t read##bits(uint64_t addr)                                         \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("ldr" suffix " %" reg "0, [%1]" : "=r"(v) : "r"(addr) : "memory");        \
        return (uint##bits##_t)v;                                                                  \
    }                                                                                              \
    static inline void write##bits(uint64_t addr, uint##bits##_t v)                                \
    {                                                                                              \
        uint64_t wide = v;                                                                         \
        __asm__ volatile("str" suffix " %" reg "0, [%1]" : : "r"(wide), "r"(addr) : "memory");     \
    }
MMIO(8, "b", "w")
MMIO(16, "h", "w")
MMIO(32, "", "w")
MMIO(64, "", "x")
#undef MMIO

#define sys_read(name)                                                                             \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        __asm__ volatile("mrs %0, " name : "=r"(v_) : : "memory");                                 \
        v_;                                                                                        \
    })
#define sys_write(name, v)                                                                         \
    __asm__ volatile("msr " name ", %0\n isb" : : "r"((uint64_t)(v)) : "memory")

static inline void barrier(void)
{
    __asm__ volatile("dsb sy" : : : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("yield" : : : "memory");
}

/* Sleeps until an interrupt, or cpu_wake() on another CPU, perhaps less long. */
static inline void cpu_wait(void)
{
    __asm__ volatile("wfe" : : : "memory");
}

static inline void cpu_wake(void)
{
    __asm__ volatile("dsb sy\n sev" : : : "memory");
}

static inline void irq_on(void)
{
    __asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void irq_off(void)
{
    __asm__ volatile("msr daifset, #2" : : : "memory");
}

/* --- boot data ------------------------------------------------------------------------------- */

struct boot_data {
    uint64_t tree; /* X0 at entry */
    uint64_t level;  /* exception level at entry */
    char cmdline[BOOT_MAX_CMDLINE];
    struct boot_range range[BOOT_MAX_RANGES];
    size_t n_ranges;
};

extern struct boot_data boot;

/* --- traps and the GIC ----------------------------------------------------------------------- */

enum { IRQ_MAX = 64, TIMER_IRQ = 16 + ARM64_TIMER_VIRTUAL_PPI };

/** irq_handler() - call @fn for interrupt @id (0..63: SGIs, PPIs, the first SPIs) on whichever CPU
 *  takes it. It must quiet what raised it. */
void irq_handler(unsigned id, void (*fn)(unsigned id));
/** gic_enable() - an SGI, a PPI of this CPU, or an SPI. */
void gic_enable(unsigned id);
/** gic_route() - SPI @id to the CPU with this MPIDR. */
void gic_route(unsigned id, uint64_t mpidr);
/** gic_send() - SGI @id to the CPU with this MPIDR. gic_send_all() - to all but this one. */
void gic_send(unsigned id, uint64_t mpidr);
void gic_send_all(unsigned id);
/** gic_cpu_on() - this CPU's redistributor and interface; done before guest_main and ap_entry.
 *  False when no redistributor has its affinity. */
bool gic_cpu_on(void);
/** gic_redistributor() - of the CPU with this MPIDR, or 0. */
uint64_t gic_redistributor(uint64_t mpidr);

/* What gic_cpu_on() found before it wrote anything. */
struct gic_found {
    uint64_t mpidr;
    uint32_t distributor, groups; /* GICD_CTLR; GICR_IGROUPR0 */
    uint64_t control, mask, split, on, active; /* ICC_CTLR, _PMR, _BPR1, _IGRPEN1, _AP1R0 */
};

/** gic_found() - of the @nth CPU that came on; NULL: there were not so many, or there is no room. */
const struct gic_found *gic_found(unsigned nth);

/* --- CPUs: PSCI (Arm DEN 0022) --------------------------------------------------------------- */

enum {
    PSCI_OFF = 0x84000002,
    PSCI_VERSION = 0x84000000,
    PSCI_SYSTEM_OFF = 0x84000008,
    PSCI_SYSTEM_RESET = 0x84000009,
    PSCI_FEATURES = 0x8400000a,
    PSCI_NOT_SUPPORTED = -1,
    PSCI_INVALID = -2,
    PSCI_ALREADY_ON = -4,
};
#define PSCI_ON       0xc4000003ull
#define PSCI_AFFINITY 0xc4000004ull
#define MPIDR_FIELDS  0xff00ffffffull

int64_t psci(uint64_t fn, uint64_t a, uint64_t b, uint64_t c);

static inline uint64_t cpu_mpidr(void)
{
    return sys_read("mpidr_el1") & MPIDR_FIELDS;
}

/** smp_start() - CPU_ON. The CPU runs @fn with @number, 1 to 1,023, on a stack of that number, then
 *  CPU_OFF. One @fn for all. Return: PSCI's answer. */
int64_t smp_start(uint64_t mpidr, unsigned number, void (*fn)(unsigned number));

#endif
