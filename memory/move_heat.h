/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which extents of guest memory are in use right now, found without counters of the hardware: take
 * a sample out of our page table (MADV_DONTNEED of a shared mapping: content stays, KVM's tables
 * follow), wait, and see in /proc/self/pagemap what was mapped again because somebody touched it.
 *
 * A huge page is a sample of its own, since a part of it would cost the whole mapping; one that
 * nobody touched since is not taken out again. Of small pages a window is taken, another one each
 * round, with one call, which is one flush of remote TLBs. Pages of a pool are left alone: whether
 * they are there is only known from our page table.
 */
#ifndef MEMORY_MOVE_HEAT_H
#define MEMORY_MOVE_HEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/move_glass.h"

/** move_heat_zap() - take a sample of the extent at @off out of our page table. @kind: what it is
 *  made of, as it was looked at; wrong costs accuracy only. Moving the extent or
 *  move_glass_restore() puts it back. Return: whether one was taken. */
bool move_heat_zap(const struct backing *b, uint64_t off, enum move_sample kind, unsigned round);

/** move_heat_is_warm() - was the sample of @round touched since? */
bool move_heat_is_warm(struct move_glass *g, const struct backing *b, uint64_t off,
                       enum move_sample kind, unsigned round);

#endif
