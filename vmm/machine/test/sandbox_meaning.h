/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's finished programs against its lists: an interpreter of the programs allows what a
 * row of a list allows and kills for everything else, for every system call's number and for
 * every argument that a row knows, a bit off, or filled above its low half. A test of one
 * architecture defines NATIVE as that one's AUDIT_ARCH_*, includes this and runs it.
 */
#ifndef VMM_MACHINE_TEST_SANDBOX_MEANING_H
#define VMM_MACHINE_TEST_SANDBOX_MEANING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "vmm/base/macros.h"
#include "vmm/machine/sandbox_programs.h"

enum { NR_MAX = 1024 };

/* The program's verdict on @data, as the kernel would come to it; fails the test on an
 * instruction that is none, on a read outside @data and on a jump past the end. */
static uint32_t run(const struct sandbox_program *p, const struct seccomp_data *data)
{
    uint32_t a = 0;

    for (unsigned pc = 0; pc < p->n; pc++) {
        const struct sock_filter *i = &p->insns[pc];
        bool is_true = false;

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k <= sizeof(*data) - 4);
            memcpy(&a, (const uint8_t *)data + i->k, sizeof(a));
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            continue;
        case BPF_RET | BPF_K:
            return i->k;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            is_true = a == i->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            is_true = a >= i->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            is_true = a > i->k;
            break;
        default:
            fail_msg("instruction %u is 0x%x", pc, i->code);
        }
        pc += is_true ? i->jt : i->jf;
    }
    fail_msg("the program has no end");
    return 0;
}

/* A call that only other architectures have: libseccomp gives it a number that no call has. */
static bool is_elsewhere(const struct sandbox_rule *rule)
{
    return rule->nr < 0;
}

/* What the lists say themselves. */
static bool rows_allow(const struct sandbox_rules *const *lists, const struct seccomp_data *data)
{
    if (data->arch != NATIVE)
        return false;
    for (; *lists != NULL; lists++) {
        for (size_t i = 0; i < (*lists)->n; i++) {
            const struct sandbox_rule *rule = &(*lists)->rules[i];

            if (rule->nr == data->nr && !is_elsewhere(rule) &&
                (rule->arg < 0 || ((uint32_t)data->args[rule->arg] & rule->mask) == rule->value))
                return true;
        }
    }
    return false;
}

static bool allows(const struct sandbox_program *p, const struct seccomp_data *data)
{
    const uint32_t verdict = run(p, data);

    assert_true(verdict == SECCOMP_RET_ALLOW || verdict == SECCOMP_RET_KILL_PROCESS ||
                verdict == SECCOMP_RET_KILL_THREAD);
    return verdict == SECCOMP_RET_ALLOW;
}

struct pair {
    const struct sandbox_program *program;
    const struct sandbox_rules *lists[SANDBOX_MAX_LISTS];
    size_t n_allowed;
};

static void compare(struct pair *p, const struct seccomp_data *data)
{
    const bool is_allowed = allows(p->program, data);

    if (is_allowed != rows_allow(p->lists, data))
        fail_msg("call %d of architecture 0x%x with arguments 0x%llx 0x%llx 0x%llx is %s", data->nr,
                 data->arch, data->args[0], data->args[1], data->args[2],
                 is_allowed ? "allowed" : "forbidden");
    p->n_allowed += is_allowed;
}

/* Numbers around @value in argument @arg of call @nr. */
static void compare_near(struct pair *p, int nr, int arg, uint64_t value)
{
    struct seccomp_data data = { .nr = nr, .arch = NATIVE };

    data.args[arg] = value;
    compare(p, &data);
    for (int bit = 0; bit < 64; bit++) {
        data.args[arg] = value ^ 1ull << bit;
        compare(p, &data);
    }
    data.args[arg] = ~value;
    compare(p, &data);
}

static void compare_numbers(struct pair *p)
{
    static const uint32_t arches[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0 };
    static const uint32_t x32 = 0x40000000;

    for (int nr = -1; nr < NR_MAX; nr++) {
        for (size_t i = 0; i < ARRAY_SIZE(arches); i++) {
            compare(p, &(struct seccomp_data){ .nr = nr, .arch = arches[i] });
            compare(p,
                    &(struct seccomp_data){ .nr = (int)((uint32_t)nr | x32), .arch = arches[i] });
        }
        for (int arg = 0; arg < 6; arg++)
            compare_near(p, nr, arg, UINT64_MAX);
    }
}

static void compare_rows(struct pair *p)
{
    for (size_t k = 0; p->lists[k] != NULL; k++) {
        for (size_t i = 0; i < p->lists[k]->n; i++) {
            const struct sandbox_rule *rule = &p->lists[k]->rules[i];
            const size_t before = p->n_allowed;

            for (int arg = 0; arg < 6; arg++)
                compare_near(p, rule->nr, arg, rule->value);
            /* good for one call at least */
            assert_int_equal(p->n_allowed > before, !is_elsewhere(rule));
        }
    }
}

static void programs_mean_what_the_lists_say(void **state)
{
    (void)state;
    for (int role = 0; role < SANDBOX_ROLES; role++) {
        for (int devices = 0; devices < 4; devices++) {
            const bool net = devices & 1, vsock = devices & 2;
            struct pair p = { .program = &sandbox_programs[role][net][vsock] };

            sandbox_rules_of((enum sandbox_role)role, net, vsock, p.lists);
            compare_numbers(&p);
            compare_rows(&p);
        }
    }
}

static void our_own_number_stands_in_one_place(void **state)
{
    (void)state;
    for (int role = 0; role < SANDBOX_ROLES; role++) {
        for (int devices = 0; devices < 4; devices++) {
            const struct sandbox_program *p = &sandbox_programs[role][devices & 1][devices >> 1];
            unsigned n = 0;

            for (unsigned i = 0; i < p->n; i++)
                n += p->insns[i].k == SANDBOX_OWN_PID;
            assert_int_equal(n, 1);
        }
    }
}

static void a_vcpu_may_least(void **state)
{
    const struct seccomp_data unlink = { .nr = SYS_unlinkat, .arch = NATIVE };

    (void)state;
    assert_false(allows(&sandbox_programs[SANDBOX_ROLE_VCPU][1][1], &unlink));
    assert_true(allows(&sandbox_programs[SANDBOX_ROLE_MAIN][0][0], &unlink));
    assert_true(sandbox_programs[SANDBOX_ROLE_VCPU][1][1].insns ==
                sandbox_programs[SANDBOX_ROLE_VCPU][0][0].insns);
}

static int sandbox_meaning_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_mean_what_the_lists_say),
        cmocka_unit_test(our_own_number_stands_in_one_place),
        cmocka_unit_test(a_vcpu_may_least),
    };

    return cmocka_run_group_tests_name("machine/sandbox_programs", tests, NULL, NULL);
}

#endif
