/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of the sandbox against those that libseccomp makes of the same lists: an interpreter
 * of both says the same of every system call's number and of every argument that a row knows,
 * a bit off, or filled above its low half.
 */
// LDFLAGS: -Wl,--push-state,--no-as-needed -lseccomp -Wl,--pop-state
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/machine/sandbox_bpf.h"

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

/* The same lists through libseccomp. */
static struct sandbox_program judge_new(const struct sandbox_rules *const *lists)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    const int fd = memfd_create("judge", MFD_CLOEXEC);
    struct sandbox_program p;
    off_t len;

    assert_non_null(filter);
    assert_true(fd >= 0);
    for (; *lists != NULL; lists++) {
        for (size_t i = 0; i < (*lists)->n; i++) {
            const struct sandbox_rule *rule = &(*lists)->rules[i];
            const struct scmp_arg_cmp cmp =
                SCMP_CMP((unsigned)rule->arg, SCMP_CMP_MASKED_EQ, rule->mask, rule->value);
            const int r =
                seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule->nr, rule->arg >= 0, &cmp);

            assert_true(r == 0 || r == -EEXIST);
        }
    }
    assert_int_equal(seccomp_export_bpf(filter, fd), 0);
    seccomp_release(filter);
    len = lseek(fd, 0, SEEK_END);
    p.insns = malloc((size_t)len);
    assert_non_null(p.insns);
    assert_int_equal(pread(fd, p.insns, (size_t)len, 0), len);
    p.n = (unsigned short)((size_t)len / sizeof(*p.insns));
    (void)close(fd);
    return p;
}

static bool allows(const struct sandbox_program *p, const struct seccomp_data *data)
{
    const uint32_t verdict = run(p, data);

    assert_true(verdict == SECCOMP_RET_ALLOW || verdict == SECCOMP_RET_KILL_PROCESS ||
                verdict == SECCOMP_RET_KILL_THREAD);
    return verdict == SECCOMP_RET_ALLOW;
}

struct pair {
    struct sandbox_program ours, judges;
    size_t n_allowed;
};

static void compare(struct pair *p, const struct seccomp_data *data)
{
    const bool ours = allows(&p->ours, data);

    if (ours != allows(&p->judges, data))
        fail_msg("call %d of architecture 0x%x with arguments 0x%llx 0x%llx 0x%llx is %s", data->nr,
                 data->arch, data->args[0], data->args[1], data->args[2],
                 ours ? "allowed" : "forbidden");
    p->n_allowed += ours;
}

/* Numbers around @value in argument @arg of call @nr. */
static void compare_near(struct pair *p, int nr, int arg, uint64_t value)
{
    struct seccomp_data data = { .nr = nr, .arch = AUDIT_ARCH_X86_64 };

    data.args[arg] = value;
    compare(p, &data);
    for (int bit = 0; bit < 64; bit++) {
        data.args[arg] = value ^ 1ull << bit;
        compare(p, &data);
    }
    data.args[arg] = ~value;
    compare(p, &data);
}

static void compare_all(const struct sandbox_rules *const *lists)
{
    struct pair p = { .judges = judge_new(lists) };

    assert_int_equal(sandbox_bpf_make(lists, &p.ours, NULL), 0);
    for (int nr = -1; nr < NR_MAX; nr++) {
        static const uint32_t arches[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64,
                                           0 };
        static const uint32_t x32 = 0x40000000;

        for (size_t i = 0; i < ARRAY_SIZE(arches); i++) {
            compare(&p, &(struct seccomp_data){ .nr = nr, .arch = arches[i] });
            compare(&p,
                    &(struct seccomp_data){ .nr = (int)((uint32_t)nr | x32), .arch = arches[i] });
        }
        for (int arg = 0; arg < 6; arg++)
            compare_near(&p, nr, arg, UINT64_MAX);
    }
    for (size_t k = 0; lists[k] != NULL; k++)
        for (size_t i = 0; i < lists[k]->n; i++)
            for (int arg = 0; arg < 6; arg++)
                compare_near(&p, lists[k]->rules[i].nr, arg, lists[k]->rules[i].value);
    for (size_t k = 0; lists[k] != NULL; k++) /* each row is good for one call at least */
        assert_true(lists[k]->n == 0 || p.n_allowed > lists[k]->n);
    free(p.ours.insns);
    free(p.judges.insns);
}

static void each_list_means_what_libseccomp_makes_of_it(void **state)
{
    const struct sandbox_rules *const lists[] = { &sandbox_rules_all,  &sandbox_rules_start,
                                                  &sandbox_rules_vcpu, &sandbox_rules_io,
                                                  &sandbox_rules_net,  &sandbox_rules_vsock,
                                                  &sandbox_rules_main };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        compare_all((const struct sandbox_rules *const[]){ lists[i], NULL });
}

static void all_lists_together_do(void **state)
{
    (void)state;
    compare_all((const struct sandbox_rules *const[]){
        &sandbox_rules_all, &sandbox_rules_start, &sandbox_rules_vcpu, &sandbox_rules_io,
        &sandbox_rules_net, &sandbox_rules_vsock, &sandbox_rules_main, NULL });
}

static void rows_of_a_call_are_alternatives(void **state)
{
    static const struct sandbox_rule rules[] = {
        { SYS_mmap, 2, PROT_EXEC, 0 },        { SYS_mmap, 3, UINT32_MAX, 7 },
        { SYS_mmap, 2, 0xff00, 0x500 },       { SYS_mmap, 2, UINT32_MAX, 9 },
        { SYS_ioctl, 1, UINT32_MAX, 0x5401 }, { SYS_ioctl, -1, 0, 0 },
    };
    const struct sandbox_rules list = { rules, ARRAY_SIZE(rules) };

    (void)state;
    for (size_t n = 1; n <= ARRAY_SIZE(rules); n++) {
        const struct sandbox_rules first = { rules, n };

        compare_all((const struct sandbox_rules *const[]){ &first, NULL });
    }
    compare_all((const struct sandbox_rules *const[]){ &list, &list, NULL });
}

static void no_rows_allow_nothing(void **state)
{
    const struct sandbox_rules none = { NULL, 0 };
    const struct sandbox_rules *const lists[] = { &none, NULL };
    struct sandbox_program p;

    (void)state;
    assert_int_equal(sandbox_bpf_make(lists, &p, NULL), 0);
    for (int nr = 0; nr < NR_MAX; nr++)
        assert_false(allows(&p, &(struct seccomp_data){ .nr = nr, .arch = AUDIT_ARCH_X86_64 }));
    free(p.insns);
}

static void refused(const struct sandbox_rule *rules, size_t n, const char *sentence)
{
    const struct sandbox_rules many = { rules, n };
    const struct sandbox_rules *const lists[] = { &many, NULL };
    struct sandbox_program p = { .n = 77 };
    struct errctx ec = { 0 };

    assert_int_equal(sandbox_bpf_make(lists, &p, &ec), -E2BIG);
    assert_string_equal(ec.msg, sentence);
    assert_int_equal(p.n, 77);
}

static void more_than_the_kernel_takes_is_refused(void **state)
{
    static struct sandbox_rule rules[3000];
    const struct sandbox_rules most = { rules, 254 };
    struct sandbox_rules one_more = most;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
        rules[i] = (struct sandbox_rule){ SYS_ioctl, 1, UINT32_MAX, i };
    compare_all((const struct sandbox_rules *const[]){ &most, NULL });
    one_more.n += 2;
    refused(rules, one_more.n, "a sandbox filter has too many rows for a call");
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
        rules[i] = (struct sandbox_rule){ (int)i, -1, 0, 0 };
    refused(rules, ARRAY_SIZE(rules),
            "a sandbox filter of 5050 instructions; the kernel takes 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_list_means_what_libseccomp_makes_of_it),
        cmocka_unit_test(all_lists_together_do),
        cmocka_unit_test(rows_of_a_call_are_alternatives),
        cmocka_unit_test(no_rows_allow_nothing),
        cmocka_unit_test(more_than_the_kernel_takes_is_refused),
    };

    return cmocka_run_group_tests_name("machine/sandbox_bpf", tests, NULL, NULL);
}
