/* SPDX-License-Identifier: Apache-2.0 */
/* lab --expect. See lab_job.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/cli/facts_expect.h"
#include "vmm/cli/lab_job.h"

int lab_expect_plan(struct lab_job *job, struct errctx *ec)
{
    const char *what = cli_args_get(job->args, "expect");
    CLEANUP_FREE char *text = NULL;
    int r;

    if (what == NULL || strcmp(what, "plan") != 0)
        return 0;
    r = facts_expect_write(&job->args->config, true, &text, ec);
    return r < 0 ? r : facts_parse(text, &job->expected, ec);
}

static void differ(struct lab_verdict *v, int status, const char *text, const char *more)
{
    v->grade = LAB_FAILED;
    v->status = status;
    v->signal = 0;
    (void)snprintf(v->text, sizeof(v->text), "%s%.400s", text, more);
    memcpy(v->reason, v->text, sizeof(v->reason));
}

void lab_expect_judge(const struct lab_job *job, const struct lab_end *end,
                      struct lab_verdict *verdict)
{
    CLEANUP_FREE char *text = calloc(1, LAB_FACTS_MAX + 1);
    struct facts seen;
    struct errctx ec = { 0 };
    char number[64];
    size_t n;

    if (job->req.facts_fd < 0 || verdict->grade == LAB_BROKEN || end->kind != LAB_END_RESULT)
        return; /* nobody was asked, or the guest did not come to its end */
    if (text == NULL || end->facts_error != 0 ||
        pread(job->req.facts_fd, text, LAB_FACTS_MAX, 0) < 0) {
        differ(verdict, CLI_LAB_GUEST, "what the guest sees is more than there is room for", "");
    } else if (facts_parse(text, &seen, &ec) < 0) {
        differ(verdict, CLI_LAB_GUEST, "what the guest sees makes no sense: ", ec.msg);
    } else {
        n = facts_expect_tell(&job->expected, &seen, NULL);
        (void)snprintf(number, sizeof(number), "%zu of %zu facts", n, job->expected.n);
        if (n > 0)
            differ(verdict, CLI_LAB_DIFFERS, "the guest sees another machine than expected, in ",
                   number);
        facts_fini(&seen);
    }
}
