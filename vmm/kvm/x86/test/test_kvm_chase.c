/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that chases pointers through our memory: it gets on, and it ends when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_chase.h"

enum { BYTES = 1 * MIB, STEP_BYTES = 4096 + 64, PATIENCE_MS = 30000 };

static void *run(void *arg)
{
    return (void *)(intptr_t)kvm_chase_run(arg, NULL);
}

static void a_guest_chases_until_it_is_told_to_stop(void **state)
{
    struct kvm_chase *chase;
    struct kvm_sys sys;
    pthread_t thread;
    uint64_t *ground, was;
    void *result;

    (void)state;
    if (kvm_sys_open("/dev/kvm", &sys, NULL) < 0)
        skip();
    ground = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ground, MAP_FAILED);
    for (size_t at = 0; at < BYTES - STEP_BYTES; at += STEP_BYTES)
        ground[at / 8] = at + 2 * STEP_BYTES <= BYTES ? at + STEP_BYTES : 0;
    assert_int_equal(kvm_chase_new(&sys, ground, BYTES, &chase, NULL), 0);
    assert_int_equal(kvm_chase_steps(chase), 0);
    assert_int_equal(pthread_create(&thread, NULL, run, chase), 0);
    for (int i = 0; i < 2; i++) {
        was = kvm_chase_steps(chase);
        for (int ms = 0; kvm_chase_steps(chase) < was + 10000; ms++) {
            assert_in_range(ms, 0, PATIENCE_MS);
            (void)usleep(1000);
        }
    }
    kvm_chase_stop(chase);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    was = kvm_chase_steps(chase);
    (void)usleep(1000);
    assert_int_equal(kvm_chase_steps(chase), was);
    kvm_chase_free(chase);
    (void)munmap(ground, BYTES);
    kvm_sys_close(&sys);
}

/* What it reads leads out of its memory. */
static void a_guest_that_ends_by_itself_is_an_error(void **state)
{
    struct errctx ec = { 0 };
    struct kvm_chase *chase;
    struct kvm_sys sys;
    uint64_t *ground;

    (void)state;
    if (kvm_sys_open("/dev/kvm", &sys, NULL) < 0)
        skip();
    ground = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ground, MAP_FAILED);
    ground[0] = UINT64_C(1) << 40;
    assert_int_equal(kvm_chase_new(&sys, ground, BYTES, &chase, &ec), 0);
    assert_int_equal(kvm_chase_run(chase, &ec), -EIO);
    assert_non_null(strstr(ec.msg, "a guest to measure with ended with exit reason"));
    kvm_chase_free(chase);
    (void)munmap(ground, BYTES);
    kvm_sys_close(&sys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_chases_until_it_is_told_to_stop),
        cmocka_unit_test(a_guest_that_ends_by_itself_is_an_error),
    };

    return cmocka_run_group_tests_name("vmm/kvm/kvm_chase", tests, NULL, NULL);
}
