/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of test images and their manifests (docs/suite.md): found, run several at a time as
 * machines in processes of their own, judged. Main thread.
 */
#ifndef VMM_SUITE_SUITE_H
#define VMM_SUITE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum { SUITE_CODE_MAX = 91, SUITE_TIMEOUT_MAX_S = 86400, SUITE_TEXT_MAX = 64 * 1024 };

enum suite_end {
    SUITE_END_CODE, /* a value at the debug-exit port */
    SUITE_END_POWER_OFF,
    SUITE_END_RESET,
    SUITE_END_TIMEOUT, /* ours */
    SUITE_END_BROKEN,  /* the machine's, or its process's */
};

/* One test; everything is owned. */
struct suite_test {
    char *name;
    char *image;  /* its file's name in the folder */
    char *config; /* JSON for --config: the manifest without what is said below; "" without one */
    char *env;    /* lines KEY=VALUE; NULL: none */
    char *skip;   /* why it is not to run; NULL: it is */
    bool says_on_reset; /* the manifest decides what a reset does */
    uint32_t timeout_s; /* 0: not said */
    enum suite_end expect;
    uint32_t code; /* that is expected, for SUITE_END_CODE */
};

struct suite {
    struct suite_test *tests; /* by name */
    size_t n;
};

enum { SUITE_HEAD = 64 };

/* What a test image is on this machine. */
struct suite_kind {
    const char *name; /* "ELF file" */
    /* Does a file hold one that begins with @head? @len: SUITE_HEAD, or all of a shorter file. */
    bool (*is_image)(const void *head, size_t len);
};

/**
 * suite_find() - all tests of folder @dir, whose images are of @kind.
 * Return: 0 (there may be none); -EINVAL with a sentence that names the manifest; -ENOMEM; the
 * errno of reading. Release with suite_fini().
 */
int suite_find(const char *dir, const struct suite_kind *kind, struct suite *ret_suite,
               struct errctx *ec);
void suite_fini(struct suite *suite);

/** suite_manifest_read() - the manifest in @text, into @test, whose name is set. @ret_kernel: its
 * image, to free(), or NULL. Pure. Return: 0, -EINVAL, -ENOMEM; @test is to be released in any
 * case. */
int suite_manifest_read(const char *text, size_t len, struct suite_test *test, char **ret_kernel,
                        struct errctx *ec);
void suite_test_fini(struct suite_test *test);

/* What came of a test. */
struct suite_result {
    bool done; /* else it was never run to its end */
    enum suite_end end;
    uint32_t code; /* for SUITE_END_CODE */
    int status;    /* of the process: of exit, or 128 and the signal */
    double seconds;
    uint32_t limit_s; /* its time limit */
    bool passed;
    char why[160]; /* a sentence where it did not pass */
    char *out,
        *err; /* the last SUITE_TEXT_MAX bytes of the guest's words and of numavisor's; owned */
};

void suite_result_fini(struct suite_result *result);

/* What `numavisor run` ends with (numavisor(1), EXIT STATUS). */
enum suite_status {
    SUITE_STATUS_POWER_OFF = 0,
    SUITE_STATUS_RESET = 3,
    SUITE_STATUS_CODE = 32,   /* and the value, up to SUITE_CODE_MAX ... */
    SUITE_STATUS_LARGE = 124, /* ... or this */
};

/** suite_judge() - fill @result->end, ->code, ->passed and ->why from how the process ended.
 * @status: as waitpid() has it; @late: its time limit was over. Pure. */
void suite_judge(const struct suite_test *test, int status, bool late, struct suite_result *result);

struct suite_run {
    const char *program; /* numavisor */
    const char *dir;     /* where the images are */
    unsigned jobs;       /* at a time, at least 1 */
    uint32_t timeout_s;  /* of tests that say none */
    /* A test ended, in the order of their ends. */
    void (*ended)(void *ctx, size_t index);
    /* Tests began or ended; @running of them run. May be NULL. */
    void (*progress)(void *ctx, size_t n_done, size_t running);
    void *ctx;
};

/**
 * suite_run() - run every test of @suite that is not to be skipped.
 * @results: one per test, zeroed; filled as they end.
 *
 * SIGINT, SIGTERM and SIGHUP must be blocked; one of them ends what runs.
 * Return: 0; -EINTR after a signal; -ENOMEM or the errno of a call.
 */
int suite_run(const struct suite *suite, const struct suite_run *run, struct suite_result *results,
              struct errctx *ec);

#endif
