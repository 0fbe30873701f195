// LDFLAGS: -Wl,--wrap=guest_mem_new -Wl,--wrap=guest_mem_free -Wl,--wrap=guest_mem_commit -Wl,--wrap=guest_mem_n_slots -Wl,--wrap=guest_mem_slot -Wl,--wrap=guest_mem_n_windows -Wl,--wrap=kvm_vm_map
/* SPDX-License-Identifier: Apache-2.0 */
/* Stage "memory": guest memory of any size as slots that KVM takes, without the memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

#define HOST_BASE 0x100000000000u
#define G         ((uint64_t)GIB)
#define T         (1024 * G)

int __wrap_guest_mem_new(const struct topo_plan *plan, const struct mem_layout *layout,
                         struct guest_mem **ret_mem, struct errctx *ec);
int __wrap_guest_mem_commit(struct guest_mem *mem, const struct guest_mem_commit *how,
                            struct errctx *ec);
void __wrap_guest_mem_free(struct guest_mem *mem);
size_t __wrap_guest_mem_n_slots(const struct guest_mem *mem);
struct guest_mem_slot __wrap_guest_mem_slot(const struct guest_mem *mem, size_t i);
size_t __wrap_guest_mem_n_windows(const struct guest_mem *mem);
int __wrap_kvm_vm_map(const struct kvm_vm *vm, uint32_t slot, struct gpa base, uint64_t len_bytes,
                      void *host, struct errctx *ec);

/* What KVM holds; kept between the calls of one test. */
static struct {
    struct {
        uint64_t base, len;
        uintptr_t host;
    } slot[16];
    unsigned mapped, calls, fail_at; /* the call that fails, from 1 */
    unsigned memories;
} kvm;

static const struct {
    uint64_t base, len;
} range[] = {
    { 0, 2 * G },
    { 4 * G, 9 * T + 2 * MIB },
    { 16 * T, 8 * T },
};

int __wrap_guest_mem_new(const struct topo_plan *plan, const struct mem_layout *layout,
                         struct guest_mem **ret_mem, struct errctx *ec)
{
    (void)plan;
    (void)layout;
    (void)ec;
    *ret_mem = (struct guest_mem *)&kvm;
    kvm.memories++;
    return 0;
}

int __wrap_guest_mem_commit(struct guest_mem *mem, const struct guest_mem_commit *how,
                            struct errctx *ec)
{
    (void)ec;
    assert_ptr_equal(mem, &kvm);
    assert_int_equal(kvm.mapped, 0); /* memory is there before the guest can have it */
    assert_true(how->threads);
    return 0;
}

void __wrap_guest_mem_free(struct guest_mem *mem)
{
    assert_ptr_equal(mem, &kvm);
    assert_int_equal(kvm.mapped, 0); /* KVM lets go of memory before it goes */
    kvm.memories--;
}

size_t __wrap_guest_mem_n_slots(const struct guest_mem *mem)
{
    assert_ptr_equal(mem, &kvm);
    return ARRAY_SIZE(range);
}

size_t __wrap_guest_mem_n_windows(const struct guest_mem *mem)
{
    (void)mem;
    return 0;
}

struct guest_mem_slot __wrap_guest_mem_slot(const struct guest_mem *mem, size_t i)
{
    assert_ptr_equal(mem, &kvm);
    return (struct guest_mem_slot){ .base = { range[i].base },
                                    .len_bytes = range[i].len,
                                    .host = (void *)(HOST_BASE + (uintptr_t)range[i].base) };
}

int __wrap_kvm_vm_map(const struct kvm_vm *vm, uint32_t slot, struct gpa base, uint64_t len_bytes,
                      void *host, struct errctx *ec)
{
    (void)vm;
    assert_true(slot < ARRAY_SIZE(kvm.slot));
    if (len_bytes == 0) {
        assert_true(kvm.slot[slot].len > 0);
        kvm.slot[slot].len = 0;
        kvm.mapped--;
        return 0;
    }
    if (++kvm.calls == kvm.fail_at)
        return errctx_set(ec, EINVAL, "map guest memory");
    assert_true(kvm.slot[slot].len == 0);
    assert_true(len_bytes / 4096 < 1u << 31); /* what KVM refuses */
    kvm.slot[slot].base = base.v;
    kvm.slot[slot].len = len_bytes;
    kvm.slot[slot].host = (uintptr_t)host;
    kvm.mapped++;
    return 0;
}

static int forget(void **state)
{
    (void)state;
    memset(&kvm, 0, sizeof(kvm));
    return 0;
}

static void ranges_of_many_tib_become_several_slots(void **state)
{
    const struct machine_config config = { 0 };
    struct topo_plan_host host = { .id = { 0 } };
    const struct topo_plan plan = { .hosts = &host, .n_hosts = 1 };
    struct machine m = { .config = &config, .plan = &plan };
    unsigned next = 0;

    (void)state;
    assert_int_equal(stage_memory_build(&m, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(range); i++)
        for (uint64_t done = 0; done < range[i].len; next++) {
            assert_true(kvm.slot[next].base == range[i].base + done);
            assert_true(kvm.slot[next].host == HOST_BASE + kvm.slot[next].base);
            done += kvm.slot[next].len;
            assert_true(done <= range[i].len);
        }
    assert_int_equal(next, 1 + 3 + 2);
    assert_int_equal(kvm.mapped, next);
    assert_int_equal(m.n_mem_slots, next);
    stage_memory_undo(&m);
    assert_int_equal(kvm.mapped, 0);
    assert_int_equal(kvm.memories, 0);
}

static void a_failure_in_the_midst_leaves_nothing_mapped(void **state)
{
    (void)state;
    for (unsigned at = 1; at <= 6; at++) {
        const struct machine_config config = { 0 };
        struct topo_plan_host host = { .id = { 0 } };
        const struct topo_plan plan = { .hosts = &host, .n_hosts = 1 };
        struct machine m = { .config = &config, .plan = &plan };
        struct errctx ec = { 0 };

        (void)forget(NULL);
        kvm.fail_at = at;
        assert_int_equal(stage_memory_build(&m, &ec), -EINVAL);
        assert_string_equal(ec.msg, "map guest memory");
        assert_int_equal(kvm.calls, at);
        assert_int_equal(kvm.mapped, 0);
        assert_int_equal(kvm.memories, 0);
        assert_int_equal(m.n_mem_slots, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ranges_of_many_tib_become_several_slots, forget),
        cmocka_unit_test_setup(a_failure_in_the_midst_leaves_nothing_mapped, forget),
    };

    return cmocka_run_group_tests_name("machine/memory", tests, NULL, NULL);
}
