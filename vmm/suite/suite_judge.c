/* SPDX-License-Identifier: Apache-2.0 */
/* What an end means. See suite.h. */
#include <stdio.h>
#include <sys/wait.h>

#include "vmm/suite/suite.h"

static void classify(int status, bool late, struct suite_result *r)
{
    r->end = SUITE_END_BROKEN;
    r->code = 0;
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (late)
        r->end = SUITE_END_TIMEOUT;
    else if (!WIFEXITED(status))
        return;
    else if (r->status == SUITE_STATUS_POWER_OFF)
        r->end = SUITE_END_POWER_OFF;
    else if (r->status == SUITE_STATUS_RESET)
        r->end = SUITE_END_RESET;
    else if (r->status >= SUITE_STATUS_CODE && r->status <= SUITE_STATUS_LARGE) {
        r->end = SUITE_END_CODE;
        r->code = (uint32_t)r->status - SUITE_STATUS_CODE; /* the last one: more than that */
    }
}

static const char *name_of(enum suite_end end, uint32_t code, char *buf, size_t size)
{
    if (end == SUITE_END_POWER_OFF)
        return "by switching itself off";
    if (end == SUITE_END_RESET)
        return "by a reset";
    if (code > SUITE_CODE_MAX)
        (void)snprintf(buf, size, "with a code above %d", SUITE_CODE_MAX);
    else
        (void)snprintf(buf, size, "with code %u", code);
    return buf;
}

static void explain(const struct suite_test *t, struct suite_result *r)
{
    char was[48], wanted[48];

    switch (r->end) {
    case SUITE_END_TIMEOUT:
        (void)snprintf(r->why, sizeof(r->why), "its time was over after %u seconds", r->limit_s);
        break;
    case SUITE_END_BROKEN:
        (void)snprintf(r->why, sizeof(r->why), "the machine did not start or go on (%s %d)",
                       r->status > 128 ? "signal" : "status",
                       r->status > 128 ? r->status - 128 : r->status);
        break;
    default:
        (void)snprintf(r->why, sizeof(r->why), "the guest ended %s, not %s",
                       name_of(r->end, r->code, was, sizeof(was)),
                       name_of(t->expect, t->code, wanted, sizeof(wanted)));
    }
}

void suite_judge(const struct suite_test *t, int status, bool late, struct suite_result *r)
{
    classify(status, late, r);
    r->done = true;
    r->passed = r->end == t->expect && (r->end != SUITE_END_CODE || r->code == t->code);
    r->why[0] = '\0';
    if (!r->passed)
        explain(t, r);
}
