/* SPDX-License-Identifier: Apache-2.0 */
/* lab --at and --events: reading them, holding them against the plan, and what came of them. See
 * lab_job.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/base/units.h"
#include "vmm/cli/facts_expect.h"
#include "vmm/cli/lab_job.h"

static int take_file(struct lab_job *job, const char *path, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t len;
    int r = read_file(path, LAB_EVENTS_FILE_MAX, &text, &len, ec);

    if (r == 0 && strlen(text) != len)
        r = errctx_set(ec, EINVAL, "it is no text");
    if (r == 0)
        r = lab_events_parse(&job->events, text, ec);
    return r < 0 ? errctx_wrap(ec, r, "--events %.200s", path) : 0;
}

/* The records' file has room for them all, and for no more. */
static int make_records(struct lab_job *job, struct errctx *ec)
{
    const size_t bytes = job->events.n * sizeof(struct lab_record);

    job->records = calloc(job->events.n, sizeof(*job->records));
    job->planned = calloc(1, sizeof(*job->planned));
    job->script = (struct lab_script){ .events = &job->events, .planned = job->planned };
    job->script.records_fd = memfd_create("lab-events", MFD_CLOEXEC);
    if (job->records == NULL || job->planned == NULL || job->script.records_fd < 0 ||
        ftruncate(job->script.records_fd, (off_t)bytes) < 0)
        return errctx_set(ec, ENOMEM, "no memory for events");
    return 0;
}

int lab_script_take(struct lab_job *job, struct errctx *ec)
{
    const char *path = cli_args_get(job->args, "events");
    int r = path != NULL ? take_file(job, path, ec) : 0;

    for (size_t i = 0; r == 0 && i < job->args->n_many; i++) {
        const struct cli_many *m = &job->args->many[i];

        if (strcmp(m->name, "at") != 0)
            continue;
        r = lab_events_add(&job->events, m->value, ec);
        if (r < 0)
            r = errctx_wrap(ec, r, "--at \"%.80s\"", m->value);
    }
    return r == 0 && job->events.n > 0 ? make_records(job, ec) : r;
}

/* --- against the plan ------------------------------------------------------------------------- */

static int view_plan(struct lab_job *job, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    struct facts facts;
    int r = facts_expect_write(&job->args->config, true, &text, ec);

    if (r == 0)
        r = facts_parse(text, &facts, ec);
    if (r < 0)
        return r;
    r = facts_view_of(&facts, job->planned, ec);
    facts_fini(&facts);
    return r;
}

static bool comes_later(const struct guest_spec *spec, uint32_t cpu)
{
    for (size_t i = 0; i < spec->n_nodes; i++)
        if (idset_has(&spec->nodes[i].later_cpus, cpu))
            return true;
    return false;
}

/* Where CPUs are once they are there. */
static void view_later(const struct guest_spec *spec, struct facts_view *view)
{
    for (size_t i = 0; i < spec->n_nodes; i++)
        idset_or(&view->node[i].cpus, &spec->nodes[i].later_cpus);
}

static int check_event(const struct lab_job *job, const struct lab_event *e, struct errctx *ec)
{
    const struct guest_spec *spec = &job->args->config.spec;
    const uint64_t window = e->id < spec->n_nodes ? spec->nodes[e->id].hotplug_bytes : 0;
    char a[32], b[32];

    switch (e->kind) {
    case LAB_OFFLINE_CPU:
    case LAB_ONLINE_CPU:
        if (!idset_has(&job->planned->cpus, e->id) && !comes_later(spec, e->id))
            return errctx_set(ec, ENOENT, "the machine has no CPU %u", e->id);
        break;
    case LAB_HOTPLUG_CPU:
    case LAB_UNPLUG_CPU:
        if (!comes_later(spec, e->id))
            return errctx_set(ec, ENOENT, "CPU %u cannot be plugged (hotplug-cpus=)", e->id);
        break;
    case LAB_HOTPLUG_NODE:
    case LAB_UNPLUG_NODE:
        if (window == 0)
            return errctx_set(ec, ENODEV, "virtual node %u has no room for memory to be plugged in "
                              "(hotplug=)", e->id);
        if (e->bytes > window)
            return errctx_set(ec, ERANGE, "virtual node %u has room for %s, not for %s", e->id,
                              units_format_size(window, a, sizeof(a)),
                              units_format_size(e->bytes, b, sizeof(b)));
        break;
    case LAB_MOVE_VNODE:
        if (!idset_has(&job->planned->nodes, e->id))
            return errctx_set(ec, ENOENT, "the machine has no virtual node %u with CPUs or memory",
                              e->id);
        break;
    }
    return 0;
}

/* The director finds it by that. */
static int name_machine(struct lab_job *job, struct errctx *ec)
{
    struct machine_config *config = &job->args->config;

    if (config->name == NULL && asprintf(&config->name, "lab-%d", (int)getpid()) < 0) {
        config->name = NULL;
        return errctx_set(ec, ENOMEM, "no memory for the machine's name");
    }
    job->script.machine = config->name;
    return 0;
}

int lab_script_check(struct lab_job *job, bool emulated, struct errctx *ec)
{
    struct machine_config *config = &job->args->config;
    struct errctx here = { 0 };
    char text[LAB_EVENT_TEXT];
    int r = 0;

    job->script.events = &job->events;
    job->script.slow = config->n_slow > 0;
    if (job->script.slow)
        r = name_machine(job, ec);
    if (r < 0 || job->events.n == 0)
        return r;
    r = view_plan(job, &here);
    if (emulated && (r < 0 || config->spec.n_vnuma == GUEST_VNUMA_AUTO))
        return 0;
    if (r < 0)
        *ec = here;
    for (size_t i = 0; r == 0 && i < job->events.n; i++) {
        r = check_event(job, &job->events.list[i], ec);
        if (r < 0)
            r = errctx_wrap(ec, r, "event \"%s\"", lab_event_format(&job->events.list[i], text));
    }
    view_later(&config->spec, job->planned);
    return r < 0 ? r : name_machine(job, ec);
}

/* --- what came of them ------------------------------------------------------------------------ */

void lab_script_judge(struct lab_job *job, const struct lab_end *end, struct lab_verdict *verdict)
{
    size_t failed = 0;

    if (job->events.n == 0)
        return;
    for (size_t i = 0; i < job->events.n; i++) {
        struct lab_record *record = &job->records[i];

        if (pread(job->script.records_fd, record, sizeof(*record), (off_t)(i * sizeof(*record))) !=
            (ssize_t)sizeof(*record))
            *record = (struct lab_record){ .state = LAB_NOT_REACHED };
        record->text[sizeof(record->text) - 1] = '\0';
        failed += record->state != LAB_EVENT_DONE;
        if (record->state != LAB_NOT_REACHED)
            continue;
        (void)snprintf(record->text, sizeof(record->text), "not reached before the command ended");
        if (end->kind == LAB_END_RESULT && verdict->grade != LAB_BROKEN)
            lab_event_tell(&job->events.list[i], record);
    }
    if (failed == 0 || end->kind != LAB_END_RESULT || verdict->grade == LAB_BROKEN)
        return;
    verdict->grade = LAB_FAILED;
    verdict->status = CLI_LAB_EVENT;
    verdict->signal = 0;
    (void)snprintf(verdict->text, sizeof(verdict->text), "%zu of %zu events failed", failed,
                   job->events.n);
    memcpy(verdict->reason, verdict->text, sizeof(verdict->reason));
}

void lab_script_fini(struct lab_job *job)
{
    free(job->records);
    free(job->planned);
    if (job->script.records_fd >= 0)
        (void)close(job->script.records_fd);
}
