/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world of one page (its word, page table entry, memory file, store, the kernel's queue of
 * faults) and actors in it, each a program of steps that are atomic in reality, too: one move of
 * the word, one system call, one access. The words are moved by the functions under test; the rest
 * is a model of what the kernel does.
 */
#ifndef MEMORY_PAGER_TEST_PAGE_WORLD_H
#define MEMORY_PAGER_TEST_PAGE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "memory/pager/page_word.h"

enum { GUESTS = 2, ACCESSES = 2, ROUNDS = 2, FETCHES = 2, OBJECTS = 6, NOBODY = 0xff };
enum actor {
    EVICTOR, FAULT, GUEST0, GUEST1, DEVICE, STRANGER, BALLOON, RESET, COLLAPSER, PLUGGER, FETCHER,
    ACTORS
};
enum { WAITERS = GUESTS + 1, WAITER_DEVICE = GUESTS };

/* All of the world; compared as bytes, so without holes. */
struct world {
    uint64_t word;
    uint8_t truth;               /* what was written last, or 0 */
    uint8_t n_written;           /* no content is written twice */
    uint8_t present, content;    /* the memory file's page */
    uint8_t frame;               /* number of the frame that it is in */
    uint8_t mapped;              /* in our page table */
    uint8_t live[OBJECTS];       /* the store, from 1 */
    uint8_t object[OBJECTS];
    uint8_t blocked[WAITERS];    /* in the kernel, until woken */
    uint8_t unread[WAITERS];     /* its event was not read yet */
    uint8_t evict_pc, evict_round, evict_copy;
    uint8_t fault_pc, fault_object, fault_copy;
    uint8_t guest_done[GUESTS];
    uint8_t device_pc, device_object, device_frame;
    uint8_t stranger_done, reset_done, balloon_pc, collapser_pc;
    uint8_t may_lose; /* copies that cannot be read, still to come */
    uint8_t marker;   /* instead of a page table entry: accesses fail */
    uint8_t plugger_pc;
    uint8_t barred; /* our mapping allows no access */
    uint8_t fetch_pc, fetch_object, fetch_copy, fetch_done;
    uint8_t may_starve; /* fills for which there is no memory, still to come */
};

static const char *broken; /* the first thing that did not hold */

static inline void must(bool ok, const char *what)
{
    if (!ok && broken == NULL)
        broken = what;
}

/* --- the word, the store and the kernel ------------------------------------------------------- */

#define MOVE(w, call)                    \
    __extension__({                      \
        page_word word_ = (w)->word;     \
        __typeof__(call) ret_ = call;    \
        (w)->word = atomic_load(&word_); \
        ret_;                            \
    })
#define MOVE_VOID(w, call)               \
    do {                                 \
        page_word word_ = (w)->word;     \
        call;                            \
        (w)->word = atomic_load(&word_); \
    } while (0)

static inline uint8_t store_make(struct world *w, uint8_t content)
{
    for (uint8_t i = 1; i < OBJECTS; i++) {
        if (!w->live[i]) {
            w->live[i] = 1;
            w->object[i] = content;
            return i;
        }
    }
    must(false, "the store runs full: objects are not dropped");
    return 1;
}

static inline void drop(struct world *w, uint32_t object)
{
    if (object == 0)
        return;
    must(object < OBJECTS && w->live[object], "an object is dropped twice");
    w->live[object] = 0;
    w->object[object] = 0;
}

static inline void wake(struct world *w)
{
    memset(w->blocked, 0, sizeof(w->blocked));
    memset(w->unread, 0, sizeof(w->unread));
}

static inline void map(struct world *w)
{
    must(w->present, "a hole is mapped");
    w->mapped = 1;
    wake(w);
}

static inline void put(struct world *w, uint8_t content)
{
    if (!w->present)
        w->frame++;
    w->present = 1;
    w->content = content;
}

static inline void write_page(struct world *w)
{
    w->content = w->truth = ++w->n_written;
}

/* Who takes it out of the page table takes a marker along. */
static inline void unmap(struct world *w)
{
    w->mapped = w->marker = 0;
}

/* Is the page lost, and the access fails? Before the word tells it is tried again. */
static inline bool fails(const struct world *w)
{
    return w->marker && page_state(w->word) == PAGE_LOST;
}

/* Is its block plugged out, or on its way there or back? */
static inline bool is_out(const struct world *w)
{
    return w->plugger_pc != 0 && w->plugger_pc != 5;
}

/* An access through the page table. Return: false: it faulted and waits. */
static inline bool reach(struct world *w, int waiter)
{
    if (w->mapped)
        return true;
    if (w->marker)
        return false;
    w->blocked[waiter] = 1;
    w->unread[waiter] = 1;
    return false;
}

/* --- actors: @choice < what the return value of the first call says; 0: cannot go ------------- */

static inline void evict_end(struct world *w)
{
    w->evict_pc = 0;
    w->evict_copy = 0;
    w->evict_round++;
}

static inline void evict_cancel(struct world *w)
{
    drop(w, MOVE(w, page_cancel(&word_)));
    evict_end(w);
}

/* Or the hole cannot be made. */
static inline void evict_punch(struct world *w, bool fails)
{
    if (fails) {
        drop(w, MOVE(w, page_cancel(&word_)));
        w->evict_pc = 7;
        return;
    }
    must(!w->mapped, "a page is punched that is mapped");
    w->present = 0;
    w->content = 0;
    w->evict_pc = 6;
}

static inline int go_evictor(struct world *w, int choice)
{
    uint8_t object;

    if (w->evict_round == ROUNDS)
        return 0;
    switch (w->evict_pc) {
    case 0: /* what is not in the file needs no evicting */
        if (w->present && MOVE(w, page_arm(&word_)))
            w->evict_pc = 1;
        else
            evict_end(w);
        return 1;
    case 1:
        unmap(w);
        w->evict_pc = 2;
        return 1;
    case 2: /* other reasons to give up: the store is full */
        if (choice == 1) {
            evict_cancel(w);
            return 2;
        }
        w->evict_copy = w->content;
        w->evict_pc = 3;
        return 2;
    case 3:
        object = store_make(w, w->evict_copy);
        if (MOVE(w, page_keep(&word_, object))) {
            w->evict_pc = 4;
        } else {
            drop(w, object);
            evict_end(w);
        }
        return 1;
    case 4:
        if (choice == 1)
            evict_cancel(w);
        else if (MOVE(w, page_punch(&word_)))
            w->evict_pc = 5;
        else
            evict_end(w);
        return 2;
    case 5:
        evict_punch(w, choice == 1);
        return 2;
    case 6:
        MOVE_VOID(w, page_emptied(&word_));
        w->evict_pc = 7;
        return 1;
    default:
        wake(w);
        evict_end(w);
        return 1;
    }
}

static inline bool take_event(struct world *w)
{
    for (int i = 0; i < WAITERS; i++) {
        if (w->unread[i]) {
            w->unread[i] = 0;
            return true;
        }
    }
    return false;
}

/* The copy cannot be read. */
static inline void lose(struct world *w)
{
    must(!w->mapped, "a page that is lost is mapped");
    w->may_lose--;
    w->marker = 1;
    w->fault_pc = 8;
}

/* Of a step whose second choice is that there is no memory: how many it has. */
static inline int starve(struct world *w, int choice)
{
    const int n = w->may_starve > 0 ? 2 : 1;

    w->may_starve -= choice == 1;
    return n;
}

static inline int go_fault(struct world *w, int choice)
{
    uint32_t object = 0;

    switch (w->fault_pc) {
    case 0: /* the thread that fetches is the same */
        if (w->fetch_pc != 0 || !take_event(w))
            return 0;
        w->fault_pc = 1;
        return 1;
    case 1: {
        const enum page_touch touch = MOVE(w, page_touch(&word_, &object));

        w->fault_object = (uint8_t)object;
        w->fault_pc = touch == PAGE_TOUCH_MAP    ? 2
                      : touch == PAGE_TOUCH_FILL ? 4
                      : touch == PAGE_TOUCH_LOST ? 10
                      : touch == PAGE_TOUCH_NONE ? 11
                                                 : 0;
        return 1;
    }
    case 2: /* continue; a page that never was comes as zeroes */
        if (!w->present)
            put(w, 0);
        map(w);
        w->fault_pc = 3;
        return 1;
    case 3:
        MOVE_VOID(w, page_touched(&word_));
        w->fault_pc = 7;
        return 1;
    case 4:
        must(w->fault_object < OBJECTS && w->live[w->fault_object], "a dropped object is read");
        if (choice == 1) {
            lose(w);
            return 2;
        }
        w->fault_copy = w->object[w->fault_object];
        w->fault_pc = 5;
        return w->may_lose > 0 ? 2 : 1;
    case 5: /* over what a stranger may have put there; or there is no memory for it */
        w->fault_pc = choice == 1 ? 12 : 6;
        if (choice == 0) {
            put(w, w->fault_copy);
            map(w);
        }
        w->fault_copy = 0;
        return starve(w, choice);
    case 6:
        MOVE_VOID(w, page_filled(&word_));
        w->fault_pc = 7;
        return 1;
    case 8:
        MOVE_VOID(w, page_lose(&word_, 1));
        w->fault_pc = 9;
        return 1;
    case 9:
        wake(w);
        w->fault_pc = 7;
        return 1;
    case 10: /* touched after it was unmapped */
        w->marker = 1;
        w->fault_pc = 9;
        return 1;
    case 12: /* whoever wants it tries again */
        MOVE_VOID(w, page_unfetch(&word_));
        w->fault_object = 0;
        w->fault_pc = 11;
        return 1;
    case 11: /* touched after it was plugged out */
        wake(w);
        w->fault_pc = 0;
        return 1;
    default:
        drop(w, w->fault_object);
        w->fault_object = 0;
        w->fault_pc = 0;
        return 1;
    }
}

/* The same thread, which served a fault nearby and brings back what comes next, before anybody asks. */
static inline int go_fetcher(struct world *w, int choice)
{
    switch (w->fetch_pc) {
    case 0:
        if (w->fault_pc != 0 || w->fetch_done == FETCHES)
            return 0;
        w->fetch_object = (uint8_t)MOVE(w, page_fetch(&word_));
        if (w->fetch_object == 0)
            return 0; /* it is not away: nothing happened, so it may be later */
        w->fetch_done++;
        w->fetch_pc = 1;
        return 1;
    case 1: /* or the copy cannot be read, of which who asks for it is told */
        must(w->live[w->fetch_object], "a dropped object is read ahead");
        w->fetch_pc = choice == 1 ? 5 : 2;
        if (choice == 0)
            w->fetch_copy = w->object[w->fetch_object];
        return w->may_lose > 0 ? 2 : 1;
    case 2: /* into the file, where a stranger may have been */
        w->fetch_pc = choice == 1 ? 5 : 3;
        if (choice == 0)
            put(w, w->fetch_copy);
        w->fetch_copy = 0;
        return starve(w, choice);
    case 3: /* or the kernel refuses, which costs a fault more */
        if (choice == 0)
            map(w);
        w->fetch_pc = 4;
        return 2;
    case 4:
        MOVE_VOID(w, page_filled(&word_));
        w->fetch_pc = 6;
        return 1;
    case 5:
        MOVE_VOID(w, page_unfetch(&word_));
        w->fetch_pc = 7;
        return 1;
    case 6:
        drop(w, w->fetch_object);
        w->fetch_pc = 7;
        return 1;
    default:
        wake(w);
        w->fetch_object = 0;
        w->fetch_pc = 0;
        return 1;
    }
}

/* The first writes and reads, the second reads and writes. */
static inline int go_guest(struct world *w, int who)
{
    if (w->blocked[who] || w->guest_done[who] == ACCESSES)
        return 0;
    if (w->barred) /* it fails, and is tried again */
        return 0;
    if (fails(w)) { /* and hears of it */
        w->guest_done[who]++;
        return 1;
    }
    if (!reach(w, who))
        return 1;
    must(w->balloon_pc == 1 || w->balloon_pc == 4 || w->content == w->truth,
         "a guest reads something else than was written");
    if (w->guest_done[who] == who)
        write_page(w);
    w->guest_done[who]++;
    return 1;
}

static inline int go_device(struct world *w)
{
    uint32_t object = 0;

    if (w->blocked[WAITER_DEVICE])
        return 0;
    switch (w->device_pc) {
    case 0:
        if (w->balloon_pc != 0 && w->balloon_pc != 3) /* mem_holds.h keeps it waiting */
            return 0;
        if (is_out(w)) /* it is no memory, which is tried again */
            return 0;
        must(MOVE(w, page_lease(&word_, &object)), "a lease is refused");
        w->device_object = (uint8_t)object;
        w->device_pc = 1;
        return 1;
    case 1:
        drop(w, w->device_object);
        w->device_object = 0;
        w->device_pc = 2;
        return 1;
    case 2: /* the kernel looks the frame up */
        if (fails(w)) { /* the lease is refused */
            w->device_pc = 4;
            return 1;
        }
        if (!reach(w, WAITER_DEVICE))
            return 1;
        w->device_frame = w->frame;
        w->device_pc = 3;
        return 1;
    case 3: /* much later data arrives in it */
        must(w->present && w->frame == w->device_frame, "a device writes to a frame that is gone");
        write_page(w);
        w->device_pc = 4;
        return 1;
    case 4:
        MOVE_VOID(w, page_unlease(&word_));
        w->device_pc = 5;
        return 1;
    default:
        return 0;
    }
}

/* Another mapping of the file that is read in a hole, or khugepaged of old kernels. */
static inline int go_stranger(struct world *w)
{
    if (w->stranger_done || w->present)
        return 0;
    put(w, 0);
    w->stranger_done = 1;
    return 1;
}

/* A guest gives the page back, at any time. Until that is done it may have any content, then
 * zeroes. */
static inline int go_balloon(struct world *w)
{
    uint32_t object = 0;
    enum page_state was = PAGE_RESIDENT;

    switch (w->balloon_pc) {
    case 0: /* mem_holds.h: not while a device has it */
        if ((w->device_pc != 0 && w->device_pc != 5) || is_out(w) ||
            !MOVE(w, page_forget(&word_, true, &object, &was)))
            return 0;
        drop(w, object);
        w->balloon_pc = was == PAGE_LOST ? 4 : 1;
        return 1;
    case 4: /* when the fault thread is at nothing */
        if (w->fault_pc != 0 || w->fetch_pc != 0)
            return 0;
        unmap(w);
        w->balloon_pc = 1;
        return 1;
    case 1:
        w->present = w->content = w->mapped = w->truth = 0;
        w->balloon_pc = 2;
        return 1;
    case 2:
        MOVE_VOID(w, page_unlease(&word_));
        w->balloon_pc = 3;
        return 1;
    default:
        return 0;
    }
}

/* Puts the page into a huge page, by the thread that evicts or by the one that serves faults, so
 * both at any time here: pin, then one call. The kernel copies where nobody has the frame, fills a
 * hole with zeroes (Linux 6.1) and maps; it wakes nobody. */
static inline int go_collapser(struct world *w)
{
    switch (w->collapser_pc) {
    case 0:
        w->collapser_pc = MOVE(w, page_pin(&word_)) ? 1 : 3;
        return 1;
    case 1:
        if (w->device_pc != 3) { /* else the kernel refuses */
            put(w, w->present ? w->content : 0);
            w->frame++;
            w->mapped = 1;
        }
        w->collapser_pc = 2;
        return 1;
    case 2:
        MOVE_VOID(w, page_unlease(&word_));
        w->collapser_pc = 3;
        return 1;
    default:
        return 0;
    }
}

/* The page's block is plugged out, at any time, and in again. What nobody keeps from being punched
 * has to stay a hole meanwhile. */
static inline int go_plugger(struct world *w)
{
    uint32_t object = 0;
    enum page_state was = PAGE_RESIDENT;

    switch (w->plugger_pc) {
    case 0: /* mem_holds.h and the lock for pages: not while a device has it or it is given back */
        if ((w->device_pc != 0 && w->device_pc != 5) || (w->balloon_pc != 0 && w->balloon_pc != 3))
            return 0;
        w->barred = 1;
        w->plugger_pc = 1;
        return 1;
    case 1:
        if (!MOVE(w, page_close(&word_, &object, &was)))
            return 0;
        drop(w, object);
        w->plugger_pc = was == PAGE_LOST ? 6 : 2;
        return 1;
    case 6: /* when the fault thread is at nothing */
        if (w->fault_pc != 0 || w->fetch_pc != 0)
            return 0;
        unmap(w);
        w->plugger_pc = 2;
        return 1;
    case 2:
        w->present = w->content = w->mapped = w->truth = 0;
        w->plugger_pc = 3;
        return 1;
    case 3:
        must(!w->present && !w->mapped, "memory is taken for what was plugged out");
        must(!w->marker, "what is plugged in anew cannot be reached");
        must(page_object(w->word) == 0, "something is kept of what was plugged out");
        w->barred = 0;
        w->plugger_pc = 4;
        return 1;
    case 4:
        MOVE_VOID(w, page_open(&word_));
        w->plugger_pc = 5;
        return 1;
    default:
        return 0;
    }
}

/* While all stand still; a block may be plugged out, but is not on its way. */
static inline int go_reset(struct world *w)
{
    if (w->reset_done || (w->balloon_pc != 0 && w->balloon_pc != 3) || w->evict_pc != 0 ||
        (is_out(w) && w->plugger_pc != 3) || w->fault_pc != 0 || w->fetch_pc != 0 ||
        (w->collapser_pc != 0 && w->collapser_pc != 3) ||
        (w->device_pc != 0 && w->device_pc != 5))
        return 0;
    for (int i = 0; i < WAITERS; i++)
        if (w->blocked[i])
            return 0;
    drop(w, MOVE(w, page_reset(&word_)));
    must(w->word == 0, "a reset leaves something in the word");
    w->present = w->content = w->truth = w->mapped = w->marker = 0;
    w->reset_done = 1;
    return 1;
}

static inline int go(struct world *w, enum actor actor, int choice)
{
    switch (actor) {
    case EVICTOR:
        return go_evictor(w, choice);
    case FAULT:
        return go_fault(w, choice);
    case GUEST0:
    case GUEST1:
        return go_guest(w, actor - GUEST0);
    case DEVICE:
        return go_device(w);
    case STRANGER:
        return go_stranger(w);
    case BALLOON:
        return go_balloon(w);
    case COLLAPSER:
        return go_collapser(w);
    case PLUGGER:
        return go_plugger(w);
    case FETCHER:
        return go_fetcher(w, choice);
    default:
        return go_reset(w);
    }
}

/* --- what must hold at the end ---------------------------------------------------------------- */

static inline void check_end(const struct world *w)
{
    const uint32_t object = page_object(w->word);
    const enum page_state state = page_state(w->word);

    for (int i = 0; i < WAITERS; i++)
        must(!w->blocked[i], "somebody waits for ever");
    for (int i = 0; i < GUESTS; i++)
        must(w->guest_done[i] == ACCESSES, "a guest does not get on");
    must(w->device_pc == 5, "a device does not get on");
    must(w->evict_round == ROUNDS, "the evictor does not get on");
    must(state == PAGE_RESIDENT || state == PAGE_EMPTY || state == PAGE_LOST,
         "a page stays between two states");
    must(!w->marker || state == PAGE_LOST, "a page that is there cannot be reached");
    must(page_leases(w->word) == 0, "a lease stays");
    must(!page_is_given(w->word) || !w->present || w->stranger_done,
         "what was given back comes again without having been touched");
    must((state == PAGE_RESIDENT) == (object == 0), "a word has an object that it should not");
    for (uint32_t i = 1; i < OBJECTS; i++)
        must(w->live[i] == (state == PAGE_EMPTY && i == object), "an object is lost");
}

#endif
