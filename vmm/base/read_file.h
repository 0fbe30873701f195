/* SPDX-License-Identifier: Apache-2.0 */
/* A file's bytes, as many as are allowed. */
#ifndef VMM_BASE_READ_FILE_H
#define VMM_BASE_READ_FILE_H

#include <stddef.h>

#include "vmm/base/errctx.h"

/**
 * read_file() - all of @path, which may be a pipe; "-" is standard input.
 * @ret_text: to free(); a zero byte follows the last one.
 * Return: 0, -EFBIG (longer than @max bytes), -EISDIR, -ENOMEM, or the errno of opening or reading,
 * with a sentence that does not name the file.
 */
int read_file(const char *path, size_t max, char **ret_text, size_t *ret_len, struct errctx *ec);

#endif
