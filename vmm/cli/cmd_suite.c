/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `numavisor suite DIR`: run every test image of a folder, tell in TAP, and in JUnit's XML if
 * asked. See docs/suite.md.
 */
#include <errno.h>
#include <fnmatch.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/suite_tell.h"
#include "vmm/config/config_json.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_config.h"
#include "vmm/suite/suite.h"

_Static_assert((int)SUITE_STATUS_POWER_OFF == (int)CLI_OK, "what run ends with");
_Static_assert((int)SUITE_STATUS_RESET == (int)CLI_GUEST_RESET, "what run ends with");
_Static_assert((int)SUITE_STATUS_CODE == (int)CLI_GUEST_CODE, "what run ends with");
_Static_assert((int)SUITE_STATUS_LARGE == (int)CLI_GUEST_CODE_LARGE, "what run ends with");
_Static_assert((int)SUITE_CODE_MAX == (int)CLI_GUEST_CODE_MAX, "what run ends with");

enum { JOBS_MAX = 256 };

/* A machine is described: is it one? So that bad manifests are told before anything starts. */
static int check_machine(const struct suite_test *t, struct errctx *ec)
{
    struct machine_config config;
    struct config_input in = { .config = &config };
    char any[] = "";
    int r = 0;

    config_init(&config);
    if (t->config[0] != '\0')
        r = config_json_read_text(&in, t->config, strlen(t->config), ec);
    if (r == 0)
        r = config_input_finish(&in, ec);
    if (r == 0) {
        config.kernel = any;
        r = config_check(&config, true, ec);
        config.kernel = NULL;
    }
    if (r == 0)
        r = machine_config_check(&config, ec);
    config_input_fini(&in);
    config_fini(&config);
    return r < 0 ? errctx_wrap(ec, r, "%s.json", t->name) : 0;
}

static void drop_test(struct suite *s, size_t i)
{
    suite_test_fini(&s->tests[i]);
    memmove(&s->tests[i], &s->tests[i + 1], (s->n - i - 1) * sizeof(*s->tests));
    s->n--;
}

/* Those that were asked for, all of them sound. */
static int find(const struct cli_args *args, struct suite *ret, struct errctx *ec)
{
    const char *only = cli_args_get(args, "only"), *dir = args->operands[0];
    const struct suite_kind kind = { machine_arch_image_kind(), machine_arch_is_image };
    struct suite s;
    int r = suite_find(dir, &kind, &s, ec);

    if (r < 0)
        return r;
    for (size_t i = s.n; only != NULL && i > 0; i--)
        if (fnmatch(only, s.tests[i - 1].name, 0) != 0)
            drop_test(&s, i - 1);
    for (size_t i = 0; r == 0 && i < s.n; i++)
        r = check_machine(&s.tests[i], ec);
    if (r == 0 && s.n == 0)
        r = only != NULL ? errctx_set(ec, ENOENT, "no test of %s is called %s", dir, only)
                         : errctx_set(ec, ENOENT, "there is no %s in %s", kind.name, dir);
    if (r < 0)
        suite_fini(&s);
    else
        *ret = s;
    return r;
}

/* A number from 1 to @most. */
static int read_number(const struct cli_args *args, const char *name, unsigned long most,
                       unsigned long *ret, struct errctx *ec)
{
    const char *text = cli_args_get(args, name);
    char *end;
    unsigned long v;

    if (text == NULL)
        return 0;
    errno = 0;
    v = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < 1 || v > most)
        return errctx_set(ec, EINVAL, "--%s: 1 to %lu is wanted, not \"%.40s\"", name, most, text);
    *ret = v;
    return 0;
}

static unsigned long cpus_here(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 && n <= JOBS_MAX ? (unsigned long)n : 1;
}

static void block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, children would end unseen */
}

static int go(const struct cli_args *args, const struct suite *suite, struct suite_tell *tell,
              struct errctx *ec)
{
    unsigned long jobs = cpus_here(), timeout_s = 0;
    struct suite_run run = { .program = "/proc/self/exe",
                             .dir = args->operands[0],
                             .ended = suite_tell_ended,
                             .progress = isatty(STDERR_FILENO) ? suite_tell_progress : NULL,
                             .ctx = tell };
    int r = read_number(args, "jobs", JOBS_MAX, &jobs, ec);

    if (r == 0)
        r = read_number(args, "timeout", SUITE_TIMEOUT_MAX_S, &timeout_s, ec);
    if (r < 0)
        return r;
    run.jobs = (unsigned)jobs;
    run.timeout_s = (uint32_t)timeout_s;
    block_signals();
    suite_tell_begin(tell);
    return suite_run(suite, &run, tell->results, ec);
}

static int run_suite(struct cli_args *args)
{
    const char *path = cli_args_get(args, "junit");
    CLEANUP_FCLOSE FILE *junit = NULL;
    struct suite suite = { 0 };
    struct suite_tell tell = { .suite = &suite, .dir = args->operands[0] };
    struct errctx ec = { 0 };
    int r = find(args, &suite, &ec), status;

    if (r == 0 && path != NULL) {
        junit = fopen(path, "we");
        if (junit == NULL)
            r = errctx_set_os(&ec, errno, "--junit: %s", path);
    }
    tell.results = r == 0 ? calloc(suite.n, sizeof(*tell.results)) : NULL;
    if (r == 0 && tell.results == NULL)
        r = errctx_set(&ec, ENOMEM, "no memory for %zu results", suite.n);
    if (r == 0)
        r = go(args, &suite, &tell, &ec);
    status = tell.begun ? suite_tell_end(&tell, r < 0 ? ec.msg : NULL, junit) : CLI_USAGE;
    for (size_t i = 0; tell.results != NULL && i < suite.n; i++)
        suite_result_fini(&tell.results[i]);
    free(tell.results);
    suite_fini(&suite);
    if (r == -EINTR)
        return cli_flush(CLI_STOPPED);
    if (r < 0)
        return cli_fail(tell.begun || r == -ENOMEM ? CLI_FAILURE : CLI_USAGE, &ec);
    return cli_flush(status);
}

static const struct cli_option suite_options[] = {
    { .name = "jobs", .arg = "N", .help = "tests at a time; the CPUs that are online unless said" },
    { .name = "timeout", .arg = "SECONDS", .help = "for tests that say none, 90 unless said" },
    { .name = "only",
      .arg = "PATTERN",
      .help = "tests whose names match, as file names in a shell" },
    { .name = "junit", .arg = "FILE", .is_file = true, .help = "write JUnit's XML, too" },
    { 0 },
};

const struct cli_command cmd_suite = {
    .name = "suite",
    .summary = "Run every test image of a folder, several at a time, and tell in TAP.",
    .operands = "DIR",
    .min_operands = 1,
    .max_operands = 1,
    .options = suite_options,
    .run = run_suite,
};
