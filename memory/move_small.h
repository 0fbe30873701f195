/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving pages that are named one by one: the small ones of an extent, or one page of a pool. The
 * part of move_extent.h that knows how small pages are taken from the guest and given back.
 *
 * One thread's. Private to memory/.
 */
#ifndef MEMORY_MOVE_SMALL_H
#define MEMORY_MOVE_SMALL_H

#include <stddef.h>

#include "memory/move_extent.h"

/** move_small() - move the extent's small pages that are there to @to, whoever uses them.
 *  @task: its tally receives what became of them. Return: as move_extents(). */
int move_small(struct move_glass *g, struct move_task *task, struct hnode_id to, struct errctx *ec);

/** move_listed() - move the @n mapped pages in ->page, each of @page_bytes; the list is used up.
 *  Return: as move_extents(). */
int move_listed(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
                struct move_tally *t, struct errctx *ec);

/** move_judge() - add to @t what became of the @n pages in ->page, each of @page_bytes.
 *  Return: 0 or the errno of move_pages. */
int move_judge(struct move_glass *g, size_t n, size_t page_bytes, struct hnode_id to,
               struct move_tally *t, struct errctx *ec);

#endif
