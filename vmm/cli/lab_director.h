/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of a lab (docs/lab.md): lab_direct() carries them out in a process of its own, and leaves a
 * record of each in a file, which the supervisor reads when it is over.
 */
#ifndef VMM_CLI_LAB_DIRECTOR_H
#define VMM_CLI_LAB_DIRECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/lab/lab_events.h"
#include "vmm/topology/facts_view.h"

enum lab_record_state {
    LAB_NOT_REACHED, /* the command ended before */
    LAB_EVENT_DONE,
    LAB_EVENT_FAILED,
};

struct lab_record {
    uint32_t state; /* enum lab_record_state */
    uint64_t took_ns;
    char text[256]; /* a sentence, ended by a NUL */
};

struct lab_script {
    const struct lab_events *events;
    const struct facts_view *planned; /* all CPUs in their places */
    const char *machine;              /* name of its control socket */
    bool slow;                        /* its slow nodes are to be slow from the command's start on */
    int records_fd;
};

/** lab_direct() - until all are done or the command has ended. @listen_fd: lab.h, ->direct. */
void lab_direct(const struct lab_script *script, int listen_fd);

/** lab_event_tell() - a line on standard error. */
void lab_event_tell(const struct lab_event *event, const struct lab_record *record);

#endif
