/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What machines say to the service: any messages of two of them, in any order. Nothing is published
 * that is not what its hash says.
 *
 * Input: messages, each as a byte that says which machine's (bit 0), two of length, and so many
 * bytes. Hashes are made of their first byte, so that both machines can have the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory/store/domain/domain_wire.h"
#include "memory/store/golden/golden.h"
#include "vmm/base/macros.h"
#include "vmm/host/service_client.h"
#include "vmm/host/service_group.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MACHINES = 2, HEAD = 3 };

struct world {
    struct service_groups *groups;
    struct service_client *client[MACHINES];
    int fd[MACHINES];
};

static void closed(void *ctx, uint32_t number)
{
    const struct world *w = ctx;

    for (size_t i = 0; i < MACHINES; i++)
        if (w->client[i] != NULL)
            service_client_closed(w->client[i], number);
}

static const struct service_groups_ops ops = { .closed = closed };

static void page_of(uint8_t which, uint8_t *page)
{
    memset(page, which, CODEC_PAGE);
}

static struct domain_hash hash_of(uint8_t which)
{
    uint8_t page[CODEC_PAGE];
    struct golden_hash h;

    page_of(which, page);
    h = golden_hash(page);
    return (struct domain_hash){ .low = h.low, .high = h.high };
}

static void join(struct world *w, size_t i)
{
    struct domain_message m = { .head = { .type = DOMAIN_HELLO, .n = 1, .arg = DOMAIN_VERSION },
                                .items.name = { "fuzz" } };
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0 ||
        service_client_new(fds[0], 0, w->groups, &w->client[i]) < 0)
        abort();
    w->fd[i] = fds[1];
    (void)domain_wire_send(w->fd[i], &m, -1);
    m.head = (struct domain_head){ .type = DOMAIN_JOIN, .arg = DOMAIN_ANY_NODE };
    (void)domain_wire_send(w->fd[i], &m, -1);
    if (service_client_hear(w->client[i], NULL) < 0)
        abort();
}

static void leave(struct world *w, size_t i)
{
    struct service_client *c = w->client[i];

    w->client[i] = NULL;
    service_client_free(c);
    (void)close(w->fd[i]);
}

static void must_be_true(const struct world *w)
{
    const struct service_group *g = service_groups_first(w->groups);
    static struct codec_decoder decoder;

    if (decoder.ctx == NULL && codec_decoder_init(&decoder) < 0)
        abort();
    for (; g != NULL; g = g->next) {
        for (uint32_t number = 1; number < 8; number++) {
            struct domain_hash hash;
            struct service_place place;
            uint8_t page[CODEC_PAGE];
            struct golden_hash h;
            uint32_t at = 0;

            while (service_index_next(g->index, number, &at, &hash, &place)) {
                if (codec_decode(&decoder, (enum codec_kind)place.kind,
                                 service_arena_at(g->arena, &place), place.len, page) < 0)
                    abort();
                h = golden_hash(page);
                if (h.low != hash.low || h.high != hash.high)
                    abort();
            }
        }
    }
}

static void hear(struct world *w, size_t i, const uint8_t *data, size_t n)
{
    struct domain_message m = { 0 }, any;

    memcpy(&m, data, MIN(n, sizeof(m)));
    if (n > sizeof(m.head) && (m.head.type == DOMAIN_OFFER || m.head.type == DOMAIN_WITHDRAW))
        for (uint32_t k = 0; k < MIN(m.head.n, (uint32_t)DOMAIN_BATCH); k++)
            m.items.hashes[k] = hash_of((uint8_t)m.items.hashes[k].low);
    if (n > sizeof(m.head) && m.head.type == DOMAIN_BYTES) {
        const uint8_t which = (uint8_t)m.items.bytes.hash.low;

        m.items.bytes.hash = hash_of(which);
        if (m.items.bytes.zero[0] == 0) { /* an honest one */
            m.items.bytes.kind = CODEC_RAW;
            m.items.bytes.len = CODEC_PAGE;
            page_of(which, m.items.bytes.bytes);
            n = sizeof(m.head) + sizeof(m.items.bytes);
        }
    }
    (void)send(w->fd[i], &m, MIN(n, sizeof(m)), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (service_client_hear(w->client[i], NULL) < 0) {
        leave(w, i);
        join(w, i);
    }
    for (size_t k = 0; k < MACHINES; k++) {
        int passed = -1;

        (void)service_client_speak(w->client[k]);
        while (domain_wire_receive(w->fd[k], false, &any, &passed, NULL) == 1)
            if (passed >= 0)
                (void)close(passed);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = { 0 };

    if (service_groups_new(MIB, &ops, &w, &w.groups) < 0)
        abort();
    for (size_t i = 0; i < MACHINES; i++)
        join(&w, i);
    while (size >= HEAD) {
        const size_t n = MIN((size_t)data[1] | (size_t)data[2] << 8, size - HEAD);

        hear(&w, data[0] & 1, data + HEAD, n);
        if ((data[0] & 2) != 0)
            (void)service_groups_compact(w.groups);
        data += HEAD + n;
        size -= HEAD + n;
    }
    must_be_true(&w);
    for (size_t i = 0; i < MACHINES; i++)
        leave(&w, i);
    service_groups_free(w.groups);
    return 0;
}
