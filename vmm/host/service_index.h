/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What machines of one trust domain keep on one host node: which page, by its hash, who has it, and
 * where it was published. Decides what is to be asked of whom, and what is to be told.
 *
 * A member is one store of one machine. When a second member offers what another one has, one of
 * them is to be asked for it; when it is published all members that offered it are to be told, and
 * so is every later one. What is to be asked or told waits here until somebody takes it with
 * service_index_task(), as long as its member still offers the page: nothing else piles up for a
 * machine that does not listen.
 *
 * Some 72 bytes a page that one member has, 20 for each one more. Pure: no system calls but for
 * memory, one thread.
 */
#ifndef VMM_HOST_SERVICE_INDEX_H
#define VMM_HOST_SERVICE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/domain/domain_wire.h"

struct service_index;

/* Where a page was published. */
struct service_place {
    uint32_t segment;
    uint32_t at; /* in units of DOMAIN_UNIT */
    uint16_t len;
    uint8_t kind;
};

struct service_index_ops {
    /* Nobody has the page at @place any more, or it is published elsewhere. */
    void (*dropped)(void *ctx, const struct service_place *place);
};

/** service_index_new() - empty. @ops and @ctx are kept. Return: 0 or -ENOMEM. */
int service_index_new(const struct service_index_ops *ops, void *ctx,
                      struct service_index **ret_index);

/** service_index_free() - without telling of what was published. NULL is allowed. */
void service_index_free(struct service_index *index);

/** service_index_join() - a member more. Return: its number, from 1 on, or -ENOMEM. */
int service_index_join(struct service_index *index);

/** service_index_leave() - it goes, with all that it offered; its number may be another's. */
void service_index_leave(struct service_index *index, uint32_t member);

/** service_index_offer() - @member has the page with @hash. Again: no change. Return: 0 or
 *  -ENOMEM. */
int service_index_offer(struct service_index *index, uint32_t member, struct domain_hash hash);

/** service_index_withdraw() - it has not, or does not share it. What it did not offer is ignored. */
void service_index_withdraw(struct service_index *index, uint32_t member, struct domain_hash hash);

struct service_task {
    enum service_task_kind {
        SERVICE_TASK_NEED,  /* ask for the page */
        SERVICE_TASK_PLACE, /* tell where it is */
    } kind;
    struct domain_hash hash;
    struct service_place place; /* SERVICE_TASK_PLACE */
};

/** service_index_task() - what is to be said to @member next; it stays so until
 *  service_index_said(). Return: false: nothing. */
bool service_index_task(struct service_index *index, uint32_t member,
                        struct service_task *ret_task);
void service_index_said(struct service_index *index, uint32_t member);

/** service_index_asked() - was @member asked for this page, has not answered, and does another one
 *  have it still? */
bool service_index_asked(const struct service_index *index, uint32_t member,
                         struct domain_hash hash);

/** service_index_give_up() - nobody is asked for it any more, until another member offers it. */
void service_index_give_up(struct service_index *index, struct domain_hash hash);

/** service_index_publish() - the page that some member was asked for, or one that is published and
 *  was copied, is at @place. */
void service_index_publish(struct service_index *index, struct domain_hash hash,
                           const struct service_place *place);

/** service_index_next() - published pages in @segment, one after the other: @at is where to go on,
 *  0 at first. Return: false: no more. */
bool service_index_next(const struct service_index *index, uint32_t segment, uint32_t *at,
                        struct domain_hash *ret_hash, struct service_place *ret_place);

struct service_index_counts {
    uint64_t pages;    /* different ones that are offered */
    uint64_t offers;   /* by members */
    uint64_t published; /* pages that are */
    uint64_t published_bytes; /* in segments */
    uint64_t uses;     /* offers of these */
};

void service_index_count(const struct service_index *index,
                         struct service_index_counts *ret_counts);

#endif
