/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_probe.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/kvm/kvm_stats.h"
#include "vmm/kvm/x86/kvm_state.h"
#include "vmm/kvm/x86/kvm_vm_x86.h"

enum { PROBE_ROUNDS = 1024, PROBE_MEM_BYTES = 0x4000, PROBE_CODE = 0x1000 };

/* mov $1024, %ecx; 1: dec %ecx; jnz 1b; hlt */
static const unsigned char probe_code[] = { 0xb9, 0x00, 0x04, 0x00, 0x00, 0x49, 0x75, 0xfd, 0xf4 };

static int set_registers(const struct kvm_vcpu *vcpu, struct errctx *ec)
{
    const struct kvm_regs regs = { .rip = PROBE_CODE, .rflags = 2 };
    struct kvm_segment code = { .limit = 0xffffffff, .selector = 0x10, .type = 0xb, .present = 1,
                                .s = 1, .g = 1, .db = 1 };
    struct kvm_sregs sregs;
    int r = kvm_vcpu_get_sregs(vcpu, &sregs, ec);

    if (r < 0)
        return r;
    sregs.cs = code;
    code.type = 0x3;
    code.selector = 0x18;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = code;
    sregs.cr0 |= 1; /* protected mode: no processor needs help for it */
    r = kvm_vcpu_set_sregs(vcpu, &sregs, ec);
    return r < 0 ? r : kvm_vcpu_set_regs(vcpu, &regs, ec);
}

static int run_loop(const struct kvm_vcpu *vcpu, bool *ret_native, struct errctx *ec)
{
    int stats_fd, r = set_registers(vcpu, ec);

    if (r < 0)
        return r;
    stats_fd = kvm_stats_open(vcpu->fd, ec);
    if (stats_fd < 0)
        return stats_fd;
    r = kvm_vcpu_enter(vcpu);
    if (r < 0)
        r = errctx_set_os(ec, -r, "KVM_RUN");
    else if (vcpu->run->exit_reason != KVM_EXIT_HLT)
        r = errctx_set(ec, EIO, "a test guest ended with exit reason %u instead of a halt",
                       vcpu->run->exit_reason);
    else
        *ret_native = kvm_stats_get(stats_fd, "insn_emulation") < PROBE_ROUNDS;
    (void)close(stats_fd);
    return r;
}

int kvm_probe_kernel_code(const struct kvm_sys *sys, bool *ret_native, struct errctx *ec)
{
    struct kvm_vcpu vcpu = { .fd = -1 };
    struct kvm_vm vm;
    void *mem;
    int r = kvm_vm_create(sys, 0, &vm, ec);

    if (r < 0)
        return r;
    mem = mmap(NULL, PROBE_MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        r = errctx_set_os(ec, errno, "mmap");
        goto out_vm;
    }
    memcpy((char *)mem + PROBE_CODE, probe_code, sizeof(probe_code));
    r = kvm_vm_setup_tss(&vm, ec);
    if (r == 0)
        r = kvm_vm_map(&vm, 0, (struct gpa){ 0 }, PROBE_MEM_BYTES, mem, ec);
    if (r == 0)
        r = kvm_vcpu_create(sys, &vm, 0, &vcpu, ec);
    if (r == 0)
        r = run_loop(&vcpu, ret_native, ec);
    kvm_vcpu_close(&vcpu);
    kvm_vm_close(&vm); /* before the memory that it maps */
    (void)munmap(mem, PROBE_MEM_BYTES);
    return r;

out_vm:
    kvm_vm_close(&vm);
    return r;
}
