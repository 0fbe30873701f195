/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flattened device tree that grows, over libfdt's sequential writer.
 *
 * Failure is sticky, as in bytebuf.h: a tree is written as a straight list of nodes and properties
 * and asked once, at its end, whether it is whole. Numbers are turned to the tree's byte order
 * here. A value without threads; fdt_out_start() first, fdt_out_finish() last.
 */
#ifndef FIRMWARE_FDT_OUT_H
#define FIRMWARE_FDT_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct fdt_out {
    void *blob;
    size_t size;  /* of the buffer */
    size_t limit; /* of the tree, in bytes */
    int error;    /* 0, or a positive errno: nothing more is written */
};

/** fdt_out_start() - an empty tree that may grow up to @limit bytes. */
void fdt_out_start(struct fdt_out *w, size_t limit);

/** fdt_out_finish() - the tree's bytes; they are the caller's, to be released with free().
 *  Return: 0, -ENOMEM, or -E2BIG when the limit did not suffice. Results untouched on failure. */
int fdt_out_finish(struct fdt_out *w, void **ret_blob, size_t *ret_len, struct errctx *ec);

/** fdt_out_begin() / fdt_out_end() - a node; the root's name is "". */
void fdt_out_begin(struct fdt_out *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fdt_out_end(struct fdt_out *w);

/* Properties of the node that was begun last; before its first child. */
void fdt_out_flag(struct fdt_out *w, const char *name);
void fdt_out_u32(struct fdt_out *w, const char *name, uint32_t v);
void fdt_out_u64(struct fdt_out *w, const char *name, uint64_t v);
void fdt_out_text(struct fdt_out *w, const char *name, const char *text);

/** fdt_out_texts() - several, each with its zero: sizeof("a\0b") bytes of "a\0b". */
void fdt_out_texts(struct fdt_out *w, const char *name, const char *texts, size_t len);

/** fdt_out_cells() - @n numbers of 32 bits. */
void fdt_out_cells(struct fdt_out *w, const char *name, const uint32_t *cells, size_t n);

/** fdt_out_reg() - "reg" of one range, both numbers in two cells. */
void fdt_out_reg(struct fdt_out *w, uint64_t base, uint64_t len);

#endif
