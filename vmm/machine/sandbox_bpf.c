/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Written by hand instead of compiled by libseccomp, because a start spends its time on it: four
 * programs took libseccomp 0.9 ms of CPU time, a fifth of a start without what loading costs
 * (docs/decisions/start-up.md). The unit test holds every verdict against libseccomp's.
 *
 * Form of a program: is it our architecture; a binary search for the number of the system call;
 * leaves. A leaf is a few calls that are allowed whatever their arguments, or one call whose rows
 * are compared straight down, in the order of the lists, so what is called most stands first
 * there: KVM_RUN passes by on every exit. Short programs matter, since the kernel compiles each
 * one again for every thread that loads it.
 */
#include "vmm/machine/sandbox_bpf.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"

enum {
    LEAF_CALLS = 8,     /* without arguments, in one leaf; the kernel remembers their verdict */
    INSNS_HEAD = 5,     /* write_head(), and a verdict where there are no rows */
    INSNS_PER_CALL = 6, /* most: the search's two, the number's comparison, three verdicts */
    INSNS_PER_ROW = 3,  /* most: load, mask, comparison */
    JUMP_MAX = UINT8_MAX,
};

struct row {
    const struct sandbox_rule *rule;
    size_t order; /* its place in the lists */
};

struct writer {
    struct sock_filter *insns;
    unsigned n;
    bool too_far; /* a leaf is longer than a comparison can jump */
};

static unsigned emit(struct writer *w, unsigned code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
    w->insns[w->n] = (struct sock_filter){ (uint16_t)code, if_true, if_false, k };
    return w->n++;
}

static void load_word(struct writer *w, size_t offset)
{
    (void)emit(w, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void verdict(struct writer *w, uint32_t action)
{
    (void)emit(w, BPF_RET | BPF_K, action, 0, 0);
}

/* Go on, unless end_leaf() makes the comparison jump. */
static void compare(struct writer *w, uint32_t value)
{
    (void)emit(w, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0);
}

/* Allowed are those whom a comparison since @first let through, nobody else. */
static void end_leaf(struct writer *w, unsigned first)
{
    const unsigned last = w->n;

    verdict(w, SECCOMP_RET_KILL_PROCESS);
    for (unsigned i = first; i < last; i++) {
        if (w->insns[i].code != (BPF_JMP | BPF_JEQ | BPF_K))
            continue;
        if (w->n - i - 1 > JUMP_MAX)
            w->too_far = true;
        w->insns[i].jt = (uint8_t)(w->n - i - 1);
    }
    verdict(w, SECCOMP_RET_ALLOW);
}

static void write_head(struct writer *w)
{
    load_word(w, offsetof(struct seccomp_data, arch));
    (void)emit(w, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    verdict(w, SECCOMP_RET_KILL_PROCESS);
    load_word(w, offsetof(struct seccomp_data, nr));
}

/* How many rows from @row on are of the same call. */
static size_t rows_of_call(const struct row *row, const struct row *end)
{
    size_t n = 1;

    while (row + n < end && row[n].rule->nr == row->rule->nr)
        n++;
    return n;
}

/* One call, of which the accumulator may hold the number, and its @n rows. */
static void write_call(struct writer *w, const struct row *row, size_t n)
{
    unsigned first;
    int loaded = -1;

    (void)emit(w, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)row->rule->nr, 1, 0);
    verdict(w, SECCOMP_RET_KILL_PROCESS);
    first = w->n;
    for (size_t i = 0; i < n; i++) {
        const struct sandbox_rule *rule = row[i].rule;

        if (rule->arg != loaded) /* the low half: this is a little-endian architecture */
            load_word(w, offsetof(struct seccomp_data, args) + 8 * (size_t)rule->arg);
        loaded = rule->arg;
        if (rule->mask != UINT32_MAX) {
            (void)emit(w, BPF_ALU | BPF_AND | BPF_K, rule->mask, 0, 0);
            loaded = -1;
        }
        compare(w, rule->value);
    }
    end_leaf(w, first);
}

/* The rows of [@row, @end) as one leaf, if they can be one. */
static bool write_leaf(struct writer *w, const struct row *row, const struct row *end)
{
    const unsigned first = w->n;
    size_t n_calls = 0;

    for (const struct row *r = row; r < end; r += rows_of_call(r, end)) {
        /* A row for any arguments is sorted first: the call's others have nothing to add. */
        if (r->rule->arg >= 0 || ++n_calls > LEAF_CALLS) {
            w->n = first;
            if (rows_of_call(row, end) < (size_t)(end - row))
                return false;
            write_call(w, row, (size_t)(end - row));
            return true;
        }
        compare(w, (uint32_t)r->rule->nr);
    }
    end_leaf(w, first);
    return true;
}

/* A search among the calls of [@row, @end), not empty; the accumulator holds the number. As deep
 * as the logarithm of their count. */
static void write_search(struct writer *w, const struct row *row, const struct row *end)
{
    const struct row *mid = row + (end - row) / 2;
    unsigned jump;

    if (write_leaf(w, row, end))
        return;
    while (mid > row && mid[-1].rule->nr == mid->rule->nr)
        mid--;
    if (mid == row) /* the middle is in the first call's rows: cut behind them */
        mid += rows_of_call(row, end);
    (void)emit(w, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)mid->rule->nr, 0, 1);
    jump = emit(w, BPF_JMP | BPF_JA, 0, 0, 0);
    write_search(w, row, mid);
    w->insns[jump].k = w->n - jump - 1;
    write_search(w, mid, end);
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    const bool x_any = x->rule->arg < 0, y_any = y->rule->arg < 0;

    if (x->rule->nr != y->rule->nr)
        return x->rule->nr < y->rule->nr ? -1 : 1;
    if (x_any != y_any)
        return x_any ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

int sandbox_bpf_make(const struct sandbox_rules *const *lists, struct sandbox_program *ret,
                     struct errctx *ec)
{
    CLEANUP_FREE struct row *rows = NULL;
    struct writer w = { 0 };
    size_t n = 0, most;

    for (size_t i = 0; lists[i] != NULL; i++)
        n += lists[i]->n;
    most = INSNS_HEAD + n * (INSNS_PER_CALL + INSNS_PER_ROW);
    rows = calloc(n + 1, sizeof(*rows));
    w.insns = calloc(most, sizeof(*w.insns));
    if (rows == NULL || w.insns == NULL) {
        free(w.insns);
        return errctx_set(ec, ENOMEM, "no memory for a sandbox filter");
    }
    n = 0;
    for (size_t i = 0; lists[i] != NULL; i++)
        for (size_t k = 0; k < lists[i]->n; k++, n++)
            rows[n] = (struct row){ &lists[i]->rules[k], n };
    qsort(rows, n, sizeof(*rows), compare_rows);
    write_head(&w);
    if (n > 0)
        write_search(&w, rows, rows + n);
    else
        verdict(&w, SECCOMP_RET_KILL_PROCESS);
    if (w.too_far || w.n > BPF_MAXINSNS) {
        free(w.insns);
        return w.too_far ? errctx_set(ec, E2BIG, "a sandbox filter has too many rows for a call")
                         : errctx_set(ec, E2BIG,
                                      "a sandbox filter of %u instructions; the kernel takes %d",
                                      w.n, BPF_MAXINSNS);
    }
    *ret = (struct sandbox_program){ w.insns, (unsigned short)w.n };
    return 0;
}
