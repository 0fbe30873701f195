/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one page of 4 KiB of pageable guest memory, in one atomic word, and every move that
 * the word may make. No system calls: what must have happened to the page around a move is said
 * here, and done by pager_evict.c, pager_fault.c and guest memory's leases.
 *
 *               arm                keep                punch               emptied
 *   RESIDENT ---------> ARMED ---------> STORED ---------> PUNCHING ---------> EMPTY
 *      ^  ^               |                |                                     |
 *      |  +---- touch, ---+-- lease, ------+                                     | touch
 *      |         cancel                                                          v
 *      +---------------------------------- filled --------------------------- FILLING
 *      +---------------- forget --------------- LOST <----------- lose ----------+
 *
 *   RESIDENT  the memory file is the truth; a hole in it reads as zeroes (never touched)
 *   ARMED     as RESIDENT, and the page is being taken out of our page table: whoever wants it
 *             faults, and that fault makes it RESIDENT again (the eviction is cancelled)
 *   STORED    a copy is in the store, and nobody touched the page since it was taken out of the
 *             page table; the file still has it, so a touch still cancels
 *   PUNCHING  the hole is being made; a fault waits for its end
 *   EMPTY     the stored copy is the truth, the file has a hole. (Somebody else may have filled the
 *             hole with zeroes: that page is nothing.)
 *   FILLING   one thread brings the copy back
 *   LOST      the copy cannot be brought back, and there is no other: whoever wants it is told so
 *   CLOSED    the page was plugged out: it is no memory until it is plugged in again. Nobody keeps,
 *             fills, maps or pins it, so its hole stays one
 *
 * A word of 0 is RESIDENT without leases, so a table of zeroes is guest memory as the kernel gave
 * it. Each lease is a promise to the device that has it that the frame stays: a page with leases is
 * not armed. A lease may begin on a page that is away; it then keeps it after it came back.
 *
 * Any state but PUNCHING and FILLING becomes CLOSED by close, where there are no leases, and CLOSED
 * RESIDENT by open.
 *
 * A page that was given back for long has a mark, until it is touched itself: nobody fills its hole
 * along with a neighbour's.
 *
 * Bits: 0-2 state, 3 given back for long, 4-15 generation (counts armings, so that a copy of a word
 * that is compared later cannot be mistaken), 16-31 leases, 32-63 object in the store; of a page
 * that is LOST why.
 * Any thread; all moves are compare-and-swap.
 */
#ifndef MEMORY_PAGER_PAGE_WORD_H
#define MEMORY_PAGER_PAGE_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t page_word;

enum page_state {
    PAGE_RESIDENT,
    PAGE_ARMED,
    PAGE_STORED,
    PAGE_PUNCHING,
    PAGE_EMPTY,
    PAGE_FILLING,
    PAGE_LOST,
    PAGE_CLOSED,
    PAGE_STATES,
};

/* Leases that devices may have of one page at a time. A few more are left for fault threads. */
enum { PAGE_LEASES_MAX = 0xff00 };

enum page_touch {
    PAGE_TOUCH_MAP,  /* map the file's page, then page_touched() */
    PAGE_TOUCH_FILL, /* bring the object back, then page_filled() */
    PAGE_TOUCH_WAIT, /* somebody is at it and wakes those who wait */
    PAGE_TOUCH_LOST, /* let nobody have it */
    PAGE_TOUCH_NONE, /* it is no memory: wake who waits, whose access fails then */
};

enum page_state page_state(uint64_t word);
uint32_t page_object(uint64_t word);
uint32_t page_leases(uint64_t word);

/** page_arm() - RESIDENT without leases -> ARMED. Then take the page out of the page table.
 *  Return: false where it is neither. */
bool page_arm(page_word *word);

/** page_keep() - ARMED -> STORED, after @object was made from the page.
 *  Return: false: it was touched meanwhile, the copy may be old. */
bool page_keep(page_word *word, uint32_t object);

/** page_punch() - STORED -> PUNCHING; a hole may be made now. Return: false: it was touched. */
bool page_punch(page_word *word);

/** page_emptied() - PUNCHING -> EMPTY, after the hole was made; then wake who waits. */
void page_emptied(page_word *word);

/** page_cancel() - ARMED, STORED, or PUNCHING without a hole having been made -> RESIDENT; nothing
 *  happens in other states. Return: the object that the caller drops now, or 0. */
uint32_t page_cancel(page_word *word);

/**
 * page_touch() - what to do about a fault, whatever kind the kernel says it is.
 * MAP: RESIDENT, or ARMED or STORED, which becomes it. Until page_touched() the page is not armed.
 * FILL: EMPTY -> FILLING. WAIT: PUNCHING, FILLING. LOST: stays that. NONE: CLOSED.
 * @ret_object: MAP: to be dropped, or 0; FILL: what to bring back; WAIT, LOST, NONE: 0.
 */
enum page_touch page_touch(page_word *word, uint32_t *ret_object);
void page_touched(page_word *word);

/** page_fetch() - EMPTY -> FILLING before anybody asked for it. Return: what to bring back, or 0
 *  where it is anything else. */
uint32_t page_fetch(page_word *word);

/** page_unfetch() - FILLING -> EMPTY: it could not be brought back now. Then wake who waits. */
void page_unfetch(page_word *word);

/** page_filled() - FILLING -> RESIDENT, after the page was put into the file and mapped. */
void page_filled(page_word *word);

/** page_lose() - FILLING -> LOST: there is no copy of it any more, for the reason @why, which
 *  page_object() tells from now on. Then have accesses fail, and wake who waits. */
void page_lose(page_word *word, uint32_t why);

/**
 * page_lease() - one more lease; cancels an eviction that can be.
 * @ret_object: to be dropped, or 0.
 * Return: false when the page has too many, or is CLOSED.
 */
bool page_lease(page_word *word, uint32_t *ret_object);
void page_unlease(page_word *word);

/** page_pin() - a lease of a RESIDENT page that was not given back for long, so that it stays
 *  RESIDENT until page_unlease(); cancels nothing. Return: false when it is another, or has too
 *  many. */
bool page_pin(page_word *word);

/**
 * page_forget() - its content is not wanted any more: ARMED, STORED, EMPTY, LOST -> RESIDENT, and a
 * lease, or what is there still could be stored. Then the page is punched out of the file, which
 * makes it zero, and page_unlease(). CLOSED stays that. Where there are leases already, somebody is
 * at it who may fill its hole.
 * @for_long: mark it.
 * @ret_object: to be dropped, or 0. @ret_was: EMPTY, LOST, or any other that it was.
 * Return: false: somebody is at it for a moment, try again.
 */
bool page_forget(page_word *word, bool for_long, uint32_t *ret_object, enum page_state *ret_was);

/**
 * page_close() - the page is no memory any more: whatever it was -> CLOSED. Who touches it from now
 * on has to fail for another reason, before or after the fault. Then it is punched out of the file.
 * @ret_object, @ret_was: as of page_forget().
 * Return: false: somebody is at it for a moment, or has a lease; try again.
 */
bool page_close(page_word *word, uint32_t *ret_object, enum page_state *ret_was);

/** page_open() - CLOSED -> RESIDENT: the file's hole is memory, and zero. Nothing in other states. */
void page_open(page_word *word);

/** page_is_given() - given back for long, and not touched since. */
bool page_is_given(uint64_t word);

/** page_is_away() - its content is, or may be, in the store alone. */
bool page_is_away(uint64_t word);

/** page_reset() - whatever it was -> 0. While nobody else is at the page. Return: the object that
 *  the caller drops now, or 0. */
uint32_t page_reset(page_word *word);

#endif
