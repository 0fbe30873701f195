/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small text files of the kernel's, below a movable root: "" for this machine, a folder for an
 * archived tree of /sys and /proc. A file that is missing, unreadable or not what was expected is
 * "not there": most of these files exist on some machines only. Any thread.
 */
#ifndef VMM_BASE_KERNEL_FILE_H
#define VMM_BASE_KERNEL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/idset.h"

enum { KERNEL_FILE_PATH_MAX = 1024 };

/** kernel_file_path() - @root and the formatted rest in @buf. False when it does not fit. */
bool kernel_file_path(char buf[static KERNEL_FILE_PATH_MAX], const char *root, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** kernel_file_text() - the file's text, at most @size - 1 bytes, without the last new line.
 *  False, and @buf untouched, when it is not there. */
bool kernel_file_text(char *buf, size_t size, const char *root, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** kernel_file_choice() - the word in brackets of a file that lists what can be chosen; "" where it
 *  is not there or too long. */
void kernel_file_choice(char *buf, size_t size, const char *root, const char *path);

/** kernel_file_u64() - a decimal number that is all the file says. */
bool kernel_file_u64(uint64_t *ret_v, const char *root, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** kernel_file_set() - a list such as "0-3,8"; an empty file is the empty set. */
bool kernel_file_set(struct idset *ret_set, const char *root, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
