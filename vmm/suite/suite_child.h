/* SPDX-License-Identifier: Apache-2.0 */
/* The process of one test: `numavisor run` with what its manifest says. Main thread. */
#ifndef VMM_SUITE_SUITE_CHILD_H
#define VMM_SUITE_SUITE_CHILD_H

#include <sys/types.h>

#include "vmm/suite/suite.h"

struct suite_child {
    pid_t pid;
    int pidfd;
    int out_fd, err_fd; /* what it says; they do not block; -1 when closed by the caller */
};

/**
 * suite_child_start() - start @program for @test in folder @dir.
 *
 * It dies with us, has a process group of its own, no input, no blocked signals. @index makes its
 * machine's name one of its own.
 * Return: 0, -ENOMEM or the errno of a call. Release with suite_child_close() when it was waited
 * for.
 */
int suite_child_start(const struct suite_test *test, const char *program, const char *dir,
                      size_t index, struct suite_child *ret_child, struct errctx *ec);
void suite_child_close(struct suite_child *child);

#endif
