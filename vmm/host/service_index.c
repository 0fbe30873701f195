/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries (pages) and offers are in two growing arrays and refer to each other by number; 0 is
 * none. An offer that has something to be said waits in its member's queue; one that is taken back
 * meanwhile stays there as a dead one until its turn comes.
 */
#include "vmm/host/service_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_CAP = 256,
    NUMBERS_MAX = 1 << 30,
};

struct entry {
    struct domain_hash hash;
    uint32_t next;   /* in its chain, or of the free ones */
    uint32_t offers; /* the newest; 0: free */
    uint32_t n_offers;
    uint32_t asked;  /* offer whose member was asked, or is to be; 0: none */
    struct service_place place; /* len 0: not published */
};

struct offer {
    uint32_t entry; /* 0: dead, and in a queue still, or free */
    uint32_t member;
    uint32_t next;  /* of the entry, or of the free ones */
    uint32_t queue; /* behind it in its member's queue */
    bool queued;
};

struct member {
    bool is;
    uint32_t first, last; /* of its queue */
};

struct service_index {
    const struct service_index_ops *ops;
    void *ctx;
    struct entry *entries;
    struct offer *offers;
    struct member *members;
    uint32_t *heads;
    uint32_t n_heads; /* a power of 2 */
    uint32_t n_entries, cap_entries, free_entry;
    uint32_t n_offers, cap_offers, free_offer;
    uint32_t n_members; /* the first is none */
    struct service_index_counts n;
};

/* Room for one more behind @n of @cap. */
static int grow(void **items, size_t size, uint32_t n, uint32_t *cap)
{
    const uint32_t more = *cap == 0 ? FIRST_CAP : *cap * 2;
    void *p;

    if (n < *cap)
        return 0;
    p = more <= NUMBERS_MAX ? realloc(*items, more * size) : NULL;
    if (p == NULL)
        return -ENOMEM;
    *items = p;
    *cap = more;
    return 0;
}

int service_index_new(const struct service_index_ops *ops, void *ctx,
                      struct service_index **ret_index)
{
    struct service_index *ix = calloc(1, sizeof(*ix));

    if (ix == NULL)
        return -ENOMEM;
    ix->heads = calloc(FIRST_CAP, sizeof(*ix->heads));
    ix->members = calloc(1, sizeof(*ix->members));
    if (ix->heads == NULL || ix->members == NULL) {
        service_index_free(ix);
        return -ENOMEM;
    }
    ix->ops = ops;
    ix->ctx = ctx;
    ix->n_heads = FIRST_CAP;
    ix->n_entries = ix->n_offers = ix->n_members = 1;
    *ret_index = ix;
    return 0;
}

void service_index_free(struct service_index *index)
{
    if (index == NULL)
        return;
    free(index->entries);
    free(index->offers);
    free(index->members);
    free(index->heads);
    free(index);
}

/* --- entries ---------------------------------------------------------------------------------- */

static uint32_t *head_of(const struct service_index *ix, struct domain_hash hash)
{
    return &ix->heads[hash.low & (ix->n_heads - 1)];
}

static uint32_t find(const struct service_index *ix, struct domain_hash hash)
{
    uint32_t i = *head_of(ix, hash);

    while (i != 0 &&
           (ix->entries[i].hash.low != hash.low || ix->entries[i].hash.high != hash.high))
        i = ix->entries[i].next;
    return i;
}

/* As many chains as pages; where there is no memory for that chains become longer. */
static void spread(struct service_index *ix)
{
    uint32_t *heads;

    if (ix->n.pages < ix->n_heads)
        return;
    heads = calloc((size_t)ix->n_heads * 2, sizeof(*heads));
    if (heads == NULL)
        return;
    free(ix->heads);
    ix->heads = heads;
    ix->n_heads *= 2;
    for (uint32_t i = 1; i < ix->n_entries; i++) {
        struct entry *e = &ix->entries[i];

        if (e->n_offers == 0)
            continue;
        e->next = *head_of(ix, e->hash);
        *head_of(ix, e->hash) = i;
    }
}

static uint32_t new_entry(struct service_index *ix, struct domain_hash hash)
{
    uint32_t i = ix->free_entry;

    spread(ix);
    if (i != 0)
        ix->free_entry = ix->entries[i].next;
    else if (grow((void **)&ix->entries, sizeof(*ix->entries), ix->n_entries, &ix->cap_entries) < 0)
        return 0;
    else
        i = ix->n_entries++;
    ix->entries[i] = (struct entry){ .hash = hash, .next = *head_of(ix, hash) };
    *head_of(ix, hash) = i;
    ix->n.pages++;
    return i;
}

static void unpublish(struct service_index *ix, struct entry *e)
{
    const struct service_place place = e->place;

    if (place.len == 0)
        return;
    e->place.len = 0;
    ix->n.published--;
    ix->n.published_bytes -= place.len;
    ix->n.uses -= e->n_offers;
    ix->ops->dropped(ix->ctx, &place);
}

static void free_entry(struct service_index *ix, uint32_t i)
{
    struct entry *e = &ix->entries[i];
    uint32_t *link = head_of(ix, e->hash);

    unpublish(ix, e);
    while (*link != i)
        link = &ix->entries[*link].next;
    *link = e->next;
    e->next = ix->free_entry;
    ix->free_entry = i;
    ix->n.pages--;
}

/* --- offers ----------------------------------------------------------------------------------- */

static void queue(struct service_index *ix, uint32_t i)
{
    struct offer *o = &ix->offers[i];
    struct member *m = &ix->members[o->member];

    if (o->queued)
        return;
    o->queued = true;
    o->queue = 0;
    if (m->last != 0)
        ix->offers[m->last].queue = i;
    else
        m->first = i;
    m->last = i;
}

/* Not published, and two have it: somebody is to be asked, the one who came last. */
static void ask(struct service_index *ix, struct entry *e)
{
    if (e->place.len != 0 || e->asked != 0 || e->n_offers < 2)
        return;
    e->asked = e->offers;
    queue(ix, e->asked);
}

static uint32_t find_offer(const struct service_index *ix, uint32_t entry, uint32_t member)
{
    uint32_t i = entry != 0 ? ix->entries[entry].offers : 0;

    while (i != 0 && ix->offers[i].member != member)
        i = ix->offers[i].next;
    return i;
}

static void free_offer(struct service_index *ix, uint32_t i)
{
    ix->offers[i].next = ix->free_offer;
    ix->free_offer = i;
}

int service_index_offer(struct service_index *index, uint32_t member, struct domain_hash hash)
{
    struct service_index *ix = index;
    uint32_t e = find(ix, hash), i = ix->free_offer;

    if (find_offer(ix, e, member) != 0)
        return 0;
    if (i == 0 && grow((void **)&ix->offers, sizeof(*ix->offers), ix->n_offers, &ix->cap_offers) < 0)
        return -ENOMEM;
    if (e == 0)
        e = new_entry(ix, hash);
    if (e == 0)
        return -ENOMEM;
    if (i != 0)
        ix->free_offer = ix->offers[i].next;
    else
        i = ix->n_offers++;
    ix->offers[i] = (struct offer){ .entry = e, .member = member, .next = ix->entries[e].offers };
    ix->entries[e].offers = i;
    ix->entries[e].n_offers++;
    ix->n.offers++;
    if (ix->entries[e].place.len != 0) {
        ix->n.uses++;
        queue(ix, i);
    }
    ask(ix, &ix->entries[e]);
    return 0;
}

static void take_back(struct service_index *ix, uint32_t i)
{
    struct offer *o = &ix->offers[i];
    struct entry *e = &ix->entries[o->entry];
    const uint32_t entry = o->entry;
    uint32_t *link = &e->offers;

    while (*link != i)
        link = &ix->offers[*link].next;
    *link = o->next;
    o->entry = 0;
    if (!o->queued)
        free_offer(ix, i);
    ix->n.offers--;
    ix->n.uses -= e->place.len != 0;
    e->n_offers--;
    if (e->asked == i || e->n_offers < 2) /* one alone shares nothing: its answer is ignored */
        e->asked = 0;
    if (e->n_offers == 0)
        free_entry(ix, entry);
    else
        ask(ix, e);
}

void service_index_withdraw(struct service_index *index, uint32_t member, struct domain_hash hash)
{
    const uint32_t i = find_offer(index, find(index, hash), member);

    if (i != 0)
        take_back(index, i);
}

/* --- members ---------------------------------------------------------------------------------- */

int service_index_join(struct service_index *index)
{
    struct member *members;
    uint32_t i = 1;

    while (i < index->n_members && index->members[i].is)
        i++;
    if (i == index->n_members) {
        members = realloc(index->members, (i + 1) * sizeof(*members));
        if (members == NULL)
            return -ENOMEM;
        index->members = members;
        index->n_members++;
    }
    index->members[i] = (struct member){ .is = true };
    return (int)i;
}

static void pop(struct service_index *ix, struct member *m)
{
    struct offer *o = &ix->offers[m->first];
    const uint32_t i = m->first;

    m->first = o->queue;
    if (m->first == 0)
        m->last = 0;
    o->queued = false;
    if (o->entry == 0)
        free_offer(ix, i);
}

void service_index_leave(struct service_index *index, uint32_t member)
{
    struct member *m = &index->members[member];

    while (m->first != 0)
        pop(index, m);
    m->is = false;
    for (uint32_t i = 1; i < index->n_offers; i++)
        if (index->offers[i].entry != 0 && index->offers[i].member == member)
            take_back(index, i);
}

bool service_index_task(struct service_index *index, uint32_t member,
                        struct service_task *ret_task)
{
    struct member *m = &index->members[member];

    for (; m->first != 0; pop(index, m)) {
        const struct offer *o = &index->offers[m->first];
        const struct entry *e = &index->entries[o->entry];

        if (o->entry == 0 || (e->place.len == 0 && e->asked != m->first))
            continue;
        *ret_task = (struct service_task){
            .kind = e->place.len != 0 ? SERVICE_TASK_PLACE : SERVICE_TASK_NEED,
            .hash = e->hash,
            .place = e->place,
        };
        return true;
    }
    return false;
}

void service_index_said(struct service_index *index, uint32_t member)
{
    pop(index, &index->members[member]);
}

/* --- publishing ------------------------------------------------------------------------------- */

bool service_index_asked(const struct service_index *index, uint32_t member,
                         struct domain_hash hash)
{
    const uint32_t e = find(index, hash), i = find_offer(index, e, member);

    return i != 0 && index->entries[e].asked == i && !index->offers[i].queued;
}

void service_index_give_up(struct service_index *index, struct domain_hash hash)
{
    const uint32_t e = find(index, hash);

    if (e != 0)
        index->entries[e].asked = 0;
}

void service_index_publish(struct service_index *index, struct domain_hash hash,
                           const struct service_place *place)
{
    const uint32_t i = find(index, hash);
    struct entry *e = &index->entries[i];

    if (i == 0)
        return;
    unpublish(index, e);
    e->asked = 0;
    e->place = *place;
    index->n.published++;
    index->n.published_bytes += place->len;
    index->n.uses += e->n_offers;
    for (uint32_t o = e->offers; o != 0; o = index->offers[o].next)
        queue(index, o);
}

bool service_index_next(const struct service_index *index, uint32_t segment, uint32_t *at,
                        struct domain_hash *ret_hash, struct service_place *ret_place)
{
    for (uint32_t i = *at + 1; i < index->n_entries; i++) {
        const struct entry *e = &index->entries[i];

        if (e->n_offers == 0 || e->place.len == 0 || e->place.segment != segment)
            continue;
        *ret_hash = e->hash;
        *ret_place = e->place;
        *at = i;
        return true;
    }
    return false;
}

void service_index_count(const struct service_index *index,
                         struct service_index_counts *ret_counts)
{
    *ret_counts = index->n;
}
