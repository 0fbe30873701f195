/* SPDX-License-Identifier: Apache-2.0 */
/* The last bytes of a stream that may be endless. One thread. */
#ifndef VMM_SUITE_SUITE_TAIL_H
#define VMM_SUITE_SUITE_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct suite_tail {
    char *buf; /* SUITE_TEXT_MAX bytes; NULL until something came */
    uint64_t total;
};

/** suite_tail_read() - all that can be read of @fd, which does not block, now. Return: false at its
 * end, or when there is no memory to keep anything. */
bool suite_tail_read(struct suite_tail *tail, int fd);

/** suite_tail_text() - what is kept, as text of the caller's: bytes that are zero are '?', and
 * where it does not begin at the beginning it begins with a line. Empties @tail. NULL without
 * memory. */
char *suite_tail_text(struct suite_tail *tail);

#endif
