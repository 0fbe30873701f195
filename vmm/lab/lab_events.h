/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of a lab: what is to change under the command, and when (docs/lab.md). Pure; any thread.
 */
#ifndef VMM_LAB_LAB_EVENTS_H
#define VMM_LAB_LAB_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum {
    LAB_EVENTS_MAX = 256,
    LAB_EVENT_TEXT = 80,            /* room for one as lab_event_format() has it */
    LAB_EVENT_LAST_S = 1000000,     /* the latest that one may be */
    LAB_EVENTS_FILE_MAX = 64 << 10, /* bytes of a file of them */
};

enum lab_event_kind {
    LAB_OFFLINE_CPU, /* ->id */
    LAB_ONLINE_CPU,
    LAB_HOTPLUG_CPU, /* it is plugged in, and comes online */
    LAB_UNPLUG_CPU,
    LAB_HOTPLUG_NODE, /* ->id, ->bytes more */
    LAB_UNPLUG_NODE,  /* ->id, ->bytes less */
    LAB_MOVE_VNODE,   /* ->id to ->host */
};

struct lab_event {
    uint64_t at_ns; /* since the command's start */
    enum lab_event_kind kind;
    uint32_t id, host;
    uint64_t bytes;
};

struct lab_events {
    struct lab_event list[LAB_EVENTS_MAX]; /* by time */
    size_t n;
};

/** lab_events_add() - one event, "[at] TIME VERB ...", behind those of the same time.
 *  Return: 0; -EINVAL or -ERANGE (no such event, with a sentence); -E2BIG. */
int lab_events_add(struct lab_events *events, const char *text, struct errctx *ec);

/** lab_events_parse() - the same for each line of @text; "#" and what follows it on a line says
 *  nothing. Return: the same, the sentence naming the line; events before it may have been added. */
int lab_events_parse(struct lab_events *events, const char *text, struct errctx *ec);

/** lab_event_format() - as lab_events_add() reads it, in @buf. */
const char *lab_event_format(const struct lab_event *event, char buf[static LAB_EVENT_TEXT]);

#endif
