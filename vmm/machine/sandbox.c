/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs are made by the build (sandbox_programs.h); what is left is to put our process's
 * number in. Threads load them as they are, so entering the sandbox allocates nothing and cannot
 * fail half-way.
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
#include "vmm/machine/sandbox_files.h"
#include "vmm/machine/sandbox_programs.h"

struct sandbox {
    struct sock_fprog program[SANDBOX_ROLES];
    int files; /* Landlock's ruleset; -1 where the kernel has none */
};

static const enum sandbox_role role_of[SANDBOX_KINDS] = {
    [SANDBOX_VCPU] = SANDBOX_ROLE_VCPU,
    [SANDBOX_IO] = SANDBOX_ROLE_IO,
    [SANDBOX_MAIN] = SANDBOX_ROLE_MAIN,
    [SANDBOX_MOVER] = SANDBOX_ROLE_MOVER,
    [SANDBOX_BALANCER] = SANDBOX_ROLE_BALANCER,
    [SANDBOX_FAULT] = SANDBOX_ROLE_FAULT,
    [SANDBOX_EVICT] = SANDBOX_ROLE_EVICT,
    [SANDBOX_EVICT_DOMAIN] = SANDBOX_ROLE_EVICT_DOMAIN,
    [SANDBOX_THROTTLE] = SANDBOX_ROLE_THROTTLE,
    [SANDBOX_SLOW] = SANDBOX_ROLE_SLOW,
    [SANDBOX_RECLAIM] = SANDBOX_ROLE_RECLAIM,
};

static int make_ours(const struct sandbox_program *from, struct sock_fprog *ret, struct errctx *ec)
{
    struct sock_filter *insns = calloc(from->n, sizeof(*insns));

    if (insns == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the sandbox");
    for (unsigned short i = 0; i < from->n; i++) {
        insns[i] = from->insns[i];
        if (BPF_CLASS(insns[i].code) == BPF_JMP && insns[i].k == SANDBOX_OWN_PID)
            insns[i].k = (uint32_t)getpid();
    }
    *ret = (struct sock_fprog){ .len = from->n, .filter = insns };
    return 0;
}

int sandbox_new(const struct sandbox_request *req, struct sandbox **ret_sandbox,
                struct errctx *ec)
{
    const bool unix_sockets = req->vsock_socket != NULL || req->n_peers > 0;
    struct sandbox *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the sandbox");
    s->files = -1;
    r = sandbox_files_new(req, &s->files, ec);
    for (int role = 0; r == 0 && role < SANDBOX_ROLES; role++) {
        const bool domain = role == SANDBOX_ROLE_PROCESS && req->service_socket != NULL;

        r = make_ours(&sandbox_programs[role][req->user_network][unix_sockets || domain],
                      &s->program[role], ec);
    }
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
    for (int i = 0; i < SANDBOX_ROLES; i++)
        free(sandbox->program[i].filter);
    if (sandbox->files >= 0)
        (void)close(sandbox->files);
    free(sandbox);
}

static int load(const struct sock_fprog *prog, unsigned flags, struct errctx *ec)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, prog) != 0)
        return errctx_set_os(ec, errno, "seccomp");
    return 0;
}

int sandbox_enter_process(const struct sandbox *sandbox, struct errctx *ec)
{
    int r = privilege_drop(ec);

    if (r == 0)
        r = landlock_enter(sandbox->files, ec);
    return r < 0 ? r : load(&sandbox->program[SANDBOX_ROLE_PROCESS], SECCOMP_FILTER_FLAG_TSYNC, ec);
}

int sandbox_enter(const struct sandbox *sandbox, enum sandbox_kind kind, struct errctx *ec)
{
    return load(&sandbox->program[role_of[kind]], 0, ec);
}
