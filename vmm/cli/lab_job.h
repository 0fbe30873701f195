/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What "lab" is made of: cmd_lab.c runs the machine, lab_options.c reads what was asked for,
 * lab_tell.c says how it ended, lab_junit.c says so to a file, lab_expect.c holds what the guest saw
 * against what it should, lab_script.c has events, which lab_director.c carries out, lab_emulated.c
 * has all of it done on an emulated host. For them and their tests only. Main thread.
 */
#ifndef VMM_CLI_LAB_JOB_H
#define VMM_CLI_LAB_JOB_H

#include <limits.h>
#include <stdio.h>

#include "vmm/cli/cli.h"
#include "vmm/cli/lab_director.h"
#include "vmm/lab/lab.h"
#include "vmm/lab/lab_kernel.h"
#include "vmm/topology/facts.h"

enum { LAB_FACTS_MAX = 8 << 20 };

/* Everything that the lab allocates; what is in it is owned. */
struct lab_job {
    struct cli_args *args;
    struct lab_kernel kernel;
    struct lab_request req;
    char *shares[LAB_SHARES_MAX];
    char **env;
    char folder[PATH_MAX];
    struct facts expected; /* of --expect */
    struct lab_events events; /* of --at and --events; what follows is there when there are any */
    struct lab_script script;
    struct facts_view *planned;
    struct lab_record *records; /* one for each, when all is over */
    bool is_inside; /* this is the emulated host */
};

enum lab_grade {
    LAB_PASSED,
    LAB_FAILED, /* the command's doing */
    LAB_BROKEN, /* there was no command, or it had no chance */
};

/* What came of it. */
struct lab_verdict {
    enum lab_grade grade;
    int status;       /* to end with ... */
    int signal;       /* ... or 0, or what ends the command, and us */
    char text[512];   /* a sentence for the user; "": the status says it all */
    char reason[512]; /* why it did not pass; "" when it did */
};

/** lab_options_take() - fill @job from its ->args. Return: 0; -EINVAL, -E2BIG, -ERANGE, -ENOMEM,
 *  -ENOTDIR or the errno of a folder, the sentence naming the option. */
int lab_options_take(struct lab_job *job, struct errctx *ec);

/** lab_emulated_wanted() - has it to run on an emulated host? Where that was not asked for, @ec is
 *  why. Return: 0; -ENODEV with a sentence (a host that is emulated itself cannot run it); or as
 *  host_source_here(). */
int lab_emulated_wanted(const struct lab_job *job, bool *ret_wanted, struct errctx *ec);

/** lab_emulated_run() - become that. Returns only with -EINVAL for what a lab there cannot have, or
 *  as lab_emulate_find() and lab_emulate(). */
int lab_emulated_run(struct lab_job *job, struct errctx *ec);

/** lab_expect_plan() - what --expect plan means, once the host is known. Return: 0 or as
 *  facts_expect_write(). */
int lab_expect_plan(struct lab_job *job, struct errctx *ec);

/** lab_expect_judge() - hold what the guest said against what was expected, tell each difference,
 *  and change the verdict where there is one. Does nothing without --expect. */
void lab_expect_judge(const struct lab_job *job, const struct lab_end *end,
                      struct lab_verdict *verdict);

/** lab_script_take() - --at and --events. Return: 0; -EINVAL, -ERANGE, -E2BIG, -ENOMEM or the errno
 *  of reading. lab_script_fini() releases what it made, also after a failure. */
int lab_script_take(struct lab_job *job, struct errctx *ec);
void lab_script_fini(struct lab_job *job);

/** lab_script_check() - refuse events that the planned machine cannot have; gives the machine a name
 *  to be asked by. @emulated: what this host cannot have may be had on the emulated one, so where
 *  nothing can be planned here, the lab there is the one to refuse.
 *  Return: 0; -ENOENT, -ENODEV, -ERANGE, or an errno of planning. */
int lab_script_check(struct lab_job *job, bool emulated, struct errctx *ec);

/** lab_script_judge() - read what came of each, tell what was not reached, and change the verdict
 *  when one is not done. */
void lab_script_judge(struct lab_job *job, const struct lab_end *end, struct lab_verdict *verdict);

/** lab_options_fini() - of what it allocated, also after a failure. */
void lab_options_fini(struct lab_job *job);

/** lab_judge() - what an end means. @end: its console is taken apart. */
void lab_judge(const struct lab_job *job, struct lab_end *end, struct lab_verdict *ret_verdict);

/** lab_tell() - to the user. Returns the status to end with; does not return where the command, or
 *  the lab, was ended by a signal: this process is then, too. */
int lab_tell(const struct lab_verdict *verdict);

/** lab_junit_begin() - what @out is to say in case nobody comes to write the end; nothing where that
 *  could not be replaced then. */
void lab_junit_begin(FILE *out, const struct lab_job *job);

/** lab_junit_write() - one suite of one test as JUnit's XML, the form that CI systems read;
 *  in place of what is there.
 *  Return: 0, or -errno of writing. */
int lab_junit_write(FILE *out, const struct lab_job *job, const struct lab_verdict *verdict,
                    double seconds);

#endif
