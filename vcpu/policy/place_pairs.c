/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two virtual nodes of a guest cost together at the very least, wherever they are: apart at
 * the host's shortest distance, or on one host node at its local one, with what that adds by load.
 *
 * A host node that is no better than another one in room, memory, crowding and local distance need
 * not be looked at, and room beyond what the two largest virtual nodes want is no better. What is
 * left are a few nodes, mostly one, however many the host has. Pure.
 */
#include "vcpu/policy/place_private.h"

#include "vmm/base/macros.h"

static bool no_better(const struct place_room *a, const struct place_room *b)
{
    return a->milli <= b->milli && a->mib <= b->mib && a->crowd >= b->crowd && a->local >= b->local;
}

uint32_t place_rooms(const struct place_search *s, const uint32_t *list, uint32_t n,
                     struct place_room *rooms)
{
    int64_t milli = 0, mib = 0;
    uint32_t count = 0;

    for (uint32_t k = 0; k < n; k++) {
        milli = MAX(milli, 2 * s->milli[list[k]]);
        mib = MAX(mib, 2 * s->mib[list[k]]);
    }
    for (uint32_t h = 0; h < s->H; h++) {
        const struct place_load *l = &s->load[h];
        struct place_room room = { .milli = MAX(MIN(l->cap - l->milli, milli), INT64_C(0)),
                                   .mib = MIN(l->mem_mib - l->mib, mib),
                                   .crowd = l->crowd,
                                   .local = s->host->dist[(size_t)h * s->H + h] };
        uint32_t kept = 0, k = 0;

        while (k < count && !no_better(&room, &rooms[k]))
            k++;
        if (k < count)
            continue;
        for (k = 0; k < count; k++)
            if (!no_better(&rooms[k], &room))
                rooms[kept++] = rooms[k];
        rooms[kept++] = room;
        count = kept;
    }
    return count;
}

/* The square of what is wanted beyond the room. */
static int64_t over(int64_t milli, const struct place_room *room)
{
    return milli > room->milli ? (milli - room->milli) * (milli - room->milli) : 0;
}

int64_t place_rooms_pair(const struct place_search *s, const struct place_room *rooms,
                         uint32_t n_rooms, uint32_t i, uint32_t k)
{
    const struct place_guest *g = &s->problem->guests[s->guest_of[i]];
    const size_t pair = (size_t)(i - g->first) * g->n + (k - g->first);
    const int64_t a = s->milli[i], b = s->milli[k], mib = s->mib[i] + s->mib[k];
    int64_t traffic, least;
    uint32_t told;

    if (s->guest_of[i] != s->guest_of[k])
        return 0;
    traffic = s->traffic[s->guest_of[i]][pair];
    told = s->told[s->guest_of[i]][pair];
    least = s->host->nearest != 0 ? place_pair(s, traffic, told, s->host->nearest) : PLACE_NEVER;
    for (uint32_t r = 0; r < n_rooms; r++) {
        const struct place_room *room = &rooms[r];
        /* How much more the convex terms of both are than those of each. */
        int64_t both = s->w.overload * (over(a + b, room) - over(a, room) - over(b, room)) +
                       2 * room->crowd * a * b;

        if (mib <= room->mib)
            least = MIN(least, both + place_pair(s, traffic, told, room->local));
    }
    return least < PLACE_NEVER ? least : 0;
}
