/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control socket of one machine: what `numavisor ctl` talks to.
 *
 * A Unix stream socket; one JSON object per line in each direction:
 *
 *   {"command": "status"}
 *   {"ok": true, "result": {...}}       or  {"ok": false, "error": "one sentence"}
 *
 * Commands: status, stats, memory, ledger, pause, resume, power, reset, stop, and
 *
 *   {"command": "move", "vnode": 1, "host": 3}    optional: "rate" (bytes per second), "stay",
 *                                                  "force" (true or false)
 *   {"command": "move-cancel"}                    optional: "stay"
 *   {"command": "move-status"}                    {"state": "none"}, or
 *     { "state": "moving|returning|arrived|returned|half-way", "vnode", "host", "memory" (bytes of
 *       the node), "visited" (of them, in this pass), "moved" (to the host node, less what went
 *       back), "left" (could not be moved in the last pass), "split" (of huge pages that are small
 *       ones now), "hot" (was in use at the start, and went first), "pass", "held" (the machine is
 *       paused), "why" (it did not arrive), and once it has arrived "vcpus", "vcpus_there" (threads
 *       that run there), "widened" (they were pinned to less than a node, and nothing like it is to
 *       be had there), "vcpus_error" }
 *   {"command": "balance"}                        optional: "mode" (off, advise, on) to switch to
 *     { "name", "mode", "epoch" (seconds), "epochs" (looked at), "skipped" (paused, reset), "decided",
 *       "moved" (virtual nodes), "failed", "moving" (a step is being carried out), "trace" (where
 *       there is one), "complaint" ("": none), "decisions": [as balance_say.h, and "advised", "why"
 *       (it was not carried out)]; and once something was seen "cost" (CPUs, docs/placement.md),
 *       "cpu_pressure", "memory_pressure": { "some", "full" } (per cent of ten seconds; or null),
 *       "hosts": [{ "node", "cpus" (that it has, less what heat takes), "others" (CPUs wanted there by
 *       others), "memory", "free" }], "nodes": [{ "id", "home" (host node), "wants" (CPUs), "resident",
 *       "at_home", "fixed", "stays" (why it is not moved), "away" (CPUs where it runs meanwhile) }] }
 *
 *   {"command": "evict", "vnode": 1, "bytes": 1048576}
 *   {"command": "target", "vnode": 1, "bytes": 1048576}   without "bytes": no target any more
 *   {"command": "evict-status"}                   {"state": "none"}, or
 *     { "state": "evicting|over", "vnode", "wanted", "evicted" (bytes), "why" (it failed), "pager" (as
 *       a node of "memory" has it) }
 *
 *   {"command": "slow"}       optional: "on" (true or false: whether nodes of --slow are slow now)
 *     { "name", "on", "nodes": [{ "id", "factor", "measured" (what a chase was slowed by at the
 *       start), "charged", "spared" (touches that waited, and that were answered at once), "waited"
 *       (ns, by those that did), "taken" (pages that were taken out of the page table), "in_use" (pages), "users" (threads at a time, as it seems), "why" (it is not slow) }] }
 *
 *   {"command": "balloon"}    optional: "target" (bytes that are to be in it), "refresh" (true: have
 *                             the guest tell its statistics soon; "stats"."count" grows then)
 *     { "name", "driver" (one runs the device), "target", "told" (bytes that it says are in the
 *       balloon), "gone" (bytes that went back to the host in all), "rejected" (page numbers that
 *       are no memory), "nodes": [{ "id", "ballooned", "reported", "kept", "returned" }] (as in
 *       devices/virtio/balloon.h), "stats": { "count", "age_ms", "values": { "free": 1, ... } } }
 *
 *   {"command": "plug", "vnode": 1}   optional: "size" (bytes that are to be plugged into the node)
 *     { "name", "vnode", "driver" (one runs the device), "window" (bytes that there is room for, 0
 *       for none), "block", "requested", "plugged" (bytes), "returned" (bytes that the host got back
 *       by unplugging, since the start), "resident" (bytes of the host's that the node has),
 *       "dropped" (bytes that were away when the guest gave them up, since the start), "movable"
 *       (Linux was told to have new memory so that it can leave again) }
 *
 *   {"command": "cpus"}               optional: "cpu" with "there" (it is to be, or asked to go)
 *     { "name", "cpus": [{ "id", "node", "there" (plugged in), "asked" (to go), "told" (the guest has
 *       taken note) }] }, of those that can be plugged
 *
 * The nodes of "memory" have "ballooned", "reported" and "kept", too, where there is a balloon, and
 * "plugged" where memory can be plugged in.
 *
 * The ledger (vmm/topology/ledger.h) is { "name", "nodes": [{ "id", "home" (host nodes, "" where
 * nobody said), "resident", "at_home" (bytes), "share" (0 to 1; null without a home or memory),
 * "forced" }], "told": [[from 0], ...], "real": [[...]] (0: not known), "worst" and each of
 * "broken": { "from", "to", "told", "real" } (worst null when nothing is known), "inversions" }.
 *
 * The server runs on the machine's main loop and never waits for anybody: descriptors do not
 * block, a request has at most CONTROL_REQUEST_MAX bytes, a peer that has not finished a request
 * or taken its reply in time is dropped, and when CONTROL_PEERS_MAX are connected a new one
 * displaces the one nearest to its deadline, so that stalled peers cannot keep others out. Only
 * the socket's owner and root are heard. The server knows the machine through a table of calls.
 * Some of what is asked takes the machine a while, because threads have to come to a stop that may be
 * waiting for a page: such an answer comes later, and a peer whose answer is awaited has no deadline.
 */
#ifndef VMM_MACHINE_CONTROL_H
#define VMM_MACHINE_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

enum {
    CONTROL_REQUEST_MAX = 4096,
    CONTROL_PEERS_MAX = 16,
    CONTROL_DEADLINE_MS = 5000, /* for a whole request, and for a whole reply */
};

struct control_move {
    uint32_t vnode, host;
    uint64_t bytes_per_s; /* 0: no limit */
    bool stay, force;
};

struct control_balloon {
    bool has_target, refresh;
    uint64_t target_bytes;
};

struct control_plug {
    uint32_t vnode;
    bool has_size;
    uint64_t bytes;
};

struct control_cpus {
    bool wanted;
    uint32_t cpu;
    bool there;
};

/* An answer that may come later. */
struct control_call;

/** control_call_done() - answer: @r < 0: with the sentence in @ec; else with @result, which is taken
 *  over; NULL: an empty object. Once, on the loop's thread. */
void control_call_done(struct control_call *call, int r, json_t *result, const struct errctx *ec);

/* All on the loop's thread. Those with a call have it done, before or after they return. */
struct control_ops {
    json_t *(*status)(void *ctx); /* a new object; NULL when out of memory */
    json_t *(*stats)(void *ctx);
    void (*memory)(void *ctx, struct control_call *call); /* done with an object */
    void (*ledger)(void *ctx, struct control_call *call); /* likewise */
    /* @on: NULL: do not switch. A new object. */
    int (*slow)(void *ctx, const bool *on, json_t **ret_json, struct errctx *ec);
    int (*balloon)(void *ctx, const struct control_balloon *req, json_t **ret_json,
                   struct errctx *ec); /* a new object */
    int (*plug)(void *ctx, const struct control_plug *req, json_t **ret_json,
                struct errctx *ec); /* a new object */
    void (*cpus)(void *ctx, const struct control_cpus *req, struct control_call *call); /* likewise */
    void (*move)(void *ctx, const struct control_move *move, struct control_call *call);
    int (*move_cancel)(void *ctx, bool stay, struct errctx *ec);
    json_t *(*move_status)(void *ctx);
    /* @mode: NULL: do not switch. A new object. */
    int (*balance)(void *ctx, const char *mode, json_t **ret_json, struct errctx *ec);
    int (*evict)(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec);
    json_t *(*evict_status)(void *ctx);
    /* @bytes: UINT64_MAX: no target. */
    int (*target)(void *ctx, uint32_t vnode, uint64_t bytes, struct errctx *ec);
    void (*pause)(void *ctx, struct control_call *call);
    void (*resume)(void *ctx, struct control_call *call);
    int (*power)(void *ctx, struct errctx *ec);
    void (*reset)(void *ctx, struct control_call *call);
    void (*stop)(void *ctx); /* may end the loop; the reply is sent before */
};

struct control_params {
    const char *dir;  /* where the socket goes; NULL: control_dir_path(), made when missing */
    const char *name; /* the machine's */
    const struct control_ops *ops; /* borrowed, with ctx, until control_free() */
    void *ctx;
    uint32_t deadline_ms; /* 0: CONTROL_DEADLINE_MS */
    /* Who is at the other end of @fd: 0 or a negative errno. NULL: SO_PEERCRED. */
    int (*peer_uid)(int fd, uid_t *ret_uid);
};

struct control;

/** control_new() - take the name and listen. Before evloop_run(), or on the loop's thread.
 *  Return: 0, -EADDRINUSE when a machine of the name runs, or the errno of a call. */
int control_new(const struct control_params *params, struct evloop *loop,
                struct control **ret_control, struct errctx *ec);

/** control_free() - drop all peers, remove the socket. NULL is allowed. */
void control_free(struct control *control);

struct control_call {
    /* Once; the call is the callee's again. @text: the reply without a newline, the callee's; NULL when
     * out of memory. */
    void (*reply)(struct control_call *call, char *text);
    bool stop; /* it was a granted "stop", to be carried out after the reply is on its way */
};

/** control_answer() - have one request line, without its newline, replied to, now or later. */
void control_answer(const struct control_ops *ops, void *ctx, const char *line, size_t len,
                    struct control_call *call);

#endif
