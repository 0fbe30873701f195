/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device tree says of an arm64 machine alone: PSCI, GICv3 with its ITS, the architected
 * timer, serial port and clock (the kernel's bindings psci.yaml, arm,gic-v3.yaml,
 * arm,arch_timer.yaml, pl011.yaml, arm,pl031.yaml).
 */
#include "firmware/arm64/arm64_fdt.h"

#include "firmware/arm64/arm64_platform.h"
#include "vmm/base/macros.h"

enum {
    HANDLE_GIC = 1,
    HANDLE_ITS = 2,
    HANDLE_CLOCK = 3,
    SPI = 0,
    PPI = 1,
    LEVEL_HIGH = 4,
    SERIAL_CLOCK_HZ = 24000000,
};

static const struct layout_map arm64_layout_map = {
    .low_base = ARM64_RAM_BASE,
    .low_end = ARM64_RAM_LOW_END,
    .high_base = ARM64_RAM_LOW_END,
    .pci32_base = ARM64_PCI32_BASE,
    .pci32_len = ARM64_PCI32_LEN,
    .ecam_base = ARM64_ECAM_BASE,
};

_Static_assert(ARM64_GICR_BASE + GUEST_MAX_VCPUS * ARM64_GICR_LEN <= ARM64_PCI32_BASE,
               "a redistributor for every vCPU");

/* The affinity fields of MPIDR_EL1 as KVM derives them from a vCPU's number: 16 in a group of the
 * lowest field, as many as one write of the GIC's can interrupt, and 256 groups. */
static uint32_t cpu_reg(struct vcpu_id id)
{
    return (id.v & 0xf) | (id.v >> 4 & 0xff) << 8 | (id.v >> 12 & 0xff) << 16;
}

static void append_cpu(struct fdt_out *w)
{
    fdt_out_text(w, "compatible", "arm,armv8");
    fdt_out_text(w, "enable-method", "psci");
}

static void append_psci(struct fdt_out *w)
{
    static const char kinds[] = "arm,psci-1.0\0arm,psci-0.2";

    fdt_out_begin(w, "psci");
    fdt_out_texts(w, "compatible", kinds, sizeof(kinds));
    fdt_out_text(w, "method", "hvc");
    fdt_out_end(w);
}

static void append_timer(struct fdt_out *w)
{
    static const uint32_t cells[] = {
        PPI, ARM64_TIMER_SECURE_PPI,  LEVEL_HIGH, PPI, ARM64_TIMER_PHYSICAL_PPI, LEVEL_HIGH,
        PPI, ARM64_TIMER_VIRTUAL_PPI, LEVEL_HIGH, PPI, ARM64_TIMER_HYP_PPI,      LEVEL_HIGH,
    };

    fdt_out_begin(w, "timer");
    fdt_out_text(w, "compatible", "arm,armv8-timer");
    fdt_out_cells(w, "interrupts", cells, ARRAY_SIZE(cells));
    fdt_out_flag(w, "always-on");
    fdt_out_end(w);
}

static void append_gic(struct fdt_out *w, size_t n_vcpus)
{
    const uint32_t reg[] = {
        0, (uint32_t)ARM64_GICD_BASE, 0, (uint32_t)ARM64_GICD_LEN,
        0, (uint32_t)ARM64_GICR_BASE, 0, (uint32_t)(n_vcpus * ARM64_GICR_LEN),
    };

    fdt_out_begin(w, "interrupt-controller@%llx", ARM64_GICD_BASE);
    fdt_out_text(w, "compatible", "arm,gic-v3");
    fdt_out_flag(w, "interrupt-controller");
    fdt_out_u32(w, "#interrupt-cells", 3);
    fdt_out_cells(w, "reg", reg, ARRAY_SIZE(reg));
    fdt_out_u32(w, "#redistributor-regions", 1);
    fdt_out_u32(w, "#address-cells", 2);
    fdt_out_u32(w, "#size-cells", 2);
    fdt_out_flag(w, "ranges");
    fdt_out_u32(w, "phandle", HANDLE_GIC);
    fdt_out_begin(w, "msi-controller@%llx", ARM64_ITS_BASE);
    fdt_out_text(w, "compatible", "arm,gic-v3-its");
    fdt_out_flag(w, "msi-controller");
    fdt_out_u32(w, "#msi-cells", 1);
    fdt_out_reg(w, ARM64_ITS_BASE, ARM64_ITS_LEN);
    fdt_out_u32(w, "phandle", HANDLE_ITS);
    fdt_out_end(w);
    fdt_out_end(w);
}

static void append_clock(struct fdt_out *w)
{
    fdt_out_begin(w, "apb-pclk");
    fdt_out_text(w, "compatible", "fixed-clock");
    fdt_out_u32(w, "#clock-cells", 0);
    fdt_out_u32(w, "clock-frequency", SERIAL_CLOCK_HZ);
    fdt_out_text(w, "clock-output-names", "clk24mhz");
    fdt_out_u32(w, "phandle", HANDLE_CLOCK);
    fdt_out_end(w);
}

static void append_serial(struct fdt_out *w)
{
    static const char kinds[] = "arm,pl011\0arm,primecell", clocks[] = "uartclk\0apb_pclk";
    static const uint32_t irq[] = { SPI, ARM64_SERIAL_SPI, LEVEL_HIGH };
    static const uint32_t sources[] = { HANDLE_CLOCK, HANDLE_CLOCK };

    fdt_out_begin(w, "serial@%llx", ARM64_SERIAL_BASE);
    fdt_out_texts(w, "compatible", kinds, sizeof(kinds));
    fdt_out_reg(w, ARM64_SERIAL_BASE, ARM64_PART_LEN);
    fdt_out_cells(w, "interrupts", irq, ARRAY_SIZE(irq));
    fdt_out_cells(w, "clocks", sources, ARRAY_SIZE(sources));
    fdt_out_texts(w, "clock-names", clocks, sizeof(clocks));
    fdt_out_end(w);
}

static void append_rtc(struct fdt_out *w)
{
    static const char kinds[] = "arm,pl031\0arm,primecell";
    static const uint32_t irq[] = { SPI, ARM64_RTC_SPI, LEVEL_HIGH };

    fdt_out_begin(w, "rtc@%llx", ARM64_RTC_BASE);
    fdt_out_texts(w, "compatible", kinds, sizeof(kinds));
    fdt_out_reg(w, ARM64_RTC_BASE, ARM64_PART_LEN);
    fdt_out_cells(w, "interrupts", irq, ARRAY_SIZE(irq));
    fdt_out_u32(w, "clocks", HANDLE_CLOCK);
    fdt_out_text(w, "clock-names", "apb_pclk");
    fdt_out_end(w);
}

static void append_platform(struct fdt_out *w, const struct fdt_input *in)
{
    fdt_out_text(w, "compatible", "linux,dummy-virt");
    fdt_out_text(w, "model", "numavisor");
    fdt_out_u32(w, "interrupt-parent", HANDLE_GIC);
    append_psci(w);
    append_timer(w);
    append_gic(w, in->plan->n_vcpus);
    append_clock(w);
    append_serial(w);
    append_rtc(w);
}

const struct fdt_arch fdt_arch_arm64 = {
    .name = "arm64",
    .map = &arm64_layout_map,
    .phys_bits = 40, /* what KVM gives when not asked for more */
    .phys_bits_most = 48,
    .console = "/serial@9000000:115200n8",
    .cpu_reg = cpu_reg,
    .cpu = append_cpu,
    .platform = append_platform,
    .msi_handle = HANDLE_ITS,
};
