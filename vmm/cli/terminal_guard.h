/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small process that gives the terminal its modes back when ours died without doing so: killed,
 * crashed, or ended by the system call filter. It waits on a pipe whose other end only we hold,
 * so our end, of whatever kind, wakes it; it then restores the modes and ends too.
 */
#ifndef VMM_CLI_TERMINAL_GUARD_H
#define VMM_CLI_TERMINAL_GUARD_H

#include <termios.h>

#include "vmm/base/errctx.h"

/** terminal_guard_start() - before any thread is made. @ret_fd: our end of the pipe, close-on-exec.
 *  Return: 0 or the errno of pipe or fork. */
int terminal_guard_start(int tty_fd, const struct termios *saved, int *ret_fd, struct errctx *ec);

/** terminal_guard_dismiss() - the modes are restored: the guard ends without touching them.
 *  Closes @fd. */
void terminal_guard_dismiss(int fd);

#endif
