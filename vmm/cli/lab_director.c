/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The director: a process that waits for an event's time, has it carried out, and has the guest look
 * at itself before and after.
 *
 * All that is waited for is waited for beside the agent's connection, whose end says that the command
 * has ended. The guest is not trusted: what it tells is bounded in length and time, and judged. What
 * it lies about is its own view.
 */
#include "vmm/cli/lab_director.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/ctl_cpu.h"
#include "vmm/cli/ctl_plug.h"
#include "vmm/cli/ctl_slow.h"
#include "vmm/cli/lab_job.h"
#include "vmm/lab/lab_wire.h"

#define NS_PER_MS   1000000ull
#define LOOK_NS     (100 * NS_PER_MS)    /* between two looks at something that comes by and by */
#define PATIENCE_NS (120000 * NS_PER_MS) /* for no progress, and for an answer */

struct director {
    const struct lab_script *script;
    int conn; /* to the agent */
    bool over; /* the command has ended */
    struct facts_view *want, *seen;
    char *text; /* LAB_FACTS_MAX and a NUL */
};

/* --- the agent -------------------------------------------------------------------------------- */

static int is_over(struct director *d, struct errctx *ec)
{
    d->over = true;
    return errctx_set(ec, EPIPE, "the command ended before it was over");
}

/* Until @until_ns, unless the command ends: the agent says nothing that was not asked for. */
static int pass_time(struct director *d, uint64_t until_ns, struct errctx *ec)
{
    uint64_t now;

    while ((now = evloop_now_ns()) < until_ns) {
        struct pollfd p = { .fd = d->conn, .events = POLLIN };
        const uint64_t ms = (until_ns - now) / NS_PER_MS + 1;

        if (poll(&p, 1, (int)MIN(ms, 1000000u)) > 0)
            return is_over(d, ec);
    }
    return 0;
}

static int take(struct director *d, void *data, size_t len, struct errctx *ec)
{
    const uint64_t until_ns = evloop_now_ns() + PATIENCE_NS;
    char *at = data;

    while (len > 0) {
        struct pollfd p = { .fd = d->conn, .events = POLLIN };
        ssize_t n;

        if (evloop_now_ns() >= until_ns)
            return errctx_set(ec, ETIMEDOUT, "the guest does not answer");
        if (poll(&p, 1, 1000) <= 0)
            continue;
        n = recv(d->conn, at, len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return is_over(d, ec);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* What the agent says, into ->seen. @ret_error: what came of what it was asked for. */
static int hear(struct director *d, int *ret_error, struct errctx *ec)
{
    struct lab_told told;
    struct facts facts;
    int r = take(d, &told, sizeof(told), ec);

    if (r == 0 && (told.magic != LAB_MAGIC || told.bytes > LAB_FACTS_MAX))
        r = errctx_set(ec, EPROTO, "what the guest says makes no sense");
    if (r == 0)
        r = take(d, d->text, told.bytes, ec);
    if (r < 0)
        return r;
    *ret_error = (int)(told.error & 0xfff);
    d->text[told.bytes] = '\0';
    r = facts_parse(d->text, &facts, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "what the guest sees makes no sense");
    r = facts_view_of(&facts, d->seen, ec);
    facts_fini(&facts);
    return r < 0 ? errctx_wrap(ec, r, "what the guest sees makes no sense") : 0;
}

static int ask(struct director *d, enum lab_ask_kind kind, uint32_t cpu, int *ret_error,
               struct errctx *ec)
{
    const struct lab_ask a = { .magic = LAB_MAGIC, .kind = kind, .cpu = cpu };

    if (send(d->conn, &a, sizeof(a), MSG_NOSIGNAL) != (ssize_t)sizeof(a))
        return is_over(d, ec);
    return hear(d, ret_error, ec);
}

static int look(struct director *d, struct errctx *ec)
{
    int error;

    return ask(d, LAB_ASK_LOOK, 0, &error, ec);
}

/* Until the guest sees what it should. Each change of what it sees is progress. */
static int await_view(struct director *d, struct errctx *ec)
{
    uint64_t until_ns = evloop_now_ns() + PATIENCE_NS;
    char differs[200], before[200] = "";
    int r = 0;

    while (facts_view_differ(d->want, d->seen, differs, sizeof(differs))) {
        if (strcmp(differs, before) != 0)
            until_ns = evloop_now_ns() + PATIENCE_NS;
        memcpy(before, differs, sizeof(before));
        if (evloop_now_ns() >= until_ns)
            return errctx_set(ec, ETIMEDOUT, "the guest sees something else: %s", differs);
        r = pass_time(d, evloop_now_ns() + LOOK_NS, ec);
        if (r == 0)
            r = look(d, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- events ----------------------------------------------------------------------------------- */

/* Once the guest sees CPU @cpu as it is wanted. */
static int see_cpu(struct director *d, uint32_t cpu, bool online, char *said, size_t max,
                   struct errctx *ec)
{
    const uint32_t node = facts_view_node_of(d->script->planned, cpu);
    const struct idset *seen = &d->seen->node[node].cpus;
    char cpus[128];
    int r;

    facts_view_set_cpu(d->want, cpu, node, online);
    r = await_view(d, ec);
    (void)snprintf(said, max, "node %u has %s%s now", node, idset_empty(seen) ? "no CPUs" : "CPUs ",
                   idset_format(seen, cpus, sizeof(cpus)));
    return r;
}

static int switch_cpu(struct director *d, uint32_t cpu, bool online, char *said, size_t max,
                      struct errctx *ec)
{
    int error, r;

    r = ask(d, online ? LAB_ASK_ONLINE : LAB_ASK_OFFLINE, cpu, &error, ec);
    if (r < 0)
        return r;
    if (error == ENOENT)
        return errctx_set(ec, ENOENT, "the guest's kernel has no switch for CPU %u", cpu);
    if (error != 0)
        return errctx_set_os(ec, error, "the guest's kernel");
    return see_cpu(d, cpu, online, said, max, ec);
}

/* One that was just plugged in: the kernel knows of the event before it has made its switch. */
static int switch_new_cpu(struct director *d, uint32_t cpu, uint64_t until_ns, char *said,
                          size_t max, struct errctx *ec)
{
    int r;

    do {
        r = switch_cpu(d, cpu, true, said, max, ec);
        if (r != -ENOENT || evloop_now_ns() >= until_ns)
            return r;
        r = pass_time(d, evloop_now_ns() + LOOK_NS, ec);
    } while (r == 0);
    return r;
}

/* It is plugged in and online, or neither: the guest takes it offline to give it up. */
static int plug_cpu(struct director *d, const struct lab_event *e, char *said, size_t max,
                    struct errctx *ec)
{
    const uint64_t until_ns = evloop_now_ns() + PATIENCE_NS;
    const bool there = e->kind == LAB_HOTPLUG_CPU;
    json_t *now;
    int r = ctl_cpu_ask(d->script->machine, e->id, there, &now, ec);

    while (r == 0) {
        const bool done = ctl_cpu_is_done(now, e->id, there);
        const bool gone = there && ctl_cpu_is_done(now, e->id, false);

        json_decref(now);
        if (done)
            break;
        if (gone)
            return errctx_set(ec, ECANCELED, "the guest took it away again");
        if (evloop_now_ns() >= until_ns)
            return errctx_set(ec, ETIMEDOUT, "the guest has not %s it",
                              there ? "taken note of" : "given up");
        r = pass_time(d, evloop_now_ns() + LOOK_NS, ec);
        if (r == 0)
            r = ctl_cpu_ask(d->script->machine, UINT32_MAX, false, &now, ec);
    }
    if (r < 0)
        return r;
    if (there)
        return switch_new_cpu(d, e->id, until_ns, said, max, ec);
    r = look(d, ec);
    return r == 0 ? see_cpu(d, e->id, false, said, max, ec) : r;
}

/* Until @size is plugged in, or it does not get on: then no more is asked for than there is. */
static int follow_plug(struct director *d, const struct ctl_wish *wish, uint64_t size,
                       struct errctx *ec)
{
    uint64_t plugged = UINT64_MAX, until_ns = 0, asked = size;
    char a[32], b[32];
    json_t *now = NULL;

    for (;;) {
        uint64_t is;
        int r = ctl_plug_ask(wish, asked, &now, ec);

        if (r < 0)
            return r;
        is = answer_number(now, "plugged");
        json_decref(now);
        if (is == size)
            return 0;
        if (is != plugged)
            until_ns = evloop_now_ns() + PATIENCE_NS;
        plugged = is;
        asked = UINT64_MAX;
        r = evloop_now_ns() >= until_ns ? -ETIMEDOUT
                                        : pass_time(d, evloop_now_ns() + LOOK_NS, ec);
        if (r == 0)
            continue;
        if (ctl_plug_ask(wish, plugged, &now, NULL) == 0)
            json_decref(now);
        if (r != -ETIMEDOUT)
            return r;
        return errctx_set(ec, ETIMEDOUT, "the guest has %s plugged in, and %s should be",
                          units_format_human(plugged, a, sizeof(a)),
                          units_format_human(size, b, sizeof(b)));
    }
}

static int plug(struct director *d, const struct lab_event *e, char *said, size_t max,
                struct errctx *ec)
{
    const struct ctl_wish wish = { .name = d->script->machine, .vnode = e->id };
    const bool less = e->kind == LAB_UNPLUG_NODE;
    json_t *now;
    uint64_t plugged;
    bool driver;
    char a[32];
    int r = ctl_plug_ask(&wish, UINT64_MAX, &now, ec);

    if (r < 0)
        return r;
    plugged = answer_number(now, "plugged");
    driver = json_is_true(json_object_get(now, "driver"));
    json_decref(now);
    if (!driver)
        return errctx_set(ec, ENODEV, "the guest has no driver for it (virtio_mem)");
    if (less && e->bytes > plugged)
        return errctx_set(ec, ERANGE, "only %s are plugged in",
                          units_format_human(plugged, a, sizeof(a)));
    facts_view_add_memory(d->want, e->id, e->bytes / 1024, less);
    r = follow_plug(d, &wish, less ? plugged - e->bytes : plugged + e->bytes, ec);
    if (r == 0)
        r = look(d, ec);
    if (r == 0)
        r = await_view(d, ec);
    (void)snprintf(said, max, "node %u has %s now", e->id,
                   units_format_human(d->seen->node[e->id].memory_kib * 1024, a, sizeof(a)));
    return r;
}

static bool is_moving(const json_t *status)
{
    const char *state = answer_text(status, "state");

    return strcmp(state, "moving") == 0 || strcmp(state, "returning") == 0;
}

/* How it ended. */
static int follow_move(struct director *d, json_t **ret_status, struct errctx *ec)
{
    for (;;) {
        int r = ctl_client_ask(NULL, d->script->machine, "move-status", CTL_TIMEOUT_MS, ret_status,
                               ec);

        if (r < 0 || !is_moving(*ret_status))
            return r;
        json_decref(*ret_status);
        r = pass_time(d, evloop_now_ns() + LOOK_NS, ec);
        if (r < 0)
            return r;
    }
}

static int judge_move(const json_t *status, uint32_t host, char *said, size_t max,
                      struct errctx *ec)
{
    const uint64_t left = answer_number(status, "left");
    char a[32], b[32];

    if (strcmp(answer_text(status, "state"), "arrived") != 0)
        return errctx_set(ec, ECANCELED, "%.200s", answer_text(status, "why"));
    if (answer_text(status, "vcpus_error")[0] != '\0')
        return errctx_set(ec, ECANCELED, "not all CPUs followed: %.200s",
                          answer_text(status, "vcpus_error"));
    (void)snprintf(said, max, "%s were moved to host node %u%s%s%s",
                   units_format_human(answer_number(status, "moved"), a, sizeof(a)), host,
                   left > 0 ? ", " : "", left > 0 ? units_format_human(left, b, sizeof(b)) : "",
                   left > 0 ? " are in use and stayed" : "");
    return 0;
}

static int move(struct director *d, const struct lab_event *e, char *said, size_t max,
                struct errctx *ec)
{
    json_t *request = json_pack("{s:s, s:i, s:i, s:b}", "command", "move", "vnode", (int)e->id,
                                "host", (int)e->host, "force", true);
    json_t *answer = NULL;
    int r = ctl_client_request(NULL, d->script->machine, request, CTL_TIMEOUT_MS, &answer, ec);

    json_decref(request);
    if (r < 0)
        return r;
    json_decref(answer);
    r = follow_move(d, &answer, ec);
    if (r < 0)
        return r;
    r = judge_move(answer, e->host, said, max, ec);
    json_decref(answer);
    if (r == 0)
        r = look(d, ec);
    return r == 0 ? await_view(d, ec) : r;
}

static int carry_out(struct director *d, const struct lab_event *e, char *said, size_t max,
                     struct errctx *ec)
{
    int r = look(d, ec);

    if (r < 0)
        return r;
    *d->want = *d->seen;
    switch (e->kind) {
    case LAB_OFFLINE_CPU:
    case LAB_ONLINE_CPU:
        return switch_cpu(d, e->id, e->kind == LAB_ONLINE_CPU, said, max, ec);
    case LAB_HOTPLUG_CPU:
    case LAB_UNPLUG_CPU:
        return plug_cpu(d, e, said, max, ec);
    case LAB_HOTPLUG_NODE:
    case LAB_UNPLUG_NODE:
        return plug(d, e, said, max, ec);
    case LAB_MOVE_VNODE:
        return move(d, e, said, max, ec);
    }
    return -EINVAL;
}

/* --- the process ------------------------------------------------------------------------------ */

void lab_event_tell(const struct lab_event *event, const struct lab_record *record)
{
    char text[LAB_EVENT_TEXT];

    (void)cli_error(0, "event \"%s\": %s%s", lab_event_format(event, text),
                    record->state == LAB_EVENT_DONE ? "" : "failed: ", record->text);
}

static void direct_one(struct director *d, size_t i)
{
    const struct lab_event *e = &d->script->events->list[i];
    struct lab_record record = { .state = LAB_EVENT_DONE };
    struct errctx ec = { 0 };
    const uint64_t begin_ns = evloop_now_ns();

    if (carry_out(d, e, record.text, sizeof(record.text), &ec) < 0) {
        record.state = LAB_EVENT_FAILED;
        (void)snprintf(record.text, sizeof(record.text), "%.255s", ec.msg);
    }
    record.took_ns = evloop_now_ns() - begin_ns;
    (void)!pwrite(d->script->records_fd, &record, sizeof(record),
                  (off_t)(i * sizeof(record))); /* a missing one counts as a failure */
    lab_event_tell(e, &record);
}

/* The machine made sure that it can. */
static void make_slow(const struct director *d)
{
    const bool on = true;
    struct errctx ec = { 0 };
    json_t *answer = NULL;

    if (ctl_slow_ask(d->script->machine, &on, &answer, &ec) < 0)
        (void)cli_error(0, "--slow: %s", ec.msg);
    json_decref(answer);
}

static void direct_all(struct director *d)
{
    struct errctx ec = { 0 };
    uint64_t begin_ns;
    int error;

    if (hear(d, &error, &ec) < 0) {
        if (!d->over)
            (void)cli_fail(0, &ec);
        return;
    }
    begin_ns = evloop_now_ns();
    if (d->script->slow)
        make_slow(d);
    for (size_t i = 0; i < d->script->events->n && !d->over; i++)
        if (pass_time(d, begin_ns + d->script->events->list[i].at_ns, NULL) == 0)
            direct_one(d, i);
}

void lab_direct(const struct lab_script *script, int listen_fd)
{
    CLEANUP_FREE struct facts_view *want = calloc(1, sizeof(*want));
    CLEANUP_FREE struct facts_view *seen = calloc(1, sizeof(*seen));
    CLEANUP_FREE char *text = calloc(1, LAB_FACTS_MAX + 1);
    CLEANUP_CLOSE int conn = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    struct director d = {
        .script = script, .conn = conn, .want = want, .seen = seen, .text = text
    };

    (void)close(listen_fd);
    (void)setvbuf(stderr, NULL, _IOLBF, 0); /* a line is one write: the command writes, too */
    if (want != NULL && seen != NULL && text != NULL && conn >= 0)
        direct_all(&d);
}
