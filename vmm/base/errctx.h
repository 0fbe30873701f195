/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sentence about what failed, in a caller-owned object of fixed size.
 *
 * A function that can fail returns 0 or more on success and a negative errno on failure, and
 * takes a struct errctx as its last parameter. It never allocates, so it works when memory is
 * what ran out. The message is built outwards: the place that noticed the failure sets it, and
 * each folder on the way up may put what it alone knows in front. Only vmm/cli prints it.
 */
#ifndef VMM_BASE_ERRCTX_H
#define VMM_BASE_ERRCTX_H

enum { ERRCTX_MSG_MAX = 512 };

struct errctx {
    int code; /* positive errno of the innermost failure; 0 while nothing failed */
    char msg[ERRCTX_MSG_MAX];
};

/**
 * errctx_set() - record a failure.
 * @ec:   receives the sentence; may be NULL.
 * @code: positive errno.
 * @fmt:  the sentence, printf style, without a newline and without the errno's own text.
 *
 * Return: -@code, so that "return errctx_set(...)" reads well.
 */
int errctx_set(struct errctx *ec, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** errctx_set_os() - as errctx_set(), followed by ": " and the system's text for @code. For
 *  failed system calls only; a rejected input gets a sentence of its own. */
int errctx_set_os(struct errctx *ec, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * errctx_wrap() - put a phrase and ": " in front of the recorded sentence.
 *
 * Return: @r unchanged (the negative errno being passed on).
 */
int errctx_wrap(struct errctx *ec, int r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
