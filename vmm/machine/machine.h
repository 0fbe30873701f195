/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual machine from its first ioctl to its end. The only owner of live objects.
 *
 * machine_new() builds stage by stage (machine_stages.c holds the visible array: images, kvm,
 * layout, memory, irqchip, devices, firmware, vcpus) and undoes the earlier ones when one fails.
 * machine_run() makes the sandbox, starts the threads and serves the main loop until the guest
 * or a request ends it. The control functions may be called from the main loop's thread.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"
#include "vmm/config/config.h"
#include "vmm/machine/machine_stand.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_plan.h"

struct machine;

enum machine_end_kind {
    MACHINE_END_POWER_OFF,  /* the guest switched itself off */
    MACHINE_END_RESET,      /* the guest reset itself and on_reset is "exit" */
    MACHINE_END_GUEST_CODE, /* a write to the debug-exit port; code is the value */
    MACHINE_END_STOPPED,    /* ctl stop, the escape key, SIGTERM, SIGINT, SIGHUP */
    MACHINE_END_LOST,       /* memory of the guest's that was away cannot be brought back */
    MACHINE_END_FAILURE,    /* ours: KVM refused to go on, a triple fault without reset, ... */
};

struct machine_end {
    enum machine_end_kind kind;
    uint32_t code;
    char reason[256]; /* one sentence; "" for a power-off */
};

/* What the caller wants to hear while a machine is built; all may be NULL. */
struct machine_hooks {
    /* This host, to pin vCPUs anew that move, as narrowly as they were; outlives the machine. NULL:
     * they get all CPUs of their new node. */
    const struct host_topo *host;
    /* Guest memory is being taken; called now and then, the last time when all is done. False: give
     * up, machine_new() fails with -ECANCELED. */
    bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes);
    /* Something that was asked for cannot be had, and the machine goes on without: a sentence. */
    void (*give_way)(void *ctx, const char *what);
    /* May a virtual node be moved to host node @to? 0, or a negative errno with a sentence; -EBUSY:
     * not now. It is asked last: after 0 the move begins, and moved() tells of its end. Main loop's
     * thread. */
    int (*may_move)(void *ctx, struct vnode_id vnode, struct hnode_id to, struct errctx *ec);
    /* @arrived: a virtual node lives on host node @to now, memory and vCPUs; else it is where it was,
     * or half-way. Main loop's thread. */
    void (*moved)(void *ctx, struct vnode_id vnode, struct hnode_id to, bool arrived);
    /* What rebalancing decided, did, or would do: a sentence. Main loop's thread. */
    void (*balanced)(void *ctx, const char *what);
    /* What a device has to say, that its back end is gone for instance: a sentence. Any thread. */
    void (*device_says)(void *ctx, const char *what);
    void *ctx;
};

/**
 * machine_new() - build everything up to, and without, the first guest instruction.
 * @config, @plan: borrowed; outlive the machine.
 * @main_loop: the caller's loop; machine_run() runs it.
 * @hooks: may be NULL.
 * Return: 0, or the failed stage's errno, the sentence starting with the stage's name.
 */
int machine_new(const struct machine_config *config, const struct topo_plan *plan,
                struct evloop *main_loop, const struct machine_hooks *hooks,
                struct machine **ret_machine, struct errctx *ec);

/** machine_limit_cpu() - before machine_run(): keep to so many thousandths of a CPU, all threads
 *  together, without the help of a cgroup (machine_throttle.h). 0: there is no limit. */
void machine_limit_cpu(struct machine *m, uint32_t max_milli);

/** machine_run() - start the guest and serve @main_loop until it ends. Return: 0 with
 *  @ret_end filled, or a negative errno when it could not be started. */
int machine_run(struct machine *m, struct machine_end *ret_end, struct errctx *ec);

/** machine_free() - after machine_run() returned, or instead of it. NULL is allowed. */
void machine_free(struct machine *m);

struct machine_cpus_request {
    bool wanted; /* a CPU is to come or to go; else only tell how they stand */
    uint32_t cpu;
    bool there;
};

struct machine_move_request {
    struct vnode_id vnode;
    struct hnode_id to;
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    bool stay;            /* half-way, when the target is full, instead of going back */
    bool force;           /* although it breaks a distance that the guest was told */
};

/*
 * What may take a while is asked for, and answered on the main loop, maybe before the call returns:
 * threads have to stand first, and one that waits for a page cannot be interrupted. Others are
 * served meanwhile. What was asked and not done when the run ends is answered with -ECANCELED.
 */
struct machine_ask {
    /* @r: 0, with @result (the callee's; NULL where there is none); or a negative errno with a
     * sentence in @ec. The ask is the caller's again. */
    void (*answer)(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec);
    /* The machine's until then. */
    struct machine *machine;
    struct stand_wish wish;
    union {
        struct machine_cpus_request cpus;
        struct machine_move_request move;
    } request;
};

/* Control, main loop's thread. Answers are 0 or -EALREADY; a resume and a reset have their turn after
 * a pause that was asked for before. */
void machine_pause(struct machine *m, struct machine_ask *ask);
void machine_resume(struct machine *m, struct machine_ask *ask);
void machine_reset(struct machine *m, struct machine_ask *ask);
/** machine_power_button() - Return: 0 or -EBUSY (paused), with a sentence. */
int machine_power_button(struct machine *m, struct errctx *ec);
/** machine_stop() - end the run now, without asking the guest. */
void machine_stop(struct machine *m, const char *why);

/** machine_status() / machine_stats() - new JSON objects for `ctl`; owned by the caller. NULL
 *  when out of memory. */
json_t *machine_status(struct machine *m);
json_t *machine_stats(const struct machine *m);

/** machine_memory() - every backing and where its pages are, counted as soon as nothing is evicted; an
 *  object for `ctl`. The guest goes on meanwhile. */
void machine_memory(struct machine *m, struct machine_ask *ask);

struct machine_balloon_request {
    bool has_target;
    uint64_t target_bytes;
    bool refresh; /* have the guest tell its statistics anew; they come later */
};

enum machine_slow_wish { MACHINE_SLOW_TELL, MACHINE_SLOW_ON, MACHINE_SLOW_OFF };

/** machine_slow() - have the nodes of --slow be slow from now on, or not any more, and tell how they
 *  stand; a new object for `ctl`, as in control.h. Return: 0; -ENODEV: there are none; -ENOMEM. */
int machine_slow(struct machine *m, enum machine_slow_wish wish, json_t **ret_json,
                 struct errctx *ec);

/** machine_balloon() - set what is to be in the balloon, if @req has a target, and tell how it stands;
 *  a new object for `ctl`, as in control.h. Return: 0; -ENODEV (no balloon), -ERANGE (more than the
 *  guest has), -ENOMEM, or the errno of looking at pages. */
int machine_balloon(struct machine *m, const struct machine_balloon_request *req,
                    json_t **ret_json, struct errctx *ec);

struct machine_plug_request {
    struct vnode_id vnode;
    bool has_size;
    uint64_t bytes; /* that are to be plugged in, beyond the memory from the start */
};

/** machine_plug() - ask the guest to have so much memory plugged into a node, if @req has a size, and
 *  tell how it stands; a new object for `ctl`, as in control.h. Waits for nobody. Return: 0; -ENOENT
 *  (no such node), -ENODEV (it has no window), -ERANGE (more than that), -ENOMEM. */
int machine_plug(struct machine *m, const struct machine_plug_request *req, json_t **ret_json,
                 struct errctx *ec);

/** machine_cpus() - plug a CPU in while all stand, or ask the guest to give one up, and tell how all
 *  stand that can be plugged; an object for `ctl`, as in control.h. Answers: 0; -ENODEV (none can be),
 *  -ENOENT (that one cannot be), -EALREADY, -EBUSY (paused), -ENOMEM, or what KVM says. */
void machine_cpus(struct machine *m, const struct machine_cpus_request *req,
                  struct machine_ask *ask);

/**
 * machine_move() - begin to move a virtual node, memory first, to host node @to, as soon as nothing is
 * evicted; machine_move_status() tells how far it is, the guest goes on meanwhile.
 * Answers: 0, it has begun; -EBUSY (paused, or a move is on); -ENOENT (no such node, no memory); -ENOTSUP (the
 * host has one node); -EDOM (it would break a distance, and nobody forces it); -ENOSPC (--pin
 * dedicated: the host node has too few CPUs that no other vCPU has, and nobody forces it); what
 * hooks.may_move() says; -ENOMEM.
 */
void machine_move(struct machine *m, const struct machine_move_request *req,
                  struct machine_ask *ask);

/** machine_move_cancel() - have the move go back, or with @stay end where it is. -EALREADY when none
 *  is on. */
int machine_move_cancel(struct machine *m, bool stay, struct errctx *ec);

/** machine_move_status() - the move that is on, or the last one; a new object, as in control.h.
 *  NULL when out of memory. */
json_t *machine_move_status(struct machine *m);

/** machine_evict() - begin to take @bytes of a virtual node's memory away. Returns at once;
 *  machine_evict_status() tells how far it is. Return: 0; -ENOTSUP (no pager); -ENOENT (no such node,
 *  no memory); -EBUSY (paused, or memory is evicted or moved already). */
int machine_evict(struct machine *m, struct vnode_id vnode, uint64_t bytes, struct errctx *ec);

/** machine_evict_status() - the present or the last eviction; a new object, as in control.h. NULL
 *  when out of memory. */
json_t *machine_evict_status(struct machine *m);

/**
 * machine_set_target() - how much of a virtual node's memory may stay from now on; what was in use least
 * goes, by and by. @bytes: UINT64_MAX: all of it. An earlier failure is forgotten.
 * Return: 0; -ENOTSUP (no pager); -ENOENT (no such node, no memory).
 */
int machine_set_target(struct machine *m, struct vnode_id vnode, uint64_t bytes, struct errctx *ec);

/** machine_ledger() - what the guest was told of distances and what is real, counted as soon as
 *  nothing is evicted; an object for `ctl`, as in control.h. */
void machine_ledger(struct machine *m, struct machine_ask *ask);

/**
 * machine_balance() - how rebalancing stands; a new object for `ctl`, as in control.h.
 * @mode: switch it to "off", "advise" or "on" before; NULL: leave it.
 * Return: 0; -EINVAL (no such word, or vCPUs are pinned more narrowly than a move can keep);
 * -ENOTSUP (the host has one node); -ENOMEM.
 */
int machine_balance(struct machine *m, const char *mode, json_t **ret_json, struct errctx *ec);

/** machine_console_input() - bytes typed on the terminal, to the serial port. Returns how many
 *  were taken; the rest should be offered again later. */
size_t machine_console_input(struct machine *m, const void *data, size_t len);

#endif
