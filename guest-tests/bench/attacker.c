/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attacker - does the time that a page takes tell whether somebody else has it?
 *
 *   attacker store N SOCKET OURS THEIRS  two machines' stores, in these domains ("-": none) of the
 *                                   service at SOCKET; how long pages take to come back
 *   attacker ksm N                  two processes with mergeable memory; how long a write takes
 *
 * A victim has every second of 2N pages, chosen at random, the attacker all of them. Prints for each
 * page of the attacker's "1 NS" or "0 NS": whether the victim has it, and the time.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory/store/domain/domain_client.h"
#include "memory/store/store_domain.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"

enum { SETTLE_S = 6, SCANS = 4, KSM_LIMIT_S = 120 };

static const struct idset anywhere;
static bool *victims; /* of each page */
static uint32_t *order;
static uint32_t n_pages;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

/* Half of it is noise, more or less; of no other page. */
static void page_of(uint32_t which, uint8_t *page)
{
    uint64_t seed = (which + 1) * 0x9e3779b97f4a7c15ull;
    const size_t n = 1024 + next(&seed) % 2048;

    memset(page, 7, CODEC_PAGE);
    for (size_t i = 0; i < n; i++)
        page[i] = (uint8_t)next(&seed);
    memcpy(page + CODEC_PAGE - sizeof(which), &which, sizeof(which));
}

static void choose(uint32_t n)
{
    uint64_t seed = (uint64_t)time(NULL);

    n_pages = 2 * n;
    victims = calloc(n_pages, sizeof(*victims));
    order = calloc(n_pages, sizeof(*order));
    if (victims == NULL || order == NULL)
        die("calloc");
    for (uint32_t i = 0; i < n_pages; i++) {
        const uint32_t k = (uint32_t)next(&seed) % (i + 1);

        order[i] = order[k];
        order[k] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        victims[order[i]] = true;
    for (uint32_t i = n_pages - 1; i > 0; i--) { /* in another order than they were chosen in */
        const uint32_t k = (uint32_t)next(&seed) % (i + 1), other = order[k];

        order[k] = order[i];
        order[i] = other;
    }
}

/* --- stores ----------------------------------------------------------------------------------- */

struct machine {
    struct domain_client *client; /* NULL: in no domain */
    struct store *store;
    uint32_t *object;
    struct store_desk desk;
    struct store_press press;
};

static struct machine *machine_new(const char *socket, const char *domain)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct errctx ec = { 0 };

    if (m == NULL || (m->object = calloc(n_pages, sizeof(*m->object))) == NULL ||
        codec_packer_init(&m->press.packer) < 0)
        die("calloc");
    if (store_new((uint64_t)n_pages * CODEC_PAGE + 64 * MIB, n_pages, &anywhere, &m->store, &ec) < 0 ||
        (strcmp(domain, "-") != 0 &&
         (domain_client_new(socket, domain, &m->client, &ec) < 0 ||
          store_set_domain(m->store, domain_client_segments(m->client)) < 0))) {
        (void)fprintf(stderr, "attacker: %s\n", ec.msg);
        exit(1);
    }
    return m;
}

static void put_all(struct machine *m, bool all)
{
    uint8_t page[CODEC_PAGE];

    for (uint32_t i = 0; i < n_pages; i++) {
        if (!all && !victims[order[i]])
            continue;
        page_of(order[i], page);
        if (store_put(m->store, &m->desk, page, &m->object[order[i]]) < 0)
            die("store_put");
    }
}

/* What the evicting thread does meanwhile. */
static void live(struct machine *m, unsigned seconds)
{
    const uint64_t end = evloop_now_ns() + seconds * UINT64_C(1000000000);

    while (evloop_now_ns() < end) {
        store_age(m->store);
        while (store_pack(m->store, &m->press))
            ;
        store_trim(m->store);
        while (m->client != NULL && domain_client_step(m->client, &m->store, 1, evloop_now_ns()))
            ;
        (void)usleep(50000);
    }
}

static int attack_stores(const char *socket, const char *ours, const char *theirs)
{
    const pid_t victim = fork();
    struct machine *m;
    struct store_counts c;
    uint8_t page[CODEC_PAGE];

    if (victim == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        m = machine_new(socket, theirs);
        put_all(m, false);
        live(m, 3600);
        _exit(0);
    }
    m = machine_new(socket, ours);
    put_all(m, true);
    live(m, SETTLE_S);
    store_count(m->store, &c);
    (void)fprintf(stderr, "shared %llu\n", (unsigned long long)c.shared_objects);
    for (uint32_t i = 0; i < n_pages; i++) {
        const uint64_t start = evloop_now_ns();

        if (store_get(m->store, NULL, m->object[order[i]], page) < 0)
            die("store_get");
        (void)printf("%d %llu\n", victims[order[i]],
                     (unsigned long long)(evloop_now_ns() - start));
    }
    (void)kill(victim, SIGKILL);
    (void)waitpid(victim, NULL, 0);
    return 0;
}

/* --- KSM -------------------------------------------------------------------------------------- */

static uint8_t *mergeable(bool all)
{
    uint8_t *p = mmap(NULL, (size_t)n_pages * CODEC_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || madvise(p, (size_t)n_pages * CODEC_PAGE, MADV_NOHUGEPAGE) < 0)
        die("mmap");
    for (uint32_t i = 0; i < n_pages; i++)
        if (all || victims[i])
            page_of(i, p + (size_t)i * CODEC_PAGE);
    if (madvise(p, (size_t)n_pages * CODEC_PAGE, MADV_MERGEABLE) < 0)
        die("MADV_MERGEABLE");
    return p;
}

static unsigned long long ksm_number(const char *name)
{
    unsigned long long v = 0;
    char path[64];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
    f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%llu", &v) != 1)
        die(path);
    (void)fclose(f);
    return v;
}

static int attack_ksm(void)
{
    const pid_t victim = fork();
    unsigned long long then;
    uint8_t *p;

    if (victim == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)mergeable(false);
        for (;;)
            (void)pause();
    }
    p = mergeable(true);
    then = ksm_number("full_scans");
    for (unsigned s = 0; ksm_number("full_scans") < then + SCANS; s++) {
        if (s == KSM_LIMIT_S) {
            (void)fprintf(stderr, "attacker: KSM does not come around\n");
            return 1;
        }
        (void)sleep(1);
    }
    (void)fprintf(stderr, "shared %llu\n", ksm_number("pages_sharing"));
    for (uint32_t i = 0; i < n_pages; i++) {
        volatile uint8_t *byte = p + (size_t)order[i] * CODEC_PAGE + 100;
        uint64_t start;

        (void)*byte; /* where it is in no cache is not what is asked */
        start = evloop_now_ns();
        *byte = 1;
        (void)printf("%d %llu\n", victims[order[i]],
                     (unsigned long long)(evloop_now_ns() - start));
    }
    (void)kill(victim, SIGKILL);
    (void)waitpid(victim, NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    const long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;

    if (n <= 0 || n > 1000000)
        return 2;
    choose((uint32_t)n);
    if (argc == 6 && strcmp(argv[1], "store") == 0)
        return attack_stores(argv[3], argv[4], argv[5]);
    return argc == 3 && strcmp(argv[1], "ksm") == 0 ? attack_ksm() : 2;
}
