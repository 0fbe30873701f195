/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces that machines wrote: a node that left a busy host node, recorded on an emulated host, is
 * decided again as it was; a trace in which something was changed is found out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine/balance_replay.h"

#define TRACES "vmm/machine/test/traces/"

enum { MAX_LINES = 128 };

struct trace {
    char *line[MAX_LINES]; /* NULL: left out */
    int n, decided;        /* lines; which one says what was decided, 0: none */
};

static void trace_read(struct trace *t, const char *path)
{
    FILE *in = fopen(path, "re");
    size_t size;

    assert_non_null(in);
    memset(t, 0, sizeof(*t));
    for (; t->n < MAX_LINES; t->n++) {
        size = 0;
        if (getline(&t->line[t->n], &size, in) <= 0)
            break;
        if (strncmp(t->line[t->n], "{\"decided\"", 10) == 0)
            t->decided = t->n;
    }
    (void)fclose(in);
    assert_true(t->n > 10 && t->n < MAX_LINES);
}

static void trace_fini(struct trace *t)
{
    for (int i = 0; i < MAX_LINES; i++)
        free(t->line[i]);
}

/* All lines, up to the first that fails. Return: what that returned; @ret_at: its number. */
static int replay(const struct trace *t, struct balance_replay **ret_r, int *ret_at,
                  struct errctx *ec)
{
    int got = 0;

    assert_int_equal(balance_replay_new(ret_r, NULL), 0);
    for (int i = 0; i < t->n && got >= 0; i++) {
        if (t->line[i] == NULL)
            continue;
        got = balance_replay_line(*ret_r, t->line[i], strlen(t->line[i]), ec);
        *ret_at = i;
    }
    return got;
}

static void a_recorded_trace_is_decided_as_it_was(void **state)
{
    const struct balance_decision *d;
    struct balance_replay *r;
    size_t snapshots, decisions;
    uint64_t after_ns;
    struct trace t;
    int at;

    (void)state;
    trace_read(&t, TRACES "busy-node.trace");
    assert_true(t.decided > 0);
    assert_int_equal(replay(&t, &r, &at, NULL), 0);
    balance_replay_counts(r, &snapshots, &decisions);
    assert_int_equal(snapshots, t.n - 2);
    assert_int_equal(decisions, 1);
    d = balance_replay_last(r, &after_ns);
    assert_int_equal(d->step.n, 1);
    assert_int_equal(d->step.to[0], 3);
    assert_true(after_ns > 0);
    d = balance_replay_log(r, 0);
    assert_int_equal(d->outcome, BALANCE_DONE);
    assert_true(d->achieved > BALANCE_CPU / 2); /* as much as one busy task on one CPU takes */
    assert_null(balance_replay_log(r, 1));
    assert_int_equal(balance_replay_head(r)->n_hosts, 4);
    balance_replay_free(r);
    trace_fini(&t);
}

/* 16 epochs on an idle host, then 16 with noise on two of its nodes, where that ran, too. */
static void nothing_moves_in_a_recorded_steady_state(void **state)
{
    struct balance_replay *r;
    size_t snapshots, decisions;
    struct trace t;
    int at;

    (void)state;
    trace_read(&t, TRACES "steady.trace");
    assert_int_equal(t.decided, 0);
    assert_int_equal(replay(&t, &r, &at, NULL), 0);
    balance_replay_counts(r, &snapshots, &decisions);
    assert_true(snapshots >= 20);
    assert_int_equal(decisions, 0);
    balance_replay_free(r);
    trace_fini(&t);
}

static void assert_found(struct trace *t, int code, int line, const char *sentence)
{
    struct errctx ec = { 0 };
    struct balance_replay *r;
    int at = -1;

    assert_int_equal(replay(t, &r, &at, &ec), -code);
    assert_int_equal(at, line);
    assert_string_equal(ec.msg, sentence);
    balance_replay_free(r);
}

static void what_was_changed_is_found_out(void **state)
{
    struct trace t;
    char *gain, *kept;

    (void)state;
    trace_read(&t, TRACES "busy-node.trace");
    kept = t.line[t.decided];
    t.line[t.decided] = NULL;
    assert_found(&t, EILSEQ, t.decided + 1,
                 "the machine decided nothing before this, the replay does");
    t.line[t.decided] = kept;
    gain = strstr(kept, "\"bytes\":6");
    assert_non_null(gain);
    gain[8] = '7';
    assert_found(&t, EILSEQ, t.decided, "the machine decided something else here");
    gain[8] = '6';
    free(t.line[5]);
    t.line[5] = strdup(kept);
    assert_found(&t, EILSEQ, 5, "the machine decided something here, the replay does not");
    free(t.line[5]);
    t.line[5] = strdup("{\"time\": 1}\n");
    assert_found(&t, EINVAL, 5, "0 virtual nodes on 0 host nodes are no snapshot");
    free(t.line[0]);
    t.line[0] = strdup("{}\n");
    assert_found(&t, EINVAL, 0, "this is no trace of rebalancing");
    trace_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_trace_is_decided_as_it_was),
        cmocka_unit_test(nothing_moves_in_a_recorded_steady_state),
        cmocka_unit_test(what_was_changed_is_found_out),
    };
    return cmocka_run_group_tests_name("vmm/machine/balance_replay", tests, NULL, NULL);
}
