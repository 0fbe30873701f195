/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast and how good is the placement planner? Seeded random problems on a host from a file;
 * samples go to standard output in the form that benchtable.py merges.
 *
 *   planner HOST.xml BATCHES
 *
 * A batch is 400 problems "one" (a guest of 1 to 16 virtual nodes on a host partly in use), two
 * problems "host" (300 virtual nodes of many guests, the host empty), and 60 small problems of
 * several guests. Gaps are against a cost that was proved to be the least, by the same search
 * with a far larger budget; a case in which that does not come to its end gives no gap. Peers are
 * first fit by node number, and the least loaded node; what their broken promises would cost is
 * left out of their gaps and counted by itself.
 *
 * Times are CPU time of the thread. Others use the machine as well, so all problems of a batch are
 * planned in ROUNDS rounds, one problem after the other, and the least of a problem's times counts:
 * what disturbs comes and goes, what the problem takes is there every time. Since hundreds of other
 * plans lie between two of the same problem, it is not timed with caches and branch predictors that
 * have just seen it. Median and 99 of 100 are over the problems, of these least times.
 *
 * Rebalancing is judged once: machines placed as well as can be meet a change, and what the policy
 * keeps of the possible gain is held against the best of all assignments; then loads off by 20 %
 * where nothing has changed, and where something has and nodes do move. There the peer is the same
 * policy without what holds it back: no residency time, nothing confirmed, any gain.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "guest-tests/bench/planner_problems.h"
#include "vcpu/policy/test/balance_cases.h"
#include "vmm/base/macros.h"

enum {
    ONES = 400,
    HOSTS = 2,
    SMALLS = 60,
    ROUNDS = 9,
    EXACT_EVERY = 10,
    EXACT_BUDGET = 100 * 1000,
    CHANGES = 200,
    STEADY = 1000,
    STEADY_EPOCHS = 40,
    NOISY_EPOCHS = 60,
};

enum planner { OURS, FIRST_FIT, LEAST_LOADED, PLANNERS };

static const char *const planner_names[] = { "numavisor", "first fit", "least loaded" };

struct samples {
    double value[ONES];
    size_t n;
};

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double quantile(struct samples *s, double q)
{
    qsort(s->value, s->n, sizeof(s->value[0]), compare);
    return s->value[(size_t)((double)(s->n - 1) * q + 0.5)];
}

static double mean(const struct samples *s)
{
    double sum = 0;

    for (size_t i = 0; i < s->n; i++)
        sum += s->value[i];
    return sum / (double)s->n;
}

static void emit_as(struct bench *b, const char *key, const char *who, double value)
{
    printf("%s[\"value\", \"%s\", \"%s\", [%.6g]]", b->any ? ", " : "[", key, who, value);
    b->any = true;
}

static void emit(struct bench *b, const char *key, enum planner who, double value)
{
    emit_as(b, key, planner_names[who], value);
}

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* One node after the other, without looking ahead. */
static void place_simply(const struct bench *b, enum planner who, int *node)
{
    static uint64_t milli[NODES_MAX], mem[NODES_MAX];
    const struct host_topo *t = b->on;

    for (size_t h = 0; h < t->n_nodes; h++) {
        milli[h] = b->used[h].cpu_milli;
        mem[h] = b->used[h].mem_bytes;
    }
    for (size_t i = 0; i < b->problem.n_vnodes; i++) {
        const struct place_vnode *v = &b->vnodes[i];
        size_t best = 0;
        bool found = false;

        for (size_t h = 0; h < t->n_nodes; h++) {
            bool fits = mem[h] + v->mem_bytes <= t->nodes[h].mem_bytes;

            if (who == FIRST_FIT && fits &&
                milli[h] + v->demand_milli <= idset_count(&t->nodes[h].cpus) * (uint64_t)CPU) {
                best = h;
                found = true;
                break;
            }
            if (fits && (!found || milli[h] < milli[best])) {
                best = h;
                found = true;
            }
        }
        node[i] = (int)best;
        milli[best] += v->demand_milli;
        mem[best] += v->mem_bytes;
    }
}

static double without_broken(const struct place_result *r)
{
    return (double)(place_terms_total(&r->terms) - r->terms.broken);
}

/* Gaps of everybody on the problem at hand, where the least cost can be proved. */
static void add_gaps(struct bench *b, const struct place_result *ours, struct samples *gaps)
{
    struct place_result best, other;
    static int node[NODES_MAX];
    double least;

    b->problem.budget = EXACT_BUDGET;
    if (place_solve(&b->problem, &best, NULL) < 0)
        die("the exact search found nothing");
    least = (double)place_terms_total(&best.terms);
    if (best.proved && least > (double)PLACE_COST_CPU / 100) {
        gaps[OURS].value[gaps[OURS].n++] =
            100 * ((double)place_terms_total(&ours->terms) - least) / least;
        least = without_broken(&best);
        for (enum planner who = FIRST_FIT; who < PLANNERS; who++) {
            place_simply(b, who, node);
            other = (struct place_result){ .node = node, .n_vnodes = best.n_vnodes };
            if (place_evaluate(&b->problem, &other, NULL) < 0)
                die("a simple plan cannot be judged");
            gaps[who].value[gaps[who].n++] = 100 * (without_broken(&other) - least) / least;
        }
    }
    place_result_fini(&best);
}

static void count_broken(struct bench *b, const struct place_result *ours, unsigned *broken)
{
    static int node[NODES_MAX];

    broken[OURS] += !ours->kept;
    for (enum planner who = FIRST_FIT; who < PLANNERS; who++) {
        struct place_result other = { .node = node, .n_vnodes = ours->n_vnodes };

        place_simply(b, who, node);
        if (place_evaluate(&b->problem, &other, NULL) < 0)
            die("a simple plan cannot be judged");
        broken[who] += !other.kept;
    }
}

static double solve(struct bench *b, struct place_result *r)
{
    struct errctx ec = { 0 };
    double start = now_us();

    if (place_solve(&b->problem, r, &ec) < 0)
        die(ec.msg);
    return now_us() - start;
}

static void keep_least(struct samples *times, size_t problem, double us)
{
    if (problem < times->n && times->value[problem] <= us)
        return;
    times->value[problem] = us;
    times->n = MAX(times->n, problem + 1);
}

/* Everybody's time for the problem at hand. */
static void time_problem(struct bench *b, size_t problem, struct samples *times)
{
    static int node[NODES_MAX];
    struct place_result r;

    keep_least(&times[OURS], problem, solve(b, &r));
    place_result_fini(&r);
    for (enum planner who = FIRST_FIT; who < PLANNERS; who++) {
        double start = now_us();

        place_simply(b, who, node);
        keep_least(&times[who], problem, now_us() - start);
    }
}

/* The dice are left as they were. */
static void time_batch(struct bench *b)
{
    static struct samples one[PLANNERS], whole[PLANNERS];
    const uint64_t dice = b->dice;

    memset(one, 0, sizeof(one));
    memset(whole, 0, sizeof(whole));
    for (int round = 0; round < ROUNDS; round++) {
        b->dice = dice;
        for (size_t i = 0; i < ONES; i++) {
            make_one(b);
            time_problem(b, i, one);
        }
        for (size_t i = 0; i < HOSTS; i++) {
            make_many(b, false);
            time_problem(b, i, whole);
        }
    }
    b->dice = dice;
    for (enum planner who = OURS; who < PLANNERS; who++) {
        emit(b, "one-median", who, quantile(&one[who], 0.5));
        emit(b, "one-p99", who, quantile(&one[who], 0.99));
        emit(b, "host-time", who, mean(&whole[who]) / 1000);
    }
}

static void emit_gaps(struct bench *b, const char *key, const struct samples *gaps)
{
    for (enum planner who = OURS; who < PLANNERS; who++)
        if (gaps[who].n > 0)
            emit(b, key, who, mean(&gaps[who]));
}

/* Gaps are collected in @gaps and @many, over all batches: rare large ones count in the mean. */
static void batch(struct bench *b, struct samples *gaps, struct samples *many)
{
    unsigned broken[PLANNERS] = { 0 };
    struct place_result r;

    time_batch(b);
    for (int i = 0; i < ONES; i++) {
        make_one(b);
        (void)solve(b, &r);
        count_broken(b, &r, broken);
        if (i % EXACT_EVERY == 0)
            add_gaps(b, &r, gaps);
        place_result_fini(&r);
    }
    for (int i = 0; i < HOSTS; i++) /* only timed */
        make_many(b, false);
    for (int i = 0; i < SMALLS; i++) {
        make_many(b, true);
        (void)solve(b, &r);
        add_gaps(b, &r, many);
        place_result_fini(&r);
    }
    for (enum planner who = OURS; who < PLANNERS; who++)
        emit(b, "broken", who, 100.0 * broken[who] / ONES);
}

static void emit_score(struct bench *b, const char *kept, const char *moved,
                       const struct balance_score *s)
{
    emit(b, kept, OURS, 100 * s->kept / s->possible);
    emit_as(b, kept, "best of all", 100);
    emit(b, moved, OURS, 100 * s->moved / s->memory);
    emit_as(b, moved, "best of all", 100 * s->best_moved / s->memory);
}

/* The policy as it is, or without what holds it back. */
static struct balance *new_policy(const struct balance_case *c, bool hasty)
{
    struct balance_params params = balance_defaults();
    struct balance *policy;

    if (hasty) {
        params.residency_ns = 0;
        params.confirm = 1;
        params.min_gain_milli = params.gib_gain_milli = 0;
    }
    if (balance_new(&params, c->snap.n_nodes, c->snap.n_vnodes, &policy, NULL) < 0)
        die("no memory for rebalancing");
    return policy;
}

/* Decisions on machines that are settled, while loads are off by up to 20 %. */
static unsigned steady_moves(uint64_t seed, bool hasty)
{
    struct balance_case c, base;
    struct balance_decision d;
    struct balance *policy;
    unsigned moves;

    case_make(&c, seed);
    (void)case_settle(&c, &moves);
    base = c;
    policy = new_policy(&c, hasty);
    moves = 0;
    for (int i = 0; i < STEADY_EPOCHS; i++) {
        case_noise(&c, &base);
        moves += balance_epoch(policy, &c.snap, &d, NULL) == 1;
    }
    balance_free(policy);
    return moves;
}

struct noisy {
    unsigned moves, early; /* early: of a virtual node, within the residency time of its last */
};

/* Machines that nobody placed well and that meet a change half-way, loads off by up to 20 % all the
 * time. Times between moves are taken here, not from what the policy remembers. */
static void noisy_moves(uint64_t seed, bool hasty, struct noisy *ret)
{
    const uint64_t residency_ns = balance_defaults().residency_ns;
    uint64_t moved_ns[CASE_VNODES] = { 0 };
    struct balance_case c, base;
    struct balance_decision d;
    struct balance *policy;

    case_make(&c, seed);
    base = c;
    policy = new_policy(&c, hasty);
    for (int i = 0; i < NOISY_EPOCHS; i++) {
        if (i == NOISY_EPOCHS / 2) {
            case_change(&base, (enum case_change)(seed % CASE_CHANGES));
            for (uint32_t h = 0; h < c.snap.n_nodes; h++)
                c.nodes[h].capacity_milli = base.nodes[h].capacity_milli;
        }
        case_noise(&c, &base);
        if (balance_epoch(policy, &c.snap, &d, NULL) != 1)
            continue;
        for (uint32_t k = 0; k < d.step.n; k++) {
            const uint32_t v = d.step.vnode[k];

            ret->early += moved_ns[v] != 0 && c.snap.time_ns - moved_ns[v] < residency_ns;
            moved_ns[v] = c.snap.time_ns;
        }
        ret->moves += d.step.n;
        (void)case_obey(&c, &d);
    }
    balance_free(policy);
}

static void under_noise(struct bench *b, const char *who, bool hasty)
{
    struct noisy noisy = { 0 };
    unsigned moves = 0;

    for (uint64_t seed = 1; seed <= STEADY; seed++) {
        moves += steady_moves(seed, hasty);
        noisy_moves(seed, hasty, &noisy);
    }
    emit_as(b, "balance-steady", who, moves);
    emit_as(b, "balance-early", who, noisy.early);
    emit_as(b, "balance-noisy", who, noisy.moves);
}

static void rebalance(struct bench *b)
{
    struct balance_score part = { 0 }, all = { 0 };

    for (uint64_t seed = 1000; seed < 1000 + CHANGES; seed++) { /* others than the unit tests' */
        for (enum case_change what = CASE_HEAT; what < CASE_OFFLINE; what++)
            case_score(seed, what, &part);
        case_score(seed, CASE_OFFLINE, &all);
    }
    emit_score(b, "balance-kept", "balance-moved", &part);
    emit_score(b, "balance-kept-offline", "balance-moved-offline", &all);
    under_noise(b, planner_names[OURS], false);
    under_noise(b, "no hysteresis", true);
}

int main(int argc, char **argv)
{
    static struct samples gaps[PLANNERS], many[PLANNERS];
    static struct bench b = { .dice = 0x9e3779b97f4a7c15ull };
    struct errctx ec = { 0 };
    struct place_result r;
    int batches = argc > 2 ? atoi(argv[2]) : 0;

    if (batches < 1 || batches > ONES / (ONES / EXACT_EVERY))
        die("usage: planner HOST.xml BATCHES");
    if (host_topo_from_xml(argv[1], &b.topo, &ec) < 0 || b.topo.n_nodes > NODES_MAX)
        die(ec.msg);
    make_slice(&b);
    if (place_host_new(&b.topo, &b.host, &ec) < 0 || place_host_new(&b.slice, &b.small, &ec) < 0)
        die(ec.msg);
    for (int i = 0; i < 100; i++) { /* warm */
        make_one(&b);
        (void)solve(&b, &r);
        place_result_fini(&r);
    }
    for (int i = 0; i < batches; i++) {
        batch(&b, gaps, many);
        (void)fprintf(stderr, "placement: batch %d of %d is done\n", i + 1, batches);
    }
    emit_gaps(&b, "one-gap", gaps);
    emit_gaps(&b, "host-gap", many);
    rebalance(&b);
    printf("]\n");
    return 0;
}
