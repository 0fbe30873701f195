/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libseccomp compiles the filters once; threads load the finished programs, so entering the
 * sandbox allocates nothing and cannot fail half-way.
 *
 * Filters stack: the process-wide one is the union of all lists and is put on all threads at
 * once (TSYNC), the thread's own one narrows it. After devices were quiesced at the end, the
 * main thread tears everything down, so its list holds what the I/O list holds, too.
 */
#include "vmm/machine/sandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/privilege.h"
#include "vmm/machine/sandbox_rules.h"

struct program {
    struct sock_filter *insns;
    unsigned short n;
};

struct sandbox {
    struct program process;
    struct program kind[SANDBOX_KINDS];
};

static int add_rules(scmp_filter_ctx filter, const struct sandbox_rules *rules, struct errctx *ec)
{
    for (size_t i = 0; i < rules->n; i++) {
        const struct sandbox_rule *rule = &rules->rules[i];
        int r;

        if (rule->arg < 0)
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rule->nr, 0);
        else
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rule->nr, 1,
                                 SCMP_CMP((unsigned)rule->arg, SCMP_CMP_MASKED_EQ, rule->mask,
                                          rule->value));
        if (r < 0 && r != -EEXIST)
            return errctx_set_os(ec, -r, "sandbox rule for system call %d", rule->nr);
    }
    return 0;
}

/* Signals to ourselves only: a kick, and what the C library's abort() and raise() are. */
static int add_own_signals(scmp_filter_ctx filter, struct errctx *ec)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, (uint32_t)getpid()));

    return r < 0 ? errctx_set_os(ec, -r, "sandbox rule for signals") : 0;
}

/* libseccomp writes a finished program to a descriptor only; read it back into memory. */
static int export(scmp_filter_ctx filter, struct program *ret, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = memfd_create("sandbox", MFD_CLOEXEC);
    CLEANUP_FREE struct sock_filter *insns = NULL;
    struct stat st;
    int r;

    if (fd < 0)
        return errctx_set_os(ec, errno, "memfd_create");
    r = seccomp_export_bpf(filter, fd);
    if (r < 0)
        return errctx_set_os(ec, -r, "sandbox filter");
    if (fstat(fd, &st) < 0)
        return errctx_set_os(ec, errno, "fstat");
    insns = malloc((size_t)st.st_size);
    if (insns == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a sandbox filter");
    if (pread(fd, insns, (size_t)st.st_size, 0) != st.st_size)
        return errctx_set(ec, EIO, "a sandbox filter could not be read back");
    ret->n = (unsigned short)((size_t)st.st_size / sizeof(*insns));
    ret->insns = take_ptr(insns);
    return 0;
}

static int compile(const struct sandbox_rules *const *lists, struct program *ret,
                   struct errctx *ec)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = 0;

    if (filter == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a sandbox filter");
    for (; r == 0 && *lists != NULL; lists++)
        r = add_rules(filter, *lists, ec);
    if (r == 0)
        r = add_own_signals(filter, ec);
    if (r == 0) {
        /* A tree of comparisons instead of a chain: KVM_RUN passes it on every exit. */
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        r = export(filter, ret, ec);
    }
    seccomp_release(filter);
    return r;
}

int sandbox_new(const struct sandbox_request *req, struct sandbox **ret_sandbox,
                struct errctx *ec)
{
    static const struct sandbox_rules none = { NULL, 0 };
    const struct sandbox_rules *net = req->user_network ? &sandbox_rules_net : &none;
    const struct sandbox_rules *vsock = req->vsock ? &sandbox_rules_vsock : &none;
    const struct sandbox_rules *const process[] = { &sandbox_rules_all, &sandbox_rules_start,
                                                    &sandbox_rules_vcpu, &sandbox_rules_io,
                                                    &sandbox_rules_main, net, vsock, NULL };
    const struct sandbox_rules *const vcpu[] = { &sandbox_rules_all, &sandbox_rules_vcpu, NULL };
    const struct sandbox_rules *const io[] = { &sandbox_rules_all, &sandbox_rules_io, net, vsock,
                                               NULL };
    const struct sandbox_rules *const main_thread[] = { &sandbox_rules_all, &sandbox_rules_main,
                                                        &sandbox_rules_io, net, vsock, NULL };
    struct sandbox *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the sandbox");
    r = compile(process, &s->process, ec);
    if (r == 0)
        r = compile(vcpu, &s->kind[SANDBOX_VCPU], ec);
    if (r == 0)
        r = compile(io, &s->kind[SANDBOX_IO], ec);
    if (r == 0)
        r = compile(main_thread, &s->kind[SANDBOX_MAIN], ec);
    if (r < 0) {
        sandbox_free(s);
        return r;
    }
    *ret_sandbox = s;
    return 0;
}

void sandbox_free(struct sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    free(sandbox->process.insns);
    for (int i = 0; i < SANDBOX_KINDS; i++)
        free(sandbox->kind[i].insns);
    free(sandbox);
}

static int load(const struct program *p, unsigned flags, struct errctx *ec)
{
    const struct sock_fprog prog = { .len = p->n, .filter = p->insns };

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) != 0)
        return errctx_set_os(ec, errno, "seccomp");
    return 0;
}

int sandbox_enter_process(const struct sandbox *sandbox, struct errctx *ec)
{
    int r = privilege_drop(ec);

    return r < 0 ? r : load(&sandbox->process, SECCOMP_FILTER_FLAG_TSYNC, ec);
}

int sandbox_enter(const struct sandbox *sandbox, enum sandbox_kind kind, struct errctx *ec)
{
    return load(&sandbox->kind[kind], 0, ec);
}
