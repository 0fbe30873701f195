/* SPDX-License-Identifier: Apache-2.0 */
/* See service_client.h. */
#include "vmm/host/service_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory/store/domain/domain_wire.h"

enum {
    MESSAGES = 64,         /* that are heard, and said, in one go */
    OFFERS_MAX = 1 << 24,  /* in a group: more are not remembered */
};

/* A store of the machine. */
struct seat {
    struct service_group *group; /* NULL: it did not join */
    uint32_t member;
};

/* A segment that the machine was given. */
struct known {
    uint32_t number;
    bool closed; /* and it is to be told */
};

struct service_client {
    int fd;
    uid_t uid;
    struct service_groups *groups;
    bool hello, greet; /* greet: it is to be welcomed */
    char name[DOMAIN_NAME];
    struct seat seats[DOMAIN_STORES];
    size_t n_seats; /* behind the last that was taken once */
    size_t at;      /* seat to begin with */
    struct known *known;
    size_t n_known, n_closed;
    struct domain_message in, out;
    int pass; /* goes with out; -1: none */
    bool has_out;
};

int service_client_new(int fd, uid_t uid, struct service_groups *groups,
                       struct service_client **ret_client)
{
    struct service_client *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    c->fd = fd;
    c->uid = uid;
    c->groups = groups;
    c->pass = -1;
    *ret_client = c;
    return 0;
}

static void drop_pass(struct service_client *c)
{
    if (c->pass >= 0)
        (void)close(c->pass);
    c->pass = -1;
}

static void leave(struct seat *s)
{
    if (s->group != NULL)
        service_group_leave(s->group, s->member);
    s->group = NULL;
}

void service_client_free(struct service_client *client)
{
    if (client == NULL)
        return;
    for (size_t i = 0; i < client->n_seats; i++)
        leave(&client->seats[i]);
    (void)close(client->fd);
    drop_pass(client);
    free(client->known);
    free(client);
}

const char *service_client_name(const struct service_client *client)
{
    return client->name;
}

/* --- what the machine says -------------------------------------------------------------------- */

static int hear_hello(struct service_client *c, struct errctx *ec)
{
    if (c->hello)
        return errctx_set(ec, EPROTO, "a second hello");
    if (c->in.head.arg != DOMAIN_VERSION)
        return errctx_set(ec, EPROTO, "it speaks version %u, and this is version %d",
                          c->in.head.arg, DOMAIN_VERSION);
    memcpy(c->name, c->in.items.name.name, sizeof(c->name));
    c->hello = c->greet = true;
    return 0;
}

static int hear_join(struct service_client *c, struct errctx *ec)
{
    const struct domain_head *h = &c->in.head;
    struct seat *s = &c->seats[h->store];

    if (s->group != NULL)
        return errctx_set(ec, EPROTO, "store %u joins twice", h->store);
    if (h->store >= c->n_seats)
        c->n_seats = h->store + 1;
    if (service_group_join(c->groups, c->uid, c->name, h->arg, &s->group, &s->member) < 0)
        return errctx_set(ec, ENOMEM, "no memory for a store");
    return 0;
}

static int hear_offer(const struct service_client *c, const struct seat *s, struct errctx *ec)
{
    struct service_index_counts n;

    service_index_count(s->group->index, &n);
    for (uint32_t i = 0; i < c->in.head.n && n.offers + i < OFFERS_MAX; i++)
        if (service_index_offer(s->group->index, s->member, c->in.items.hashes[i]) < 0)
            return errctx_set(ec, ENOMEM, "no memory for an offer");
    return 0;
}

static int hear(struct service_client *c, struct errctx *ec)
{
    struct seat *s = &c->seats[c->in.head.store];

    if (c->in.head.type == DOMAIN_HELLO)
        return hear_hello(c, ec);
    if (!c->hello)
        return errctx_set(ec, EPROTO, "the first message is no hello");
    if (c->in.head.type == DOMAIN_JOIN)
        return hear_join(c, ec);
    if (s->group == NULL)
        return errctx_set(ec, EPROTO, "store %u did not join", c->in.head.store);
    switch (c->in.head.type) {
    case DOMAIN_LEAVE:
        leave(s);
        return 0;
    case DOMAIN_OFFER:
        return hear_offer(c, s, ec);
    case DOMAIN_WITHDRAW:
        for (uint32_t i = 0; i < c->in.head.n; i++)
            service_index_withdraw(s->group->index, s->member, c->in.items.hashes[i]);
        return 0;
    default: /* DOMAIN_BYTES; a page that cannot be published is where it was */
        (void)service_group_publish(s->group, s->member, &c->in.items.bytes, NULL);
        return 0;
    }
}

int service_client_hear(struct service_client *client, struct errctx *ec)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        int r = domain_wire_receive(client->fd, true, &client->in, NULL, ec);

        if (r == -EAGAIN)
            return 0;
        if (r == 0)
            return -ENOTCONN;
        if (r > 0)
            r = hear(client, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- what is said to it ----------------------------------------------------------------------- */

void service_client_closed(struct service_client *client, uint32_t number)
{
    for (size_t i = 0; i < client->n_known; i++)
        if (client->known[i].number == number && !client->known[i].closed) {
            client->known[i].closed = true;
            client->n_closed++;
        }
}

static void begin(struct service_client *c, enum domain_type type, size_t store, uint32_t arg)
{
    c->out.head = (struct domain_head){ .type = type, .store = (uint32_t)store, .arg = arg };
    c->has_out = true;
}

static bool say_closed(struct service_client *c)
{
    for (size_t i = 0; i < c->n_known && c->n_closed > 0; i++) {
        if (!c->known[i].closed)
            continue;
        begin(c, DOMAIN_RETIRE, 0, c->known[i].number);
        c->known[i] = c->known[--c->n_known];
        c->n_closed--;
        return true;
    }
    return false;
}

static bool knows(const struct service_client *c, uint32_t number)
{
    for (size_t i = 0; i < c->n_known; i++)
        if (c->known[i].number == number)
            return true;
    return false;
}

static bool say_segment(struct service_client *c, const struct service_group *g, uint32_t number)
{
    struct known *known = realloc(c->known, (c->n_known + 1) * sizeof(*known));

    if (known == NULL)
        return false;
    c->known = known;
    c->pass = fcntl(service_arena_fd(g->arena, number), F_DUPFD_CLOEXEC, 0);
    if (c->pass < 0)
        return false;
    c->known[c->n_known++] = (struct known){ .number = number };
    begin(c, DOMAIN_SEGMENT_IS, 0, number);
    return true;
}

/* As many tasks of a kind as go into one message. */
static bool say_tasks(struct service_client *c, size_t i)
{
    const struct seat *s = &c->seats[i];
    struct service_task t, first;

    if (s->group == NULL || !service_index_task(s->group->index, s->member, &first))
        return false;
    if (first.kind == SERVICE_TASK_PLACE && !knows(c, first.place.segment))
        return say_segment(c, s->group, first.place.segment);
    begin(c, first.kind == SERVICE_TASK_NEED ? DOMAIN_NEED : DOMAIN_PLACES, i,
          first.kind == SERVICE_TASK_NEED ? 0 : first.place.segment);
    for (t = first; c->out.head.n < DOMAIN_BATCH && t.kind == first.kind &&
                    t.place.segment == first.place.segment;) {
        const uint32_t n = c->out.head.n++;

        if (t.kind == SERVICE_TASK_NEED)
            c->out.items.hashes[n] = t.hash;
        else
            c->out.items.places[n] = (struct domain_place){
                .hash = t.hash, .at = t.place.at, .len = t.place.len, .kind = t.place.kind,
            };
        service_index_said(s->group->index, s->member);
        if (!service_index_task(s->group->index, s->member, &t))
            break;
    }
    return true;
}

static bool say_next(struct service_client *c)
{
    if (c->greet) {
        begin(c, DOMAIN_WELCOME, 0, DOMAIN_VERSION);
        c->greet = false;
        return true;
    }
    if (c->n_closed > 0)
        return say_closed(c);
    for (size_t k = 0; k < c->n_seats; k++) {
        const size_t i = (c->at + k) % c->n_seats;

        if (!say_tasks(c, i))
            continue;
        c->at = i + 1;
        return true;
    }
    return false;
}

/* A machine that is gone is noticed by who listens to it. */
bool service_client_speak(struct service_client *client)
{
    struct service_client *c = client;

    for (unsigned i = 0; i < MESSAGES; i++) {
        if (!c->has_out && !say_next(c))
            return false;
        if (domain_wire_send(c->fd, &c->out, c->pass) == -EAGAIN)
            return true;
        c->has_out = false;
        drop_pass(c);
    }
    return true;
}
