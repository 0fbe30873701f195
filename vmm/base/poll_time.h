/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread should look for work before it goes to sleep. Pure.
 *
 * Sleeping and being woken costs more than looking for a while, if work comes soon; if it does
 * not, looking is wasted. So the time adapts: it grows while events come a little later than it
 * lasts, stays while they come in time, and is zero after a wait that even the longest time would
 * not have covered.
 *
 * Looking is meant for a CPU that has nothing else to do. A thread that looked far longer than it
 * meant to was off its CPU: others want it, and looking only uses up the share that the work
 * itself will need. Such a thread rests: it goes to sleep at once for some time.
 */
#ifndef VMM_BASE_POLL_TIME_H
#define VMM_BASE_POLL_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define POLL_TIME_FIRST_NS 4000u     /* the shortest time worth trying */
#define POLL_TIME_REST_NS  50000000u /* without looking, after the CPU was taken away */

struct poll_time {
    uint64_t max_ns; /* never longer than this; 0: never at all */
    uint64_t ns;     /* for the next wait */
    uint64_t rest_until_ns;
};

/** poll_time_allowed() - for how long to look, in a wait that begins at @now_ns. */
uint64_t poll_time_allowed(const struct poll_time *pt, uint64_t now_ns);

/** poll_time_slept() - a wait of @waited_ns, looking and sleeping together, is over. */
void poll_time_slept(struct poll_time *pt, uint64_t waited_ns);

/** poll_time_looked() - @looked_ns of looking ended at @now_ns; it found something if @found, else
 *  a sleep follows. */
void poll_time_looked(struct poll_time *pt, uint64_t now_ns, uint64_t looked_ns, bool found);

#endif
