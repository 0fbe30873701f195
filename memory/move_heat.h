/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which extents of guest memory are in use right now, found without counters of the hardware: take a
 * sample out of our page table (MADV_DONTNEED of a shared mapping: content stays, KVM's tables follow),
 * wait, and see in /proc/self/pagemap what was mapped again because somebody touched it.
 *
 * A huge page is a sample of its own, since a part of it would cost the whole mapping; of small pages
 * a window is taken, another one each round, with one call, which is one flush of remote TLBs. Pages of
 * a pool are left alone: whether they are there is only known from our page table.
 */
#ifndef MEMORY_MOVE_HEAT_H
#define MEMORY_MOVE_HEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/move_extent.h"

/** move_heat_look() - what the extent at @off is made of; NONE where nothing is there, or nothing can
 *  be learned. Once for all rounds: a kind that is wrong by then costs accuracy only. */
enum move_sample move_heat_look(struct move_glass *glass, const struct backing *b, size_t off);

/** move_heat_zap() - take a sample of the extent at @off out of our page table; move_extent() and
 *  move_extent_map() put it back. Return: whether one was taken. */
bool move_heat_zap(const struct backing *b, size_t off, enum move_sample sample, unsigned round);

/** move_heat_is_warm() - was the sample of @round touched since? */
bool move_heat_is_warm(struct move_glass *glass, const struct backing *b, size_t off,
                       enum move_sample sample, unsigned round);

#endif
