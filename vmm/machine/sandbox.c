/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs are written once (sandbox_bpf.c); threads load the finished ones, so entering the
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
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/landlock.h"
#include "vmm/base/privilege.h"
#include "vmm/machine/sandbox_bpf.h"
#include "vmm/machine/sandbox_files.h"

struct sandbox {
    struct sandbox_program process;
    struct sandbox_program kind[SANDBOX_KINDS];
    int files; /* Landlock's ruleset; -1 where the kernel has none */
};

int sandbox_new(const struct sandbox_request *req, struct sandbox **ret_sandbox,
                struct errctx *ec)
{
    /* Signals to ourselves only: a kick, and what the C library's abort() and raise() are. */
    const struct sandbox_rule signal = { SYS_tgkill, 0, UINT32_MAX, (uint32_t)getpid() };
    const struct sandbox_rules own = { &signal, 1 }, none = { NULL, 0 };
    const struct sandbox_rules *net = req->user_network ? &sandbox_rules_net : &none;
    const struct sandbox_rules *vsock = req->vsock_socket != NULL ? &sandbox_rules_vsock : &none;
    const struct sandbox_rules *const process[] = { &own, &sandbox_rules_all, &sandbox_rules_start,
                                                    &sandbox_rules_vcpu, &sandbox_rules_io,
                                                    &sandbox_rules_main, net, vsock, NULL };
    const struct sandbox_rules *const vcpu[] = { &own, &sandbox_rules_all, &sandbox_rules_vcpu,
                                                 NULL };
    const struct sandbox_rules *const io[] = { &own, &sandbox_rules_all, &sandbox_rules_io, net,
                                               vsock, NULL };
    const struct sandbox_rules *const main_thread[] = { &own, &sandbox_rules_all,
                                                        &sandbox_rules_main, &sandbox_rules_io,
                                                        net, vsock, NULL };
    struct sandbox *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the sandbox");
    s->files = -1;
    r = sandbox_files_new(req, &s->files, ec);
    if (r == 0)
        r = sandbox_bpf_make(process, &s->process, ec);
    if (r == 0)
        r = sandbox_bpf_make(vcpu, &s->kind[SANDBOX_VCPU], ec);
    if (r == 0)
        r = sandbox_bpf_make(io, &s->kind[SANDBOX_IO], ec);
    if (r == 0)
        r = sandbox_bpf_make(main_thread, &s->kind[SANDBOX_MAIN], ec);
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
    if (sandbox->files >= 0)
        (void)close(sandbox->files);
    free(sandbox);
}

static int load(const struct sandbox_program *p, unsigned flags, struct errctx *ec)
{
    const struct sock_fprog prog = { .len = p->n, .filter = p->insns };

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) != 0)
        return errctx_set_os(ec, errno, "seccomp");
    return 0;
}

int sandbox_enter_process(const struct sandbox *sandbox, struct errctx *ec)
{
    int r = privilege_drop(ec);

    if (r == 0)
        r = landlock_enter(sandbox->files, ec);
    return r < 0 ? r : load(&sandbox->process, SECCOMP_FILTER_FLAG_TSYNC, ec);
}

int sandbox_enter(const struct sandbox *sandbox, enum sandbox_kind kind, struct errctx *ec)
{
    return load(&sandbox->kind[kind], 0, ec);
}
