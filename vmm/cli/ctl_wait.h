/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for work that a machine does: one line of progress on a terminal, and Ctrl-C to give up. */
#ifndef VMM_CLI_CTL_WAIT_H
#define VMM_CLI_CTL_WAIT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct ctl_wait {
    int fd; /* SIGINT and SIGTERM, which are held back until the first came */
    sigset_t before;
    bool cancelled;
    uint64_t patience_ns, since_ns; /* without progress; the last */
    uint64_t seen;                  /* what was there then */
};

/** ctl_wait_begin() - from now on a signal cancels instead of ending us. Return: 0 or an errno of the
 *  system's, and nothing to end. */
int ctl_wait_begin(struct ctl_wait *w, unsigned patience_s, struct errctx *ec);

/** ctl_wait_more() - whether to look again: a moment later, unless the user wants no more, or @seen has
 *  not changed for too long. */
bool ctl_wait_more(struct ctl_wait *w, uint64_t seen);

/** ctl_wait_fresh() - other work begins, with all the patience. */
void ctl_wait_fresh(struct ctl_wait *w);

/** ctl_wait_show() - replace the line on the terminal; NULL: no line. */
void ctl_wait_show(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** ctl_wait_end() - signals mean what they meant before. */
void ctl_wait_end(struct ctl_wait *w);

#endif
