/* SPDX-License-Identifier: Apache-2.0 */
/*
 * together - memory of guests in stores of their own, brought together by the host service.
 *
 *   together SOCKET FILE...
 *
 * Each file is a machine's memory: all its pages go into that machine's store, and the machines are
 * in one trust domain of the service at SOCKET. They live, as if time passed, until nothing is
 * shared or packed any more. Then one line of JSON, and nothing more until the end of stdin, so that
 * others can look at the service: bytes that the stores hold, tables included, and what the words of
 * pages take, for one page of all; CPU time for one that is not zeroes. Segments and the service are
 * not in it.
 */
#include "guest-tests/bench/captured.h"
#include "memory/pager/page_word.h"
#include "memory/store/domain/domain_client.h"
#include "memory/store/store.h"
#include "memory/store/store_domain.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"

enum {
    MACHINES_MAX = 64,
    STEPS = 64,      /* of one machine, before it is the next one's turn */
    IDLE_TURNS = 40, /* in which nobody has anything to say: the service has not, either */
    IDLE_US = 5000,
    SAME_ROUNDS = 3,
};

struct machine {
    struct captured memory;
    struct domain_client *client;
    struct store *store;
};

struct sums {
    double held, packed, took, shared, segments;
    double put_us, share_us, pack_us;
};

static struct machine machines[MACHINES_MAX];
static size_t n_machines;
static struct store_desk desk;
static struct store_press press;

static void machine_init(struct machine *m, const char *socket, const char *path)
{
    static const struct idset anywhere;
    struct errctx ec = { 0 };

    m->memory = captured_open(path);
    if (store_new(2 * m->memory.n_pages * CODEC_PAGE, (uint32_t)m->memory.n_pages, &anywhere,
                  &m->store, &ec) < 0 ||
        domain_client_new(socket, "together", &m->client, &ec) < 0 ||
        store_set_domain(m->store, domain_client_segments(m->client)) < 0) {
        (void)fprintf(stderr, "together: %s\n", ec.msg);
        exit(1);
    }
}

static void put_all(struct machine *m)
{
    uint32_t object;

    for (size_t i = 0; i < m->memory.n_pages; i++)
        if (store_put(m->store, &desk, captured_page(&m->memory, i), &object) < 0)
            die("put");
    store_trim(m->store);
}

/* All that there is to say, by all. */
static void talk(void)
{
    for (int idle = 0; idle < IDLE_TURNS;) {
        bool any = false;

        for (size_t i = 0; i < n_machines; i++)
            for (int k = 0; k < STEPS; k++) {
                if (!domain_client_step(machines[i].client, &machines[i].store, 1,
                                        evloop_now_ns()))
                    break;
                any = true;
            }
        idle = any ? 0 : idle + 1;
        if (!any)
            (void)usleep(IDLE_US);
    }
}

static void pack_all(void)
{
    for (size_t i = 0; i < n_machines; i++) {
        while (store_pack(machines[i].store, &press))
            if (store_is_loose(machines[i].store))
                store_trim(machines[i].store);
        for (int k = 0; k < 100; k++)
            store_trim(machines[i].store);
    }
}

static void count(struct sums *s)
{
    s->held = s->packed = s->took = s->shared = s->segments = 0;
    for (size_t i = 0; i < n_machines; i++) {
        struct domain_client_counts d;
        struct store_counts c;

        store_count(machines[i].store, &c);
        domain_client_count(machines[i].client, &d);
        s->held += (double)c.held_bytes;
        s->packed += (double)c.packed_objects;
        s->shared += (double)c.shared_pages;
        s->took += (double)d.took;
        s->segments += (double)d.segments;
        if (!d.connected || d.refused > 0) {
            (void)fprintf(stderr, "together: a machine is not in the domain, or refused a page\n");
            exit(1);
        }
    }
}

/* What is two steps of time old is packed; who shares comes first, as sharing spares packing. */
static void live(struct sums *s)
{
    for (int same = 0; same < SAME_ROUNDS;) {
        const struct sums before = *s;
        double begin = cpu_us();

        for (size_t i = 0; i < n_machines; i++)
            store_age(machines[i].store);
        talk();
        s->share_us += cpu_us() - begin;
        begin = cpu_us();
        pack_all();
        s->pack_us += cpu_us() - begin;
        count(s);
        same = s->took == before.took && s->packed == before.packed ? same + 1 : 0;
    }
}

int main(int argc, char **argv)
{
    double all = 0, used = 0, begin;
    struct sums s = { 0 };

    if (argc < 3 || argc - 2 > MACHINES_MAX) {
        (void)fprintf(stderr, "usage: together SOCKET FILE...\n");
        return 2;
    }
    if (codec_packer_init(&press.packer) < 0)
        die("packing");
    for (n_machines = 0; (int)n_machines < argc - 2; n_machines++) {
        machine_init(&machines[n_machines], argv[1], argv[2 + n_machines]);
        all += (double)machines[n_machines].memory.n_pages;
        used += (double)captured_used(&machines[n_machines].memory);
    }
    begin = cpu_us();
    for (size_t i = 0; i < n_machines; i++)
        put_all(&machines[i]);
    s.put_us = cpu_us() - begin;
    live(&s);
    (void)printf("{\"pages\": %.0f, \"used\": %.0f, \"bytes\": %.2f, \"word_bytes\": %zu, "
                 "\"put_us\": %.3f, \"share_us\": %.3f, \"pack_us\": %.3f, \"took\": %.0f, "
                 "\"shared_pages\": %.0f}\n",
                 all, used, s.held / all, sizeof(page_word), s.put_us / used, s.share_us / used,
                 s.pack_us / used, s.took, s.shared);
    (void)fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}
