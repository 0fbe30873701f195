/* SPDX-License-Identifier: Apache-2.0 */
/* See balance_say.h. */
#include "vmm/machine/balance_say.h"

#include <stdio.h>

#include "vmm/base/units.h"

static double in_cpus(int64_t cost)
{
    return (double)cost / BALANCE_CPU;
}

const char *balance_say(const struct balance_decision *d, const uint32_t *hosts, char *buf,
                        size_t size)
{
    const struct balance_step *s = &d->step;
    char bytes[32];
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t k = 0; k < s->n && len < size; k++) {
        const uint32_t from = hosts[s->from[k]], to = hosts[s->to[k]];
        const char *before = k > 0 ? ", " : "";

        if (from == to)
            len += (size_t)snprintf(buf + len, size - len,
                                    "%sall memory of virtual node %u to host node %u", before,
                                    s->vnode[k], to);
        else
            len += (size_t)snprintf(buf + len, size - len,
                                    "%svirtual node %u from host node %u to %u", before,
                                    s->vnode[k], from, to);
    }
    if (len < size)
        (void)snprintf(buf + len, size - len, " (%s in all): gains %.2f CPUs, %.2f needed",
                       units_format_human(d->bytes, bytes, sizeof(bytes)), in_cpus(d->predicted),
                       in_cpus(d->threshold));
    return buf;
}

const char *balance_say_outcome(const struct balance_decision *d, char *buf, size_t size)
{
    switch (d->outcome) {
    case BALANCE_DONE:
        (void)snprintf(buf, size, "gained %.2f CPUs of %.2f expected", in_cpus(d->achieved),
                       in_cpus(d->predicted));
        break;
    case BALANCE_NOT_DONE:
        (void)snprintf(buf, size, "did not arrive");
        break;
    case BALANCE_WAITING:
        (void)snprintf(buf, size, "not known yet");
        break;
    }
    return buf;
}

json_t *balance_decision_json(const struct balance_decision *d, const uint32_t *hosts)
{
    static const char *const outcomes[] = { [BALANCE_WAITING] = "waiting",
                                            [BALANCE_DONE] = "done",
                                            [BALANCE_NOT_DONE] = "not done" };
    const struct balance_step *s = &d->step;
    json_t *moves = json_array();

    for (uint32_t k = 0; k < s->n; k++)
        (void)json_array_append_new(moves, json_pack("{s:i, s:i, s:i}", "vnode", (int)s->vnode[k],
                                                     "from", (int)hosts[s->from[k]], "to",
                                                     (int)hosts[s->to[k]]));
    return json_pack("{s:I, s:o, s:I, s:f, s:f, s:i, s:s, s:o}", "time", (json_int_t)d->time_ns,
                     "moves", moves, "bytes", (json_int_t)d->bytes, "predicted",
                     in_cpus(d->predicted), "threshold", in_cpus(d->threshold), "ping_pong",
                     (int)d->ping_pong, "outcome", outcomes[d->outcome], "achieved",
                     d->outcome == BALANCE_DONE ? json_real(in_cpus(d->achieved)) : json_null());
}
