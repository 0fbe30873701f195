/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message waits to be sent at most, and nothing is received or made before it has gone: what a
 * service is told cannot pile up, and what it does not read holds up this talk and nothing else.
 *
 * Pages that went are told before new ones are offered. One thread puts and offers, so a page that
 * went and came again is offered after that it went was told.
 */
#include "memory/store/domain/domain_client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_domain.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

#define AGAIN_NS UINT64_C(1000000000) /* between two tries to find a service */
#define HOME_NS UINT64_C(60000000000) /* so long a service may take to publish what is shared */

enum { HOME_PAGES = 64 }; /* in one go */

struct joined {
    bool is;
    uint32_t home; /* that it joined with */
};

struct domain_client {
    struct sockaddr_un address;
    char name[DOMAIN_NAME];
    struct domain_segments *segments;
    int fd; /* -1: no service */
    bool welcome;
    uint64_t again_ns; /* when to look for one */
    uint64_t met_ns;   /* when this one was found */
    size_t at;         /* store to begin with */
    struct joined joined[DOMAIN_STORES];

    struct domain_message out; /* to be sent, when has_out */
    bool has_out;
    struct domain_message in;
    struct domain_message need; /* what was asked for: need_at of its hashes were answered */
    uint32_t need_at;
    struct store_scale scale;
    _Atomic bool connected;
    _Atomic uint64_t connects, took, refused;
};

int domain_client_new(const char *path, const char *name, struct domain_client **ret_client,
                      struct errctx *ec)
{
    struct domain_client *c;

    if (!domain_name_ok(name))
        return errctx_set(ec, EINVAL,
                          "%s: a domain's name has 1 to %d letters, digits, dots, dashes and "
                          "underscores, a letter or digit first",
                          name, DOMAIN_NAME - 1);
    if (strlen(path) >= sizeof(c->address.sun_path))
        return errctx_set(ec, ENAMETOOLONG, "%s: the path exceeds %zu bytes", path,
                          sizeof(c->address.sun_path) - 1);
    c = calloc(1, sizeof(*c));
    if (c == NULL || domain_segments_new(&c->segments) < 0) {
        free(c);
        return errctx_set(ec, ENOMEM, "no memory for a domain");
    }
    c->fd = -1;
    c->address.sun_family = AF_UNIX;
    (void)snprintf(c->address.sun_path, sizeof(c->address.sun_path), "%s", path);
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    *ret_client = c;
    return 0;
}

void domain_client_free(struct domain_client *client)
{
    if (client == NULL)
        return;
    if (client->fd >= 0)
        (void)close(client->fd);
    domain_segments_free(client->segments);
    free(client);
}

struct domain_segments *domain_client_segments(struct domain_client *client)
{
    return client->segments;
}

/* --- the connection --------------------------------------------------------------------------- */

static struct domain_message *begin(struct domain_client *c, enum domain_type type, size_t store,
                                    uint32_t arg)
{
    c->out.head = (struct domain_head){ .type = type, .store = (uint32_t)store, .arg = arg };
    c->has_out = true;
    return &c->out;
}

/* Whoever bound the socket is the user that we are, or root. */
static bool is_trusted(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static bool find_service(struct domain_client *c, uint64_t now_ns)
{
    CLEANUP_CLOSE int fd = -1;
    struct domain_message *m;

    if (now_ns < c->again_ns)
        return false;
    c->again_ns = now_ns + AGAIN_NS;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&c->address, sizeof(c->address)) < 0 ||
        !is_trusted(fd))
        return false;
    c->fd = take_fd(&fd);
    c->met_ns = now_ns;
    m = begin(c, DOMAIN_HELLO, 0, DOMAIN_VERSION);
    m->head.n = 1;
    memset(&m->items.name, 0, sizeof(m->items.name));
    memcpy(m->items.name.name, c->name, strlen(c->name));
    return true;
}

/* What is in segments stays there; another service learns of it as of all else. */
static void lose_service(struct domain_client *c, struct store *const *stores, size_t n)
{
    (void)close(c->fd);
    c->fd = -1;
    c->welcome = c->has_out = false;
    atomic_store(&c->connected, false);
    c->need.head.n = c->need_at = 0;
    memset(c->joined, 0, sizeof(c->joined));
    for (size_t i = 0; i < n; i++)
        store_domain_forget(stores[i]);
    domain_segments_retire_all(c->segments);
}

/* --- what the service says -------------------------------------------------------------------- */

static struct golden_hash hash_from(struct domain_hash h)
{
    return (struct golden_hash){ .low = h.low, .high = h.high };
}

static struct domain_hash hash_to(struct golden_hash h)
{
    return (struct domain_hash){ .low = h.low, .high = h.high };
}

/* What turns out to be another page is not offered any more. */
static void take_places(struct domain_client *c, struct store *store)
{
    const struct domain_head *h = &c->in.head;
    struct domain_message *m = begin(c, DOMAIN_WITHDRAW, h->store, 0);

    for (uint32_t i = 0; i < h->n; i++) {
        const struct domain_place *p = &c->in.items.places[i];
        enum store_took took = STORE_TOOK_NONE;
        struct domain_spot spot;

        if (domain_segments_spot(c->segments, h->arg, p->at, &spot))
            took = store_domain_take(store, &c->scale, hash_from(p->hash), spot, p->len,
                                     (enum codec_kind)p->kind);
        if (took == STORE_TOOK)
            (void)atomic_fetch_add(&c->took, 1);
        if (took != STORE_TOOK_OTHER)
            continue;
        (void)atomic_fetch_add(&c->refused, 1);
        m->items.hashes[m->head.n++] = p->hash;
    }
    c->has_out = m->head.n > 0;
}

static void hear(struct domain_client *c, struct store *const *stores, size_t n, int passed)
{
    const struct domain_head *h = &c->in.head;
    const bool known = h->store < n && c->joined[h->store].is;

    if (h->type == DOMAIN_WELCOME) {
        c->welcome = true;
        atomic_store(&c->connected, true);
        (void)atomic_fetch_add(&c->connects, 1);
    } else if (h->type == DOMAIN_NEED && known) {
        c->need = c->in;
        c->need_at = 0;
    } else if (h->type == DOMAIN_SEGMENT_IS && passed >= 0) {
        /* What is said to be in one that we could not take is left where it is. */
        (void)domain_segments_add(c->segments, h->arg, passed, NULL);
    } else if (h->type == DOMAIN_PLACES && known) {
        take_places(c, stores[h->store]);
    } else if (h->type == DOMAIN_RETIRE) {
        domain_segments_retire(c->segments, h->arg);
    }
}

/* Return: whether there was a message. */
static bool receive(struct domain_client *c, struct store *const *stores, size_t n)
{
    CLEANUP_CLOSE int passed = -1;
    const int r = domain_wire_receive(c->fd, false, &c->in, &passed, NULL);

    if (r == -EAGAIN)
        return false;
    if (r <= 0 || (c->in.head.type == DOMAIN_WELCOME && c->in.head.arg != DOMAIN_VERSION)) {
        lose_service(c, stores, n);
        return true;
    }
    hear(c, stores, n, passed);
    return true;
}

/* --- what is said to the service -------------------------------------------------------------- */

/* The next page that was asked for; one that went meanwhile is told of as such by and by. */
static void send_bytes(struct domain_client *c, struct store *const *stores)
{
    const struct domain_hash hash = c->need.items.hashes[c->need_at++];
    struct domain_message *m = begin(c, DOMAIN_BYTES, c->need.head.store, 0);
    struct domain_bytes *b = &m->items.bytes;
    enum codec_kind kind;
    size_t len;

    memset(b, 0, sizeof(*b));
    len = store_domain_bytes(stores[m->head.store], hash_from(hash), b->bytes, &kind);
    c->has_out = len > 0;
    if (len == 0)
        return;
    m->head.n = 1;
    b->hash = hash;
    b->len = (uint16_t)len;
    b->kind = (uint8_t)kind;
}

static size_t put_hashes(struct domain_message *m, const struct golden_hash *hashes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        m->items.hashes[i] = hash_to(hashes[i]);
    m->head.n = (uint32_t)n;
    return n;
}

/* Return: whether there is something to say of store @i. */
static bool speak_of(struct domain_client *c, struct store *store, size_t i)
{
    struct golden_hash hashes[DOMAIN_BATCH];
    struct joined *j = &c->joined[i];
    const uint32_t home = store_home(store);
    bool lost;
    size_t n;

    if (!j->is) {
        *j = (struct joined){ .is = true, .home = home };
        (void)begin(c, DOMAIN_JOIN, i, home);
        return true;
    }
    n = store_domain_gone(store, hashes, DOMAIN_BATCH, &lost);
    if (lost || j->home != home) { /* it begins anew */
        store_domain_forget(store);
        j->is = false;
        (void)begin(c, DOMAIN_LEAVE, i, 0);
        return true;
    }
    if (n > 0)
        return put_hashes(begin(c, DOMAIN_WITHDRAW, i, 0), hashes, n) > 0;
    n = store_domain_offer(store, hashes, DOMAIN_BATCH);
    return n > 0 && put_hashes(begin(c, DOMAIN_OFFER, i, 0), hashes, n) > 0;
}

static bool speak(struct domain_client *c, struct store *const *stores, size_t n)
{
    n = MIN(n, (size_t)DOMAIN_STORES);
    for (size_t k = 0; k < n; k++) {
        const size_t i = (c->at + k) % n;

        if (!speak_of(c, stores[i], i))
            continue;
        c->at = i + 1;
        return true;
    }
    return false;
}

/*
 * What is in segments that a service left, by dying or for newer ones, and has not been published by
 * the one that is there, is of no use to others: it would keep whole segments. Return: whether any
 * came.
 */
static bool take_home(const struct domain_client *c, struct store *const *stores, size_t n,
                      uint64_t now_ns)
{
    size_t took = 0;

    if (now_ns - c->met_ns < HOME_NS || domain_segments_retired(c->segments) == 0)
        return false;
    for (size_t i = 0; i < n && took == 0; i++)
        took = store_domain_take_home(stores[i], HOME_PAGES);
    return took > 0;
}

bool domain_client_step(struct domain_client *client, struct store *const *stores, size_t n,
                        uint64_t now_ns)
{
    struct domain_client *c = client;
    int r;

    domain_segments_sweep(c->segments);
    if (c->fd < 0)
        return find_service(c, now_ns);
    if (c->has_out) {
        r = domain_wire_send(c->fd, &c->out, -1);
        if (r == -EAGAIN)
            return false;
        if (r < 0)
            lose_service(c, stores, n);
        c->has_out = false;
        return true;
    }
    if (c->need_at < c->need.head.n) {
        send_bytes(c, stores);
        return true;
    }
    if (receive(c, stores, n))
        return true;
    return c->fd >= 0 && c->welcome && (speak(c, stores, n) || take_home(c, stores, n, now_ns));
}

void domain_client_count(const struct domain_client *client,
                         struct domain_client_counts *ret_counts)
{
    *ret_counts = (struct domain_client_counts){
        .connected = atomic_load(&client->connected),
        .connects = atomic_load(&client->connects),
        .took = atomic_load(&client->took),
        .refused = atomic_load(&client->refused),
        .segments = domain_segments_count(client->segments),
    };
}
