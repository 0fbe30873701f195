/* SPDX-License-Identifier: Apache-2.0 */
/* One command line in a process of its own: what it prints and the status it ends with. */
#ifndef VMM_CLI_TEST_CLI_FIXTURE_H
#define VMM_CLI_TEST_CLI_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/cli/cli.h"

enum { OUTPUT_MAX = 1 << 20, MAX_WORDS = 48 };

struct outcome {
    int status;
    char *out, *err; /* freed by outcome_fini() */
};

static inline char *read_back(int fd)
{
    char *text = calloc(1, OUTPUT_MAX);

    assert_non_null(text);
    assert_true(pread(fd, text, OUTPUT_MAX - 1, 0) >= 0);
    close(fd);
    return text;
}

static inline int scratch(void)
{
    int fd = memfd_create("output", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Run "plan --cpus 2" in a process of its own; "@" is a space within a word. */
static inline struct outcome run(const char *words)
{
    char *copy = strdup(words), *rest = NULL, *argv[MAX_WORDS] = { NULL };
    static char program[] = "numavisor";
    int out = scratch(), err = scratch(), argc = 1, status;
    pid_t pid;

    argv[0] = program;
    for (char *w = strtok_r(copy, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        for (char *at = strchr(w, '@'); at != NULL; at = strchr(at, '@'))
            *at = ' ';
        assert_true(argc < MAX_WORDS - 1);
        argv[argc++] = w;
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
            _exit(99);
        status = cli_main(argc, argv);
        (void)fflush(NULL);
        _exit(status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    free(copy);
    return (struct outcome){ WEXITSTATUS(status), read_back(out), read_back(err) };
}

static inline void outcome_fini(struct outcome *o)
{
    free(o->out);
    free(o->err);
}

#endif
