/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors in the DSDT (ACPI 6.5, 8.4). One that may be plugged in later has a byte in the block of
 * CPUs (devices/platform.h), which is its own operation region, so that its methods need no lock:
 *
 *   _STA  whether it is there
 *   _MAT  its MADT entry, enabled, as it counts once it is there
 *   _EJ0  takes it away
 *
 * \_SB.CSCN, which the event device calls, tells the OS of each that came or is asked to go.
 */
#include <stdio.h>

#include "firmware/aml.h"
#include "firmware/x86/acpi_x86.h"
#include "firmware/x86/x86_platform.h"

enum { STA_THERE = 0x0f, NOTIFY_DEVICE_CHECK = 1, NOTIFY_EJECT_REQUEST = 3, NAME_BYTES = 12, PATH_BYTES = 24 };

static const char *name_of(const struct topo_plan_vcpu *cpu, char buf[static NAME_BYTES])
{
    (void)snprintf(buf, NAME_BYTES, "C%03X", cpu->id.v);
    return buf;
}

/* From CSCN: names of several parts are not looked for further up. */
static void status_of(const char *name, char buf[static PATH_BYTES])
{
    (void)snprintf(buf, PATH_BYTES, "^%.4s.CSTS", name);
}

bool dsdt_has_later_cpus(const struct topo_plan *plan)
{
    for (size_t i = 0; i < plan->n_vcpus; i++)
        if (plan->vcpus[i].later)
            return true;
    return false;
}

/* If (And (@what, @bits)) */
static size_t begin_if_bits(struct bytebuf *b, const char *what, uint8_t local, uint64_t bits)
{
    size_t block = aml_if_begin(b);

    aml_op_and(b);
    if (what != NULL)
        aml_name_string(b, what);
    else
        aml_term(b, local);
    aml_integer(b, bits);
    aml_term(b, 0);
    return block;
}

static int append_later(struct bytebuf *b, const struct topo_plan_vcpu *cpu, struct errctx *ec)
{
    size_t method, block, buffer;
    int r;

    aml_op_region(b, "CREG", AML_SYSTEM_MEMORY, PLATFORM_CPU_BASE + cpu->id.v, 1);
    aml_field_u8(b, "CREG", "CSTS");
    method = aml_method_begin(b, "_STA", 0, false);
    block = begin_if_bits(b, "CSTS", 0, PLATFORM_CPU_THERE);
    aml_op_return(b);
    aml_integer(b, STA_THERE);
    aml_end(b, block);
    aml_op_return(b);
    aml_integer(b, 0);
    aml_end(b, method);

    aml_name(b, "_MAT");
    buffer = aml_buffer_begin(b, madt_cpu_bytes(cpu));
    r = madt_append_cpu(b, cpu, true, ec);
    aml_end(b, buffer);

    method = aml_method_begin(b, "_EJ0", 1, false);
    aml_op_store(b);
    aml_integer(b, PLATFORM_CPU_GONE);
    aml_name_string(b, "CSTS");
    aml_end(b, method);
    return r;
}

/* If (And (Local0, @bit)) { C.CSTS = @bit, Notify (C, @what) } */
static void append_news(struct bytebuf *b, const char *name, uint64_t bit, uint64_t what)
{
    char path[PATH_BYTES];
    size_t block = begin_if_bits(b, NULL, AML_LOCAL0, bit);

    status_of(name, path);
    aml_op_store(b);
    aml_integer(b, bit);
    aml_name_string(b, path);
    aml_op_notify(b);
    aml_name_string(b, name);
    aml_integer(b, what);
    aml_end(b, block);
}

static void append_scan(struct bytebuf *b, const struct topo_plan *plan)
{
    size_t method = aml_method_begin(b, "CSCN", 0, true);

    for (size_t i = 0; i < plan->n_vcpus; i++) {
        char name[NAME_BYTES], path[PATH_BYTES];

        if (!plan->vcpus[i].later)
            continue;
        status_of(name_of(&plan->vcpus[i], name), path);
        aml_op_store(b);
        aml_name_string(b, path);
        aml_term(b, AML_LOCAL0);
        append_news(b, name, PLATFORM_CPU_COMES, NOTIFY_DEVICE_CHECK);
        append_news(b, name, PLATFORM_CPU_ASKED, NOTIFY_EJECT_REQUEST);
    }
    aml_end(b, method);
}

int dsdt_append_cpus(struct bytebuf *b, const struct topo_plan *plan, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *cpu = &plan->vcpus[i];
        char name[NAME_BYTES];
        size_t dev = aml_device_begin(b, name_of(cpu, name));

        aml_name_string_value(b, "_HID", "ACPI0007");
        aml_name_integer(b, "_UID", cpu->id.v);
        aml_name_integer(b, "_PXM", cpu->vnode.v);
        if (cpu->later)
            r = append_later(b, cpu, ec);
        aml_end(b, dev);
    }
    if (r == 0 && dsdt_has_later_cpus(plan))
        append_scan(b, plan);
    return r;
}
