/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of guests that was written to files, for the programs that replay it. */
#ifndef GUEST_TESTS_BENCH_CAPTURED_H
#define GUEST_TESTS_BENCH_CAPTURED_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "memory/store/codec.h"

struct captured {
    const uint8_t *start; /* mapped, for reading */
    size_t n_pages;
};

static inline _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

/* CPU time of this thread. */
static inline double cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline struct captured captured_open(const char *path)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *p;

    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        die(path);
    (void)close(fd);
    return (struct captured){ p, (size_t)st.st_size / CODEC_PAGE };
}

static inline const uint8_t *captured_page(const struct captured *c, size_t i)
{
    return c->start + i * CODEC_PAGE;
}

static inline bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, CODEC_PAGE - 1) == 0;
}

/* Pages that are not zeroes. Reads all of them, so that whoever comes next finds them in memory. */
static inline size_t captured_used(const struct captured *c)
{
    size_t used = 0;

    for (size_t i = 0; i < c->n_pages; i++)
        used += !is_zero(captured_page(c, i));
    return used;
}

#endif
