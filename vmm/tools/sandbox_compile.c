/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_compile - part of the build: have libseccomp compile the sandbox's lists, and print the
 * programs as the C source that vmm/machine/sandbox_programs.h declares.
 */
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/machine/sandbox_rules.h"

static void fail(const char *what, int error)
{
    (void)fprintf(stderr, "sandbox_compile: %s: %s\n", what, strerror(error));
    exit(1);
}

static void add(scmp_filter_ctx filter, const struct sandbox_rules *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct sandbox_rule *rule = &list->rules[i];
        const struct scmp_arg_cmp cmp =
            SCMP_CMP((unsigned)rule->arg, SCMP_CMP_MASKED_EQ, rule->mask, rule->value);
        const int r =
            seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule->nr, rule->arg >= 0, &cmp);

        if (r < 0 && r != -EEXIST) /* a row of two lists */
            fail("seccomp_rule_add_array", -r);
    }
}

/* libseccomp writes a finished program to a descriptor. */
static void print(scmp_filter_ctx filter)
{
    const int fd = memfd_create("program", MFD_CLOEXEC);
    struct sock_filter insn;
    int r;

    if (fd < 0)
        fail("memfd_create", errno);
    r = seccomp_export_bpf(filter, fd);
    if (r < 0)
        fail("seccomp_export_bpf", -r);
    if (lseek(fd, 0, SEEK_SET) != 0)
        fail("lseek", errno);
    while (read(fd, &insn, sizeof(insn)) == (ssize_t)sizeof(insn))
        (void)printf("    { 0x%02x, %u, %u, 0x%08x },\n", insn.code, insn.jt, insn.jf, insn.k);
    (void)close(fd);
}

/* The lists name calls by this machine's numbers; libseccomp knows those of the other. */
static void for_arch(scmp_filter_ctx filter, uint32_t arch)
{
    int r;

    if (arch == seccomp_arch_native())
        return;
    r = seccomp_arch_add(filter, arch);
    if (r == 0)
        r = seccomp_arch_remove(filter, seccomp_arch_native());
    if (r < 0)
        fail("seccomp_arch_add", -r);
}

static void compile(uint32_t arch, enum sandbox_role role, bool net, bool vsock)
{
    const struct sandbox_rules *lists[SANDBOX_MAX_LISTS];
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r;

    if (filter == NULL)
        fail("seccomp_init", ENOMEM);
    for_arch(filter, arch);
    sandbox_rules_of(role, net, vsock, lists);
    for (size_t i = 0; lists[i] != NULL; i++)
        add(filter, lists[i]);
    /* A tree of comparisons instead of a chain: KVM_RUN passes it on every exit. */
    r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r < 0)
        fail("seccomp_attr_set", -r);
    (void)printf("static const struct sock_filter p%d%d%d[] = {\n", role, net, vsock);
    print(filter);
    (void)printf("};\n\n");
    seccomp_release(filter);
}

/* Where devices make no difference one serves. */
static bool is_made(int role, int net, int vsock)
{
    return sandbox_role_has_devices((enum sandbox_role)role) || (net == 0 && vsock == 0);
}

int main(int argc, char **argv)
{
    const uint32_t arch = argc == 2 ? seccomp_arch_resolve_name(argv[1]) : 0;

    if (arch == 0)
        fail("say for which architecture, as libseccomp calls it", EINVAL);
    (void)printf("/* Made by vmm/tools/sandbox_compile.c. */\n"
                 "#include \"vmm/base/macros.h\"\n"
                 "#include \"vmm/machine/sandbox_programs.h\"\n\n");
    for (int role = 0; role < SANDBOX_ROLES; role++)
        for (int net = 0; net < 2; net++)
            for (int vsock = 0; vsock < 2; vsock++)
                if (is_made(role, net, vsock))
                    compile(arch, (enum sandbox_role)role, net, vsock);
    (void)printf("const struct sandbox_program sandbox_programs[SANDBOX_ROLES][2][2] = {\n");
    for (int role = 0; role < SANDBOX_ROLES; role++) {
        for (int net = 0; net < 2; net++) {
            for (int vsock = 0; vsock < 2; vsock++) {
                const bool own = is_made(role, net, vsock);

                (void)printf("    [%d][%d][%d] = { p%d%d%d, ARRAY_SIZE(p%d%d%d) },\n", role, net,
                             vsock, role, own ? net : 0, own ? vsock : 0, role, own ? net : 0,
                             own ? vsock : 0);
            }
        }
    }
    (void)printf("};\n");
    return fflush(stdout) != 0 || ferror(stdout);
}
