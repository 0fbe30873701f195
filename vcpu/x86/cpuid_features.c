/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row per register of the feature leaves: 32 names from bit 0 up, NULL where a bit has no
 * name or must not be taken away (x2APIC ids, hypervisor bit: the machine stands on them).
 */
#include "vcpu/x86/cpuid_features.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vmm/base/macros.h"

enum feature_reg { FEATURE_EAX, FEATURE_EBX, FEATURE_ECX, FEATURE_EDX };

struct feature_row {
    uint32_t function, index;
    enum feature_reg reg;
    const char *name[32];
};

static const struct feature_row rows[] = {
    { 1, 0, FEATURE_EDX,
      { "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", NULL, NULL, "sep", "mtrr",
        "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", NULL, "dts", "acpi", "mmx", "fxsr",
        "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe" } },
    { 1, 0, FEATURE_ECX,
      { "pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2", "ssse3",
        "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm", NULL, "pcid", "dca", "sse4_1", "sse4_2",
        NULL, "movbe", "popcnt", "tsc_deadline_timer", "aes", "xsave", NULL, "avx", "f16c",
        "rdrand", NULL } },
    { 7, 0, FEATURE_EBX,
      { "fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", NULL, "smep", "bmi2", "erms",
        "invpcid", "rtm", "cqm", NULL, "mpx", "rdt_a", "avx512f", "avx512dq", "rdseed", "adx",
        "smap", "avx512ifma", NULL, "clflushopt", "clwb", "intel_pt", "avx512pf", "avx512er",
        "avx512cd", "sha_ni", "avx512bw", "avx512vl" } },
    { 7, 0, FEATURE_ECX,
      { NULL, "avx512vbmi", "umip", "pku", NULL, "waitpkg", "avx512_vbmi2", "shstk", "gfni",
        "vaes", "vpclmulqdq", "avx512_vnni", "avx512_bitalg", "tme", "avx512_vpopcntdq", NULL,
        "la57", NULL, NULL, NULL, NULL, NULL, "rdpid", NULL, "bus_lock_detect", "cldemote", NULL,
        "movdiri", "movdir64b", "enqcmd", "sgx_lc", NULL } },
    { 7, 0, FEATURE_EDX,
      { NULL, NULL, "avx512_4vnniw", "avx512_4fmaps", "fsrm", "uintr", NULL, NULL,
        "avx512_vp2intersect", NULL, "md_clear", NULL, NULL, NULL, "serialize", NULL,
        "tsxldtrk", NULL, "pconfig", "arch_lbr", "ibt", NULL, "amx_bf16", "avx512_fp16",
        "amx_tile", "amx_int8", "ibrs", "stibp", "flush_l1d", "arch_capabilities", NULL,
        "ssbd" } },
    { 7, 1, FEATURE_EAX,
      { NULL, NULL, NULL, NULL, "avx_vnni", "avx512_bf16", NULL, NULL, NULL, NULL, "fzrm", "fsrs",
        "fsrc" } },
    { 0xd, 1, FEATURE_EAX, { "xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd" } },
    { 0x80000001, 0, FEATURE_EDX,
      { [11] = "syscall", [19] = "mp", [20] = "nx", [22] = "mmxext", [25] = "fxsr_opt",
        [26] = "pdpe1gb", [27] = "rdtscp", [30] = "3dnowext", [31] = "3dnow" } },
    { 0x80000001, 0, FEATURE_ECX,
      { "lahf_lm", NULL, "svm", "extapic", "cr8_legacy", "abm", "sse4a", "misalignsse",
        "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp", "fma4", "tce", NULL,
        "nodeid_msr", NULL, "tbm", NULL, "perfctr_core", "perfctr_nb", NULL, "bpext", NULL,
        "perfctr_llc", "mwaitx" } },
    { 0x80000008, 0, FEATURE_EBX,
      { [0] = "clzero", [2] = "xsaveerptr", [4] = "rdpru", [9] = "wbnoinvd", [12] = "ibpb",
        [14] = "amd_ibrs", [15] = "amd_stibp", [24] = "amd_ssbd", [25] = "virt_ssbd" } },
};

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, enum feature_reg reg)
{
    switch (reg) {
    case FEATURE_EAX:
        return &e->eax;
    case FEATURE_EBX:
        return &e->ebx;
    case FEATURE_ECX:
        return &e->ecx;
    case FEATURE_EDX:
        break;
    }
    return &e->edx;
}

/* Clear one bit wherever the table has it; true when it was set. */
static bool clear_bit(struct kvm_cpuid2 *table, const struct feature_row *row, unsigned bit)
{
    bool was_set = false;

    for (uint32_t i = 0; i < table->nent; i++) {
        struct kvm_cpuid_entry2 *e = &table->entries[i];
        uint32_t *reg;

        if (e->function != row->function || e->index != row->index)
            continue;
        reg = reg_of(e, row->reg);
        was_set |= *reg >> bit & 1;
        *reg &= ~(1u << bit);
    }
    return was_set;
}

static const struct feature_row *find(const char *name, unsigned *ret_bit)
{
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (rows[r].name[bit] == NULL || strcmp(rows[r].name[bit], name) != 0)
                continue;
            *ret_bit = bit;
            return &rows[r];
        }
    }
    return NULL;
}

bool cpuid_feature_known(const char *name)
{
    unsigned bit;

    return find(name, &bit) != NULL;
}

int cpuid_feature_remove(struct kvm_cpuid2 *table, const char *name, struct errctx *ec)
{
    unsigned bit = 0;
    const struct feature_row *row = find(name, &bit);

    if (row == NULL)
        return errctx_set(ec, EINVAL,
                          "--cpu-feature -%s: no feature of that name can be taken away", name);
    if (!clear_bit(table, row, bit))
        return errctx_set(ec, EINVAL, "--cpu-feature -%s: this host does not offer it to guests",
                          name);
    return 0;
}
