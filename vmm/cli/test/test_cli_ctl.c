/* SPDX-License-Identifier: Apache-2.0 */
/* ctl and list against a control socket that answers as a machine does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/test/cli_fixture.h"
#include "vmm/machine/control.h"

static json_t *fake_query(void *ctx)
{
    (void)ctx;
    return json_pack("{sssis[{sisI}]}", "state", "running", "pid", 4711, "nodes", "id", 0, "memory",
                     (json_int_t)1 << 30);
}

static int fake_memory(void *ctx, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    *ret_json = json_pack("{s[{sisIsIs[{sIsssssssIs[{sisI}{sisI}]}{sIsssI}]}]s[{sisI}{sisI}{sisI}]}", "nodes", "id", 0,
                          "ballooned", (json_int_t)3 << 20, "kept", (json_int_t)4096, "backings", "memory", (json_int_t)8 << 30, "pages", "thp", "policy",
                          "preferred", "host", "1", "present", (json_int_t)4 << 20, "where", "host",
                          1, "pages_2m", (json_int_t)1, "host", 2, "pages_4k", (json_int_t)512,
                          "memory", (json_int_t)1 << 30, "pages", "2M", "reserved",
                          (json_int_t)1 << 30, "hosts", "host", 0, "page_tables",
                          (json_int_t)8192, "host", 1, "page_tables", (json_int_t)0, "host", 3,
                          "page_tables", (json_int_t)1 << 20);
    return 0;
}

static void fake_memory_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_memory(ctx, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static json_t *fake_stats(void *ctx)
{
    (void)ctx;
    return json_pack("{s[{sis{sisi}}]s{sisi}}", "vcpus", "id", 0, "kvm", "exits", 7, "halts", 0,
                     "kvm", "pages", 0, "flushes", 3);
}

static int fake_ledger(void *ctx, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    *ret_json = json_loads(
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 67108864, \"at_home\": 67108864},"
        "  {\"home\": \"3\", \"resident\": 67108864, \"at_home\": 50331648, \"forced\": true},"
        "  {\"home\": \"\", \"resident\": 0, \"at_home\": 0}],"
        " \"told\": [[10, 20, 20], [20, 10, 20], [20, 20, 10]],"
        " \"real\": [[10, 40, 0], [40, 10, 0], [0, 0, 0]]}",
        0, NULL);
    return 0;
}

static void fake_ledger_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_ledger(ctx, &json, &ec);

    control_call_done(call, r, json, &ec);
}

enum { WRONG_LEDGERS = 4 };

/* A different one each time; @ctx counts, on the machine's thread alone. */
static int wrong_ledger(void *ctx, json_t **ret_json, struct errctx *ec)
{
    static const char *const answers[WRONG_LEDGERS] = {
        "{}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 1, \"at_home\": 2}],"
        " \"told\": [[10]], \"real\": [[10]]}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 2, \"at_home\": 2}],"
        " \"told\": [[10, 20]], \"real\": [[10]]}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 2, \"at_home\": 2}],"
        " \"told\": [[10]], \"real\": [[-10]]}",
    };
    unsigned *n = ctx;

    (void)ec;
    *ret_json = json_loads(answers[*n], 0, NULL);
    *n = (*n + 1) % WRONG_LEDGERS;
    return 0;
}

static void wrong_ledger_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = wrong_ledger(ctx, &json, &ec);

    control_call_done(call, r, json, &ec);
}

/* The statistics that are asked for come with the second look. */
static int fake_balloon(void *ctx, const struct control_balloon *req, json_t **ret_json,
                        struct errctx *ec)
{
    static const char text[] =
        "{\"driver\": true, \"target\": 1048576, \"told\": 524288, \"rejected\": 3,"
        " \"nodes\": [{\"id\": 0, \"ballooned\": 4096, \"reported\": 2097152, \"kept\": 0}],"
        " \"stats\": {\"count\": %d, \"age_ms\": 100, \"values\": {\"free\": 4096,"
        " \"major-faults\": 4096}}}";
    char buf[512];

    (void)ctx;
    if (req->target_bytes > 1048576)
        return errctx_set(ec, 1, "so much it has not");
    (void)snprintf(buf, sizeof(buf), text, req->refresh ? 1 : 2);
    *ret_json = json_loads(buf, 0, NULL);
    return 0;
}

/* A guest that plugs at once what it is asked for, but never more than 512 MiB; half of what it
 * unplugs had memory. Its balloon is full as soon as it is asked for, by a quarter from node 0, and
 * takes no more than 256 MiB. */
struct pluggable {
    uint64_t plugged, returned, balloon, dropped;
    bool paged; /* what it gives up and the host does not get back was away */
    bool has_balloon, movable;
    bool stubborn; /* does nothing at all */
    uint64_t requested;
};

static int fake_plug(void *ctx, const struct control_plug *req, json_t **ret_json,
                     struct errctx *ec)
{
    struct pluggable *p = ctx;
    const uint64_t before = p->plugged;

    if (req->vnode > 1)
        return errctx_set(ec, 1, "there is no such node");
    if (req->has_size)
        p->requested = req->bytes;
    if (req->vnode == 1 && req->has_size && !p->stubborn)
        p->plugged = req->bytes < 512u << 20 ? req->bytes : 512u << 20;
    if (p->plugged < before)
        p->returned += (before - p->plugged) / 2;
    if (p->plugged < before && p->paged)
        p->dropped += (before - p->plugged) / 2;
    *ret_json = json_pack("{sbsIsIsIsIsIsIsb}", "driver", 1, "window",
                          req->vnode == 1 ? (json_int_t)2 << 30 : 0, "block",
                          req->vnode == 1 ? (json_int_t)128 << 20 : 0, "plugged",
                          (json_int_t)p->plugged, "returned", (json_int_t)p->returned, "resident",
                          (json_int_t)p->plugged + (1 << 20), "dropped",
                          (json_int_t)p->dropped, "movable", p->movable);
    return 0;
}

static json_t *balloon_node(int id, uint64_t bytes, uint64_t kept)
{
    return json_pack("{sisIsIsI}", "id", id, "kept", (json_int_t)kept, "ballooned",
                     (json_int_t)bytes, "returned",
                     (json_int_t)bytes);
}

static int fake_fill(void *ctx, const struct control_balloon *req, json_t **ret_json,
                     struct errctx *ec)
{
    struct pluggable *p = ctx;

    if (!p->has_balloon)
        return errctx_set(ec, 1, "there is no balloon");
    if (req->has_target && req->target_bytes > 1u << 30)
        return errctx_set(ec, 1, "the guest has 1024 MiB");
    if (req->has_target)
        p->balloon = req->target_bytes < 256u << 20 ? req->target_bytes : 256u << 20;
    *ret_json = json_pack("{sbsIsIs[oo]}", "driver", 1, "target", (json_int_t)p->balloon, "told",
                          (json_int_t)p->balloon, "nodes", balloon_node(0, p->balloon / 4, 0),
                          balloon_node(1, p->balloon - p->balloon / 4 - p->balloon / 16,
                                       p->balloon / 16));
    return 0;
}

/* A move that is over at once. */
static int fake_move(void *ctx, const struct control_move *move, struct errctx *ec)
{
    (void)ctx;
    return move->force ? 0 : errctx_set(ec, 1, "that would break a promise");
}

static void fake_move_call(void *ctx, const struct control_move *move, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fake_move(ctx, move, &ec), NULL, &ec);
}

static int fake_move_cancel(void *ctx, bool stay, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    (void)stay;
    return 0;
}

static json_t *fake_move_status(void *ctx)
{
    (void)ctx;
    return json_loads("{\"state\": \"half-way\", \"vnode\": 1, \"host\": 3, \"memory\": 8388608,"
                      " \"moved\": 4194304, \"split\": 2097152, \"why\": \"no\\u001broom\"}",
                      0, NULL);
}

static int fake_action(void *ctx, struct errctx *ec)
{
    (void)ctx;
    return errctx_set(ec, 1, "it has no power button");
}

static void fake_action_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fake_action(ctx, &ec), NULL, &ec);
}

static void fake_stop(void *ctx)
{
    (void)ctx;
}

static const struct control_ops fake_ops = {
    .status = fake_query,
    .stats = fake_stats,
    .memory = fake_memory_call,
    .ledger = fake_ledger_call,
    .balloon = fake_balloon,
    .move = fake_move_call,
    .move_cancel = fake_move_cancel,
    .move_status = fake_move_status,
    .pause = fake_action_call,
    .resume = fake_action_call,
    .power = fake_action,
    .reset = fake_action_call,
    .stop = fake_stop,
};

static void *run_loop(void *arg)
{
    (void)evloop_run(arg, NULL);
    return NULL;
}

/* Of a machine that runs. */
static void ask_for_tables(void)
{
    struct outcome o = run("ctl web memory");

    assert_string_equal(
        o.out,
        "node      memory  pages  policy               host       present    reserved    on host"
        "      4 KiB      2 MiB      1 GiB\n"
        "   0       8 GiB  thp    preferred            1            4 MiB           -          1"
        "          0          1          0\n"
        "                                                                                      2"
        "        512          0          0\n"
        "   0       1 GiB  2M     -                    any              -       1 GiB\n"
        "   0       3 MiB  in the balloon\n"
        "   0       4 KiB  in the balloon and kept\n"
        "second-level page tables, all guests: host node 0 8 KiB, host node 3 1 MiB\n");
    outcome_fini(&o);
    o = run("ctl web stats"); /* zeros would hide the others, and are in the JSON form */
    assert_string_equal(o.out, "vcpus\n"
                               "  id                            0\n"
                               "  kvm\n"
                               "    exits                       7\n"
                               "kvm\n"
                               "  flushes                       3\n");
    outcome_fini(&o);
    o = run("ctl web stats --json");
    assert_non_null(strstr(o.out, "\"pages\": 0"));
    assert_non_null(strstr(o.out, "\"halts\": 0"));
    outcome_fini(&o);
}

static void ctl_and_list_speak_to_a_machine(void **state)
{
    struct control_params params = { .name = "web", .ops = &fake_ops };
    char dir[] = "/tmp/nv-run-XXXXXX", sub[64];
    struct control *control;
    struct evloop *loop;
    pthread_t thread;
    struct outcome o;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
    o = run("list");
    assert_string_equal(o.out, "no machine is running\n");
    outcome_fini(&o);

    assert_int_equal(evloop_new(&loop, NULL), 0);
    assert_int_equal(control_new(&params, loop, &control, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    o = run("list");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "web                      running    4711\n"));
    outcome_fini(&o);
    o = run("ctl web status");
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out, "state                           running\n"
                               "pid                             4711\n"
                               "nodes\n"
                               "  id 0  memory 1 GiB\n");
    outcome_fini(&o);
    o = run("ctl web status --json");
    assert_non_null(strstr(o.out, "\"memory\": 1073741824"));
    outcome_fini(&o);
    ask_for_tables();
    o = run("ctl web power");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: web: it has no power button\n");
    outcome_fini(&o);
    o = run("ctl web stop");
    assert_string_equal(o.out, "web: stopped\n");
    outcome_fini(&o);

    evloop_stop(loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    control_free(control);
    evloop_free(loop);
    o = run("ctl web status");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: no machine named web is running\n");
    outcome_fini(&o);
    (void)snprintf(sub, sizeof(sub), "%s/numavisor", dir);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* A machine of one name in a folder of its own, served by a thread. */
struct served {
    char dir[32];
    struct control *control;
    struct evloop *loop;
    pthread_t thread;
};

static void serve(struct served *s, const struct control_ops *ops, void *ctx)
{
    const struct control_params params = { .name = "web", .ops = ops, .ctx = ctx };

    (void)strcpy(s->dir, "/tmp/nv-run-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", s->dir, 1), 0);
    assert_int_equal(evloop_new(&s->loop, NULL), 0);
    assert_int_equal(control_new(&params, s->loop, &s->control, NULL), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run_loop, s->loop), 0);
}

static void serve_end(struct served *s)
{
    char sub[64];

    evloop_stop(s->loop);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    control_free(s->control);
    evloop_free(s->loop);
    (void)snprintf(sub, sizeof(sub), "%s/numavisor", s->dir);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(s->dir), 0);
}

static void a_move_is_told_in_sentences(void **state)
{
    struct served s;
    struct outcome o;

    (void)state;
    serve(&s, &fake_ops, NULL);
    o = run("ctl web move vnode=1 host=3");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: web: that would break a promise\n");
    outcome_fini(&o);
    o = run("ctl web move host=3 vnode=1 --force --rate 1M/s --stay");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.out, "web: virtual node 1 stays half-way, 4 MiB of it on host node 3\n"
                               "web: 2 MiB of huge pages have become small ones\n");
    assert_string_equal(o.err, "numavisor: web: no.room\n");
    outcome_fini(&o);
    o = run("ctl web move cancel --stay");
    assert_int_equal(o.status, CLI_OK); /* it was not to arrive */
    outcome_fini(&o);
    o = run("ctl web move --json");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"state\": \"half-way\""));
    outcome_fini(&o);
    serve_end(&s);
}

/* CPU 3, which a guest notes when it is looked at again. */
static int fake_cpu(void *ctx, const struct control_cpus *req, json_t **ret_json,
                    struct errctx *ec)
{
    static const struct {
        bool there, asked, told;
    } steps[] = { { false, false, true }, { true, false, false }, { true, false, true },
                  { true, true, true } };
    unsigned *step = ctx;

    if (req->wanted && req->cpu != 3)
        return errctx_set(ec, ENOENT, "CPU %u cannot be plugged", req->cpu);
    if (req->wanted)
        *step = req->there ? 1 : 3;
    *ret_json = json_pack("{s:s, s:[{s:i, s:i, s:b, s:b, s:b}]}", "name", "web", "cpus", "id", 3,
                          "node", 1, "there", steps[*step].there, "asked", steps[*step].asked,
                          "told", steps[*step].told);
    if (*step == 1 || *step == 3) /* next time */
        *step = (*step + 1) % 4;
    return 0;
}

static void fake_cpu_call(void *ctx, const struct control_cpus *req, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_cpu(ctx, req, &json, &ec);

    control_call_done(call, r, json, &ec);
}

/* A guest that is reset as the CPU comes, or that never takes note of it. */
static int fake_cpu_in_vain(void *ctx, const struct control_cpus *req, json_t **ret_json,
                            struct errctx *ec)
{
    const bool *resets = ctx;
    const bool there = req->wanted || !*resets;

    (void)ec;
    *ret_json = json_pack("{s:s, s:[{s:i, s:i, s:b, s:b, s:b}]}", "name", "web", "cpus", "id", 3,
                          "node", 1, "there", there, "asked", 0, "told", !there);
    return 0;
}

static void fake_cpu_in_vain_call(void *ctx, const struct control_cpus *req, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_cpu_in_vain(ctx, req, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static void a_cpu_that_comes_in_vain_is_told_of(void **state)
{
    static const char *const said[] = {
        "numavisor: web: the guest has not taken note of CPU 3\n",
        "numavisor: web: CPU 3 was taken away again, by the guest or by a reset, before the guest "
        "took note of it\n",
    };
    struct control_ops ops = fake_ops;

    (void)state;
    ops.cpus = fake_cpu_in_vain_call;
    for (unsigned i = 0; i < ARRAY_SIZE(said); i++) {
        bool resets = i == 1;
        struct served s;
        struct outcome o;

        serve(&s, &ops, &resets);
        o = run("ctl web cpu add cpu=3 --patience 1");
        assert_string_equal(o.err, said[i]);
        assert_int_equal(o.status, CLI_FAILURE);
        outcome_fini(&o);
        o = run("ctl web cpu");
        assert_string_equal(o.out, resets ? "web: CPU 3 of virtual node 1 is not plugged in\n"
                                          : "web: CPU 3 of virtual node 1 is plugged in, which the "
                                            "guest has not noted\n");
        outcome_fini(&o);
        serve_end(&s);
    }
}

static void cpus_are_followed_until_the_guest_knows(void **state)
{
    static const struct {
        const char *words, *out, *err;
    } rows[] = {
        { "ctl web cpu", "web: CPU 3 of virtual node 1 is not plugged in\n", "" },
        { "ctl web cpu add node=1", "web: CPU 3 of virtual node 1 is plugged in\n", "" },
        { "ctl web cpu add node=1", "", "numavisor: web: virtual node 1 has no CPU to add\n" },
        { "ctl web cpu remove cpu=3", "web: CPU 3 of virtual node 1 is not plugged in\n", "" },
        { "ctl web cpu remove node=1", "", "numavisor: web: virtual node 1 has no CPU to remove\n" },
        { "ctl web cpu add cpu=4", "", "numavisor: web: CPU 4 cannot be plugged\n" },
    };
    struct control_ops ops = fake_ops;
    unsigned step = 0;
    struct served s;

    (void)state;
    ops.cpus = fake_cpu_call;
    serve(&s, &ops, &step);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct outcome o = run(rows[i].words);

        assert_string_equal(o.out, rows[i].out);
        assert_string_equal(o.err, rows[i].err);
        assert_int_equal(o.status, rows[i].err[0] == '\0' ? CLI_OK : CLI_FAILURE);
        outcome_fini(&o);
    }
    serve_end(&s);
}

static void a_balloon_is_shown_by_node(void **state)
{
    static const char want[] = "web: the balloon is to hold 1 MiB; the guest says it holds 512 KiB\n"
                               "web: the guest named 3 pages that are no memory\n"
                               "node   ballooned    reported        kept\n"
                               "   0       4 KiB       2 MiB           -\n"
                               "the guest's own count, 0.1 s old\n"
                               "  free                       4 KiB\n"
                               "  major-faults                4096\n";
    struct served s;
    struct outcome o;

    (void)state;
    serve(&s, &fake_ops, NULL);
    o = run("ctl web balloon");
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out, want);
    outcome_fini(&o);
    o = run("ctl web balloon --json");
    assert_non_null(strstr(o.out, "\"count\": 2"));
    outcome_fini(&o);
    o = run("ctl web balloon target=1M");
    assert_string_equal(o.out, want);
    outcome_fini(&o);
    o = run("ctl web balloon target=2M");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: web: so much it has not\n");
    outcome_fini(&o);
    serve_end(&s);
}

struct plug_row {
    const char *words, *out, *err;
};

static void run_rows(struct pluggable *guest, const struct plug_row *rows, size_t n)
{
    struct control_ops ops = fake_ops;
    struct served s;

    ops.plug = fake_plug;
    ops.balloon = fake_fill;
    serve(&s, &ops, guest);
    for (size_t i = 0; i < n; i++) {
        struct outcome o = run(rows[i].words);

        assert_string_equal(o.out, rows[i].out);
        assert_string_equal(o.err, rows[i].err != NULL ? rows[i].err : "");
        assert_int_equal(o.status, rows[i].err == NULL ? CLI_OK : CLI_FAILURE);
        outcome_fini(&o);
    }
    serve_end(&s);
}

static void what_was_away_is_told(void **state)
{
    static const struct plug_row rows[] = {
        { "ctl web shrink node=1 by=256M",
          "web: virtual node 1 gave up 256 MiB by virtio-mem, 0 B by balloon; the host has 128 MiB "
          "of it back, 128 MiB were away\n"
          "web: 257 MiB of the host's memory are behind the node now, 513 MiB were before\n", NULL },
    };
    struct pluggable guest = { .plugged = 512u << 20, .movable = true, .paged = true };

    (void)state;
    run_rows(&guest, rows, ARRAY_SIZE(rows));
}

static void what_was_plugged_is_told(void **state)
{
    static const struct plug_row rows[] = {
        { "ctl web grow node=1 by=256M",
          "web: virtual node 1 took 256 MiB by virtio-mem, 256 MiB are plugged in now\n", NULL },
        { "ctl web grow by=512M node=1 --patience 1",
          "web: virtual node 1 took 256 MiB by virtio-mem, 512 MiB are plugged in now\n",
          "numavisor: web: the guest took only 256 MiB of 512 MiB\n" },
        { "ctl web shrink node=1 by=384M",
          "web: virtual node 1 gave up 384 MiB by virtio-mem, 0 B by balloon; the host has 192 MiB "
          "of it back, the rest held none of its memory\n"
          "web: 129 MiB of the host's memory are behind the node now, 513 MiB were before\n", NULL },
        { "ctl web shrink node=1 by=256M", "",
          "numavisor: web: only 128 MiB are plugged into virtual node 1, and there is no balloon "
          "(--balloon) for the memory that it started with\n" },
        { "ctl web shrink node=0 by=256M", "",
          "numavisor: web: virtual node 0 has no memory that can be plugged out (hotplug=), and the "
          "machine has no balloon (--balloon)\n" },
        { "ctl web grow node=1 by=2G", "",
          "numavisor: web: virtual node 1 has room for 1.9 GiB more\n" },
        { "ctl web grow node=1 by=1M", "",
          "numavisor: web: by=1M is not a multiple of 128 MiB, the blocks of virtual node 1\n" },
        { "ctl web shrink node=1 by=1M", "",
          "numavisor: web: by=1M is not a multiple of 128 MiB, the blocks of virtual node 1\n" },
        { "ctl web grow node=0 by=128M", "",
          "numavisor: web: virtual node 0 has no room for memory to be plugged in (hotplug=)\n" },
        { "ctl web grow node=2 by=128M", "", "numavisor: web: there is no such node\n" },
    };
    struct pluggable guest = { .movable = true };

    (void)state;
    run_rows(&guest, rows, sizeof(rows) / sizeof(rows[0]));
}

static void a_balloon_gives_what_cannot_be_unplugged(void **state)
{
    static const struct plug_row rows[] = {
        { "ctl web grow node=1 by=128M",
          "web: virtual node 1 took 128 MiB by virtio-mem, 128 MiB are plugged in now\n"
          "web: its command line lacks memhp_default_state=online_movable, without which Debian's "
          "cloud kernels leave new memory offline, and others cannot free it again\n", NULL },
        { "ctl web shrink node=1 by=160M --patience 1",
          "web: virtual node 1 gave up 128 MiB by virtio-mem, 22 MiB by balloon; the host has 86 MiB "
          "of it back, the rest held none of its memory\n"
          "web: 1 MiB of the host's memory are behind the node now, 129 MiB were before\n"
          "web: the balloon took 8 MiB from other nodes, too: the guest chooses\n"
          "web: 2 MiB more are in the balloon, but not away: parts of huge pages in use\n",
          "numavisor: web: virtual node 1 gave up only 150 MiB of 160 MiB\n" },
        { "ctl web shrink node=1 by=4G --patience 1",
          "web: virtual node 1 gave up 0 B by virtio-mem, 0 B by balloon; the host has 0 B of it "
          "back\n"
          "web: 1 MiB of the host's memory are behind the node now, 1 MiB were before\n",
          "numavisor: web: virtual node 1 gave up only 0 B of 4 GiB: web: the guest has 1024 MiB\n" },
    };
    struct pluggable guest = { .has_balloon = true };

    (void)state;
    run_rows(&guest, rows, sizeof(rows) / sizeof(rows[0]));
    assert_int_equal(guest.balloon, 32u << 20); /* no more was asked for than was missing */
}

static void who_waits_in_vain_asks_for_no_more(void **state)
{
    static const struct plug_row row = {
        "ctl web shrink node=1 by=128M --patience 1",
        "web: virtual node 1 gave up 0 B by virtio-mem, 0 B by balloon; the host has 0 B of it back\n"
        "web: 257 MiB of the host's memory are behind the node now, 257 MiB were before\n",
        "numavisor: web: virtual node 1 gave up only 0 B of 128 MiB\n",
    };
    struct pluggable guest = { .stubborn = true, .plugged = 256u << 20 };

    (void)state;
    run_rows(&guest, &row, 1);
    assert_int_equal(guest.requested, 256u << 20);
}

static void the_ledger_is_judged_and_drawn(void **state)
{
    struct control_ops wrong = fake_ops;
    char words[96], path[64];
    struct served s;
    struct outcome o;
    unsigned n = 0;

    (void)state;
    serve(&s, &fake_ops, NULL);
    o = run("ctl web ledger");
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out,
                        "node  home        resident    at home  to node  told  real\n"
                        "   0  0             64 MiB   100.00 %        1    20    40  broken\n"
                        "   1  3             64 MiB    75.00 %        0    20    40  broken  forced\n"
                        "   2  any                -          -        -     -     -\n"
                        "\n"
                        "broken: from node 0 to node 1, told 20, real 40\n"
                        "broken: from node 1 to node 0, told 20, real 40\n"
                        "rank inversions: 0\n");
    outcome_fini(&o);
    (void)snprintf(path, sizeof(path), "%s/l.svg", s.dir);
    (void)snprintf(words, sizeof(words), "ctl web ledger --json --svg %s", path);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"at_home\": 50331648"));
    outcome_fini(&o);
    assert_int_equal(unlink(path), 0);
    o = run("ctl web ledger --svg /nowhere/l.svg");
    assert_int_equal(o.status, CLI_FAILURE);
    outcome_fini(&o);
    serve_end(&s);

    wrong.ledger = wrong_ledger_call;
    serve(&s, &wrong, &n);
    for (int i = 0; i < WRONG_LEDGERS; i++) {
        o = run("ctl web ledger");
        assert_int_equal(o.status, CLI_FAILURE);
        assert_string_equal(o.err, "numavisor: the machine's ledger makes no sense\n");
        outcome_fini(&o);
    }
    serve_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctl_and_list_speak_to_a_machine),
        cmocka_unit_test(a_move_is_told_in_sentences),
        cmocka_unit_test(cpus_are_followed_until_the_guest_knows),
        cmocka_unit_test(a_cpu_that_comes_in_vain_is_told_of),
        cmocka_unit_test(a_balloon_is_shown_by_node),
        cmocka_unit_test(what_was_plugged_is_told),
        cmocka_unit_test(what_was_away_is_told),
        cmocka_unit_test(a_balloon_gives_what_cannot_be_unplugged),
        cmocka_unit_test(who_waits_in_vain_asks_for_no_more),
        cmocka_unit_test(the_ledger_is_judged_and_drawn),
    };

    return cmocka_run_group_tests_name("cli/cli_ctl", tests, NULL, NULL);
}
