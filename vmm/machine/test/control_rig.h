/* SPDX-License-Identifier: Apache-2.0 */
/* A control socket of a machine that is none, its loop in a thread, and a peer's way to talk. */
#ifndef VMM_MACHINE_TEST_CONTROL_RIG_H
#define VMM_MACHINE_TEST_CONTROL_RIG_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/machine/control.h"
#include "vmm/machine/control_dir.h"

enum { WAIT_MS = 10000 /* far beyond every deadline below */ };

struct fixture {
    char dir[64];
    struct evloop *loop;
    struct control *control;
    pthread_t thread;
    atomic_int pauses, stops;
    bool big_stats;
    struct control_move move; /* the last one asked for */
    struct control_balloon balloon;
    struct control_plug plug;
    atomic_bool pauses_later;    /* by answer_kept() */
    struct control_call *kept[CONTROL_PEERS_MAX];
    size_t n_kept; /* the loop's */
};

static inline json_t *fake_status(void *ctx)
{
    (void)ctx;
    return json_pack("{ssss}", "state", "running", "name", "vm");
}

static inline json_t *fake_stats(void *ctx)
{
    const struct fixture *f = ctx;
    json_t *list = json_array();

    for (int i = 0; i < (f->big_stats ? 20000 : 2); i++)
        (void)json_array_append_new(list, json_integer(1000000 + i));
    return json_pack("{so}", "exits", list);
}

static inline int fake_balloon(void *ctx, const struct control_balloon *req, json_t **ret_json,
                        struct errctx *ec)
{
    if (req->target_bytes == 1)
        return errctx_set(ec, EIO, "no balloon");
    ((struct fixture *)ctx)->balloon = *req;
    *ret_json = json_pack("{sb}", "driver", 1);
    return 0;
}

static inline int fake_plug(void *ctx, const struct control_plug *req, json_t **ret_json,
                     struct errctx *ec)
{
    if (req->vnode > 1)
        return errctx_set(ec, EIO, "no window");
    ((struct fixture *)ctx)->plug = *req;
    *ret_json = json_pack("{sb}", "driver", 1);
    return 0;
}

static inline int fake_cpus(void *ctx, const struct control_cpus *req, json_t **ret_json,
                            struct errctx *ec)
{
    (void)ctx;
    if (req->wanted && req->cpu != 3)
        return errctx_set(ec, ENOENT, "no CPU %u", req->cpu);
    *ret_json = json_pack("{sb}", "there", req->there);
    return 0;
}

static inline void fake_cpus_call(void *ctx, const struct control_cpus *req, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_cpus(ctx, req, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static inline int fake_slow(void *ctx, const bool *on, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    if (on != NULL && !*on)
        return errctx_set(ec, ENODEV, "no slow nodes");
    *ret_json = json_pack("{sb}", "on", on != NULL);
    return 0;
}

static inline int fake_memory(void *ctx, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    (void)ret_json;
    return errctx_set(ec, EIO, "pages cannot be counted");
}

static inline void fake_memory_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = fake_memory(ctx, &json, &ec);

    control_call_done(call, r, json, &ec);
}

static inline int fake_move(void *ctx, const struct control_move *move, struct errctx *ec)
{
    ((struct fixture *)ctx)->move = *move;
    return move->vnode < 2 ? 0 : errctx_set(ec, ENOENT, "no such node");
}

static inline void fake_move_call(void *ctx, const struct control_move *move, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fake_move(ctx, move, &ec), NULL, &ec);
}

static inline int fake_move_cancel(void *ctx, bool stay, struct errctx *ec)
{
    (void)ctx;
    return errctx_set(ec, EALREADY, stay ? "stay where?" : "go back where?");
}

static inline json_t *fake_move_status(void *ctx)
{
    (void)ctx;
    return json_pack("{ss}", "state", "none");
}

static inline int fake_balance(void *ctx, const char *mode, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    if (mode != NULL && strcmp(mode, "on") != 0)
        return errctx_set(ec, EINVAL, "no such mode");
    *ret_json = json_pack("{ss}", "mode", mode != NULL ? mode : "off");
    return 0;
}

static inline int fake_evict(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec)
{
    (void)ctx;
    return vnode < 2 ? 0 : errctx_set(ec, ENOENT, "no %u bytes of node %u", (unsigned)bytes, vnode);
}

static inline int fake_pause(void *ctx, struct errctx *ec)
{
    struct fixture *f = ctx;

    return atomic_fetch_add(&f->pauses, 1) == 0 ? 0 : errctx_set(ec, EALREADY, "paused already");
}

static inline void fake_pause_call(void *ctx, struct control_call *call)
{
    struct fixture *f = ctx;
    struct errctx ec = { 0 };

    if (atomic_load(&f->pauses_later)) {
        assert_true(f->n_kept < CONTROL_PEERS_MAX);
        f->kept[f->n_kept++] = call;
        atomic_fetch_add(&f->pauses, 1);
    } else {
        control_call_done(call, fake_pause(ctx, &ec), NULL, &ec);
    }
}

/* On the loop. */
static inline void answer_kept(void *ctx)
{
    struct fixture *f = ctx;

    while (f->n_kept > 0)
        control_call_done(f->kept[--f->n_kept], 0, NULL, NULL);
}

static inline int fake_action(void *ctx, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    return 0;
}

static inline void fake_action_call(void *ctx, struct control_call *call)
{
    struct errctx ec = { 0 };

    control_call_done(call, fake_action(ctx, &ec), NULL, &ec);
}

static inline void fake_stop(void *ctx)
{
    atomic_fetch_add(&((struct fixture *)ctx)->stops, 1);
}

static const struct control_ops fake_ops = {
    .status = fake_status,
    .stats = fake_stats,
    .memory = fake_memory_call,
    .ledger = fake_memory_call,
    .balloon = fake_balloon,
    .plug = fake_plug,
    .cpus = fake_cpus_call,
    .slow = fake_slow,
    .move = fake_move_call,
    .move_cancel = fake_move_cancel,
    .move_status = fake_move_status,
    .balance = fake_balance,
    .evict = fake_evict,
    .evict_status = fake_move_status,
    .target = fake_evict,
    .pause = fake_pause_call,
    .resume = fake_action_call,
    .power = fake_action,
    .reset = fake_action_call,
    .stop = fake_stop,
};

static inline void *run_loop(void *arg)
{
    assert_int_equal(evloop_run(arg, NULL), 0);
    return NULL;
}

static inline void begin_with(struct fixture *f, const struct control_params *extra)
{
    struct control_params params = *extra;

    *f = (struct fixture){ .dir = "/tmp/nv-control-XXXXXX" };
    assert_non_null(mkdtemp(f->dir));
    params.dir = f->dir;
    params.name = "vm";
    params.ops = &fake_ops;
    params.ctx = f;
    assert_int_equal(evloop_new(&f->loop, NULL), 0);
    assert_int_equal(control_new(&params, f->loop, &f->control, NULL), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f->loop), 0);
}

static inline void begin(struct fixture *f)
{
    begin_with(f, &(struct control_params){ .deadline_ms = 60000 });
}

static inline void end(struct fixture *f)
{
    evloop_stop(f->loop);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    control_free(f->control);
    evloop_free(f->loop);
    assert_int_equal(rmdir(f->dir), 0); /* nothing is left in it */
}

static inline int join(const struct fixture *f)
{
    int fd = -1;

    assert_int_equal(control_dir_connect(f->dir, "vm", &fd, NULL), 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* One line; "" when the other side closed. */
static inline const char *hear(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len + 1 < size) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = recv(fd, buf + len, 1, 0);
        if (n <= 0) {
            buf[0] = '\0';
            return buf;
        }
        if (buf[len] == '\n')
            break;
        len++;
    }
    buf[len] = '\0';
    return buf;
}

#endif
