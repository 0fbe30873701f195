/* SPDX-License-Identifier: Apache-2.0 */
/* What a file server could do that was taken over: one that is a script, and tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/lab/lab_server.h"

struct fixture {
    char dir[32], served[64], other[64], program[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    FILE *script;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/nv-serve-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->served, sizeof(f->served), "%s/a, b", f->dir);
    (void)snprintf(f->other, sizeof(f->other), "%s/other", f->dir);
    (void)snprintf(f->program, sizeof(f->program), "%s/server", f->dir);
    assert_int_equal(mkdir(f->served, 0700), 0);
    script = fopen(f->program, "we");
    assert_non_null(script);
    (void)fprintf(script,
                  "#!/bin/sh\n"
                  "exec 5>&2 2>&-\n"
                  "at=${4#source=} at=${at%%%%,*}\n"
                  "echo x >$at/inside && echo +inside >&5\n"
                  "echo x >'%s' && echo +outside >&5\n"
                  "echo x >/dev/null && echo +device >&5\n"
                  "echo +end >&5\n",
                  f->other);
    assert_int_equal(fclose(script), 0);
    assert_int_equal(chmod(f->program, 0700), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char inside[80];
    int r;

    (void)snprintf(inside, sizeof(inside), "%s/inside", f->served);
    (void)unlink(inside);
    (void)unlink(f->program);
    (void)rmdir(f->served);
    r = rmdir(f->dir); /* there is no other */
    free(f);
    return r;
}

static void tries(struct fixture *f, bool writable, const char *want)
{
    const int log = memfd_create("log", MFD_CLOEXEC), sock = memfd_create("socket", MFD_CLOEXEC);
    const struct lab_server server = { .program = f->program,
                                       .folder = f->served,
                                       .writable = writable,
                                       .listen_fd = sock,
                                       .log_fd = log };
    struct errctx ec = { 0 };
    char said[256] = "";
    int status;
    pid_t pid;
    const int r = lab_server_start(&server, &pid, &ec);

    if (r == -EPERM || r == -ENOSPC) { /* as in many a container */
        (void)close(log);
        (void)close(sock);
        print_message("no namespaces here: %s\n", ec.msg);
        skip();
    }
    assert_int_equal(r, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(pread(log, said, sizeof(said) - 1, 0) > 0);
    assert_string_equal(said, want);
    (void)close(log);
    (void)close(sock);
}

static void one_that_may_write_does_so_in_its_folder_only(void **state)
{
    tries(*state, true, "+inside\n+end\n");
}

static void one_that_may_not_write_does_nowhere(void **state)
{
    tries(*state, false, "+end\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_may_write_does_so_in_its_folder_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_may_not_write_does_nowhere, setup, teardown),
    };
    return cmocka_run_group_tests_name("lab/server", tests, NULL, NULL);
}
