/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's end of the guest's console: what is typed, the escape key, signals.
 *
 * When the input is a terminal it is put into raw mode from terminal_start() to terminal_free()
 * (vmm/cli/guard.h is for the case that we die in between). Ctrl-A x leaves, Ctrl-A p presses
 * the power button, Ctrl-A h explains, Ctrl-A Ctrl-A is one Ctrl-A for the guest. When it is a
 * file or a pipe, its bytes go to the guest as they are, its end means nothing.
 *
 * Flow control: the guest takes what it can; the rest waits. A pipe is not read on until then; a
 * terminal is, so that the escape key works with a guest that reads nothing, and what exceeds
 * the buffer is lost.
 *
 * SIGINT, SIGTERM, SIGHUP and SIGQUIT leave; SIGTSTP gives the terminal back before the process
 * stops, SIGCONT takes it again. Everything on the loop's thread.
 */
#ifndef VMM_CLI_TERMINAL_H
#define VMM_CLI_TERMINAL_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

struct terminal_ops {
    /* Bytes for the guest; returns how many were taken. */
    size_t (*input)(void *ctx, const void *data, size_t len);
    void (*power)(void *ctx);
    void (*leave)(void *ctx, const char *why); /* "escape key", "SIGTERM" */
};

struct terminal;

/** terminal_block_signals() - before the process makes its first thread: the signals above reach
 *  the loop only. SIGPIPE and SIGCHLD are ignored from now on. Return: 0 or an errno. */
int terminal_block_signals(struct errctx *ec);

/** terminal_signal() - name of a signal that came since and would leave, when no loop runs that could
 *  serve it; NULL: none. After terminal_block_signals(). */
const char *terminal_signal(void);

/**
 * terminal_new() - remember the modes of @in_fd; nothing is changed yet.
 * @in_fd: -1: there is no input, only signals.
 * After terminal_block_signals(). Return: 0, -ENOMEM, or the errno of a call.
 */
int terminal_new(struct evloop *loop, int in_fd, const struct terminal_ops *ops, void *ctx,
                 struct terminal **ret_terminal, struct errctx *ec);

/** terminal_start() - raw mode, begin to read. Return: 0 or the errno of a call. */
int terminal_start(struct terminal *terminal, struct errctx *ec);

/** terminal_free() - restore the modes. NULL is allowed. */
void terminal_free(struct terminal *terminal);

#endif
