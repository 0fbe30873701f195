/* SPDX-License-Identifier: Apache-2.0 */
/* See fdt_out.h. */
#include "firmware/fdt_out.h"

#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { FIRST_BYTES = 16384, NAME_BYTES = 64 };

/* Another buffer, twice as large; libfdt moves the parts of the unfinished tree. */
static void grow(struct fdt_out *w)
{
    const size_t size = MIN(w->size * 2, w->limit);
    void *blob;

    if (size <= w->size) {
        w->error = E2BIG;
        return;
    }
    blob = malloc(size);
    if (blob == NULL || fdt_resize(w->blob, blob, (int)size) != 0) {
        free(blob);
        w->error = ENOMEM;
        return;
    }
    free(w->blob);
    w->blob = blob;
    w->size = size;
}

/* Should a step that ended with @result be tried again? */
static bool again(struct fdt_out *w, int result)
{
    if (result == 0)
        return false;
    if (result == -FDT_ERR_NOSPACE)
        grow(w);
    else
        w->error = EINVAL; /* nodes and properties in an impossible order: a bug of ours */
    return w->error == 0;
}

void fdt_out_start(struct fdt_out *w, size_t limit)
{
    *w = (struct fdt_out){ .size = MIN((size_t)FIRST_BYTES, limit), .limit = limit };
    w->blob = malloc(w->size);
    if (w->blob == NULL)
        w->error = ENOMEM;
    else if (fdt_create(w->blob, (int)w->size) != 0 || fdt_finish_reservemap(w->blob) != 0)
        w->error = E2BIG;
}

int fdt_out_finish(struct fdt_out *w, void **ret_blob, size_t *ret_len, struct errctx *ec)
{
    const int error = w->error;

    while (w->error == 0 && again(w, fdt_finish(w->blob)))
        ;
    if (w->error != 0) {
        free(w->blob);
        w->blob = NULL;
        if (w->error == E2BIG)
            return errctx_set(ec, E2BIG, "the device tree would exceed %zu KiB", w->limit / 1024);
        if (w->error == ENOMEM)
            return errctx_set(ec, ENOMEM, "no memory for the device tree");
        return errctx_set(ec, error != 0 ? error : w->error, "the device tree has no order");
    }
    *ret_len = fdt_totalsize(w->blob);
    *ret_blob = w->blob;
    w->blob = NULL;
    return 0;
}

void fdt_out_begin(struct fdt_out *w, const char *fmt, ...)
{
    char name[NAME_BYTES];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    while (w->error == 0 && again(w, fdt_begin_node(w->blob, name)))
        ;
}

void fdt_out_end(struct fdt_out *w)
{
    while (w->error == 0 && again(w, fdt_end_node(w->blob)))
        ;
}

static void put(struct fdt_out *w, const char *name, const void *bytes, size_t len)
{
    while (w->error == 0 && again(w, fdt_property(w->blob, name, bytes, (int)len)))
        ;
}

void fdt_out_flag(struct fdt_out *w, const char *name)
{
    put(w, name, "", 0);
}

void fdt_out_u32(struct fdt_out *w, const char *name, uint32_t v)
{
    const fdt32_t cell = cpu_to_fdt32(v);

    put(w, name, &cell, sizeof(cell));
}

void fdt_out_u64(struct fdt_out *w, const char *name, uint64_t v)
{
    const fdt64_t cells = cpu_to_fdt64(v);

    put(w, name, &cells, sizeof(cells));
}

void fdt_out_text(struct fdt_out *w, const char *name, const char *text)
{
    put(w, name, text, strlen(text) + 1);
}

void fdt_out_texts(struct fdt_out *w, const char *name, const char *texts, size_t len)
{
    put(w, name, texts, len);
}

void fdt_out_cells(struct fdt_out *w, const char *name, const uint32_t *cells, size_t n)
{
    fdt32_t *turned = malloc(n * sizeof(*turned) + 1);

    if (turned == NULL) {
        w->error = w->error != 0 ? w->error : ENOMEM;
        return;
    }
    for (size_t i = 0; i < n; i++)
        turned[i] = cpu_to_fdt32(cells[i]);
    put(w, name, turned, n * sizeof(*turned));
    free(turned);
}

void fdt_out_reg(struct fdt_out *w, uint64_t base, uint64_t len)
{
    const uint32_t cells[] = { (uint32_t)(base >> 32), (uint32_t)base, (uint32_t)(len >> 32),
                               (uint32_t)len };

    fdt_out_cells(w, "reg", cells, ARRAY_SIZE(cells));
}
