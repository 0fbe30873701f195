/* SPDX-License-Identifier: Apache-2.0 */
/* See run_nice.h and vmm/machine/machine_nice.h. */
#include "vmm/cli/run_nice.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/place.h"
#include "vmm/machine/machine_nice.h"

/* All machines that share the CPUs by nice values; the last one is ours. */
struct crowd {
    struct machine_use *uses; /* shallow */
    int *least, *nice;
    size_t n;
    bool blind; /* there are machines beside them that nice values do not reach */
};

static void free_crowd(struct crowd *c)
{
    free(c->uses);
    free(c->least);
    free(c->nice);
}

static int gather(const struct neighbours *others, const struct machine_use *own, struct crowd *ret,
                  struct errctx *ec)
{
    struct crowd c = { .uses = calloc(others->n + 1, sizeof(*c.uses)),
                       .least = calloc(others->n + 1, sizeof(*c.least)),
                       .nice = calloc(others->n + 1, sizeof(*c.nice)) };

    if (c.uses == NULL || c.least == NULL || c.nice == NULL) {
        free_crowd(&c);
        return errctx_set(ec, ENOMEM, "no memory for the nice values of machines");
    }
    c.blind = others->n_silent > 0;
    for (size_t i = 0; i < others->n; i++)
        if (others->uses[i].cgroup[0] == '\0' && process_mark_holds(&others->uses[i].process))
            c.uses[c.n++] = others->uses[i];
        else
            c.blind = true;
    c.uses[c.n++] = *own;
    *ret = c;
    return 0;
}

/* Return: is every machine where it should be? Who cannot be has a new least value. */
static bool set_all(struct crowd *c)
{
    bool all = true;

    for (size_t i = 0; i < c->n; i++) {
        const pid_t pid = c->uses[i].process.pid;
        int now;

        if (!process_mark_holds(&c->uses[i].process))
            continue; /* it has ended */
        if (place_set_nice(pid, c->nice[i]) < 0 && place_get_nice(pid, &now) == 0 &&
            now > c->nice[i]) {
            c->least[i] = now;
            all = false;
        }
    }
    return all;
}

int run_nice_set(const struct neighbours *others, const struct machine_use *own,
                 const struct host_topo *host, struct run_nice *ret_nice, struct errctx *ec)
{
    struct run_nice result = { .any = false };
    struct crowd c = { .n = 0 };
    int r = gather(others, own, &c, ec), holds = 0;
    bool done = false;

    if (r < 0)
        return r;
    for (size_t i = 0; i < c.n; i++)
        result.any = result.any || c.uses[i].reserve_milli > 0;
    /* Each turn but the last finds one more that cannot go down. */
    for (size_t i = 0; result.any && holds >= 0 && !done && i <= c.n; i++) {
        holds = machine_nice_values(host, c.uses, c.n, c.least, c.nice);
        done = holds >= 0 && set_all(&c);
    }
    result.holds = holds == 1 && done && !c.blind;
    result.own = c.nice[c.n - 1];
    free_crowd(&c);
    if (holds < 0)
        return errctx_set(ec, -holds, "no memory for the nice values of machines");
    *ret_nice = result;
    return 0;
}
