/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See numactl_text.h. The text is anybody's: nodes and CPUs are numbers below IDSET_MAX, at most
 * GUEST_MAX_VNODES nodes are read, and nothing grows with what a line claims.
 */
#include "vmm/topology/numactl_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { NUMACTL_MAX_NODES = GUEST_MAX_VNODES };

struct numactl_node {
    uint32_t id;
    struct idset cpus;
    uint64_t mib;
    bool has_cpus, has_size;
};

struct numactl_reader {
    const char *at, *end; /* rest of the text; of a line while one is read */
    unsigned line;
    size_t n_nodes;
    struct numactl_node *nodes;
    uint32_t *distances; /* n_nodes * n_nodes; NULL before their heading */
    uint32_t column[NUMACTL_MAX_NODES]; /* index of the node of each column */
    bool row[NUMACTL_MAX_NODES];        /* was seen */
    bool has_columns;
};

static bool take_word(struct numactl_reader *t, const char *word)
{
    const size_t len = strlen(word);

    if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len) != 0)
        return false;
    t->at += len;
    return true;
}

static void skip_blanks(struct numactl_reader *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r'))
        t->at++;
}

static bool take_number(struct numactl_reader *t, uint64_t max, uint64_t *ret)
{
    const char *start;
    uint64_t v = 0;

    skip_blanks(t);
    start = t->at;
    while (t->at < t->end && isdigit((unsigned char)*t->at)) {
        v = v * 10 + (uint64_t)(*t->at - '0');
        if (v > max)
            return false;
        t->at++;
    }
    if (t->at == start)
        return false;
    *ret = v;
    return true;
}

static bool at_end(struct numactl_reader *t)
{
    skip_blanks(t);
    return t->at == t->end;
}

static int bad(const struct numactl_reader *t, const char *what, struct errctx *ec)
{
    return errctx_set(ec, EINVAL, "line %u: %s", t->line, what);
}

static int find_node(const struct numactl_reader *t, uint64_t id)
{
    for (size_t i = 0; i < t->n_nodes; i++)
        if (t->nodes[i].id == id)
            return (int)i;
    return -1;
}

/* The node of a line "node N ...", made when it is new. */
static int take_node(struct numactl_reader *t, struct numactl_node **ret, struct errctx *ec)
{
    uint64_t id;
    int i;

    if (!take_number(t, IDSET_MAX - 1, &id))
        return bad(t, "a node's number is expected behind \"node\"", ec);
    i = find_node(t, id);
    if (i < 0) {
        if (t->distances != NULL)
            return errctx_set(ec, EINVAL, "line %u: node %" PRIu64 " was not described above",
                              t->line, id);
        if (t->n_nodes == NUMACTL_MAX_NODES)
            return errctx_set(ec, ERANGE, "line %u: a guest has at most %d nodes", t->line,
                              NUMACTL_MAX_NODES);
        i = (int)t->n_nodes++;
        t->nodes[i] = (struct numactl_node){ .id = (uint32_t)id };
    }
    *ret = &t->nodes[i];
    return 0;
}

static int read_cpus(struct numactl_reader *t, struct numactl_node *n, struct errctx *ec)
{
    uint64_t cpu;

    if (n->has_cpus)
        return errctx_set(ec, EINVAL, "line %u: the CPUs of node %u are there twice", t->line,
                          n->id);
    n->has_cpus = true;
    while (!at_end(t)) {
        if (!take_number(t, IDSET_MAX - 1, &cpu))
            return bad(t, "a CPU's number is expected here", ec);
        for (size_t i = 0; i < t->n_nodes; i++)
            if (idset_has(&t->nodes[i].cpus, (uint32_t)cpu))
                return errctx_set(ec, EINVAL, "line %u: CPU %" PRIu64 " is in node %u already",
                                  t->line, cpu, t->nodes[i].id);
        idset_add(&n->cpus, (uint32_t)cpu);
    }
    return 0;
}

static int read_size(struct numactl_reader *t, struct numactl_node *n, struct errctx *ec)
{
    if (n->has_size)
        return errctx_set(ec, EINVAL, "line %u: the size of node %u is there twice", t->line,
                          n->id);
    n->has_size = true;
    if (take_word(t, " <not available>"))
        return 0;
    if (!take_number(t, UINT64_C(1) << 32, &n->mib))
        return bad(t, "a size in MB is expected here", ec);
    skip_blanks(t);
    return take_word(t, "MB") && at_end(t) ? 0 : bad(t, "\"MB\" is expected behind the size", ec);
}

static int read_node(struct numactl_reader *t, struct errctx *ec)
{
    struct numactl_node *n = NULL;
    int r = take_node(t, &n, ec);

    if (r < 0)
        return r;
    skip_blanks(t);
    if (take_word(t, "cpus:"))
        return read_cpus(t, n, ec);
    if (take_word(t, "size:"))
        return read_size(t, n, ec);
    if (take_word(t, "free:"))
        return 0; /* of that moment; a guest's memory is all free when it starts */
    return bad(t, "\"cpus:\", \"size:\" or \"free:\" is expected behind the node's number", ec);
}

/* "node   0   1": which node each column is. */
static int read_columns(struct numactl_reader *t, struct errctx *ec)
{
    uint64_t id;
    size_t n = 0;

    for (; !at_end(t); n++) {
        int i = take_number(t, IDSET_MAX - 1, &id) ? find_node(t, id) : -1;

        if (i < 0)
            return bad(t, "the distances' heading names a node that was not described above", ec);
        for (size_t k = 0; k < n; k++)
            if (t->column[k] == (uint32_t)i)
                return bad(t, "the distances' heading names a node twice", ec);
        t->column[n] = (uint32_t)i;
    }
    t->has_columns = true;
    return n == t->n_nodes ? 0 : bad(t, "the distances' heading does not name all nodes", ec);
}

static int read_row(struct numactl_reader *t, struct errctx *ec)
{
    uint64_t id = 0, value;
    int row = take_number(t, IDSET_MAX - 1, &id) ? find_node(t, id) : -1;

    if (!t->has_columns)
        return bad(t, "the distances' heading \"node 0 1 ...\" is missing", ec);
    if (row < 0 || t->row[row])
        return bad(t, "a row of distances begins with its node, each once", ec);
    t->row[row] = true;
    if (!take_word(t, ":"))
        return bad(t, "\":\" is expected behind the row's node", ec);
    for (size_t i = 0; i < t->n_nodes; i++) {
        if (!take_number(t, UINT32_MAX, &value))
            return errctx_set(ec, EINVAL, "line %u: %zu distances are expected in a row", t->line,
                              t->n_nodes);
        t->distances[(size_t)row * t->n_nodes + t->column[i]] = (uint32_t)value;
    }
    return at_end(t) ? 0 : errctx_set(ec, EINVAL, "line %u: %zu distances are expected in a row",
                                      t->line, t->n_nodes);
}

static int begin_distances(struct numactl_reader *t, struct errctx *ec)
{
    if (t->n_nodes == 0 || t->distances != NULL)
        return bad(t, "\"node distances:\" comes once, behind the nodes", ec);
    t->distances = calloc(t->n_nodes * t->n_nodes, sizeof(*t->distances));
    return t->distances != NULL ? 0 : errctx_set(ec, ENOMEM, "no memory for distances");
}

static int read_line(struct numactl_reader *t, struct errctx *ec)
{
    if (at_end(t) || take_word(t, "No distance information available."))
        return 0;
    if (take_word(t, "node distances:"))
        return begin_distances(t, ec);
    if (take_word(t, "node "))
        return t->distances != NULL ? read_columns(t, ec) : read_node(t, ec);
    if (t->distances != NULL)
        return read_row(t, ec);
    return bad(t, "numactl -H prints no such line", ec);
}

static int read_lines(struct numactl_reader *t, const char *text, size_t len, struct errctx *ec)
{
    const char *end = text + len;
    bool begun = false;
    int r = 0;

    for (const char *next; r == 0 && text < end; text = next) {
        const char *eol = memchr(text, '\n', (size_t)(end - text));

        t->line++;
        t->at = text;
        t->end = eol != NULL ? eol : end;
        next = eol != NULL ? eol + 1 : end;
        if (!begun)
            begun = take_word(t, "available: ");
        else
            r = read_line(t, ec);
    }
    return r;
}

static int check_whole(const struct numactl_reader *t, struct errctx *ec)
{
    if (t->n_nodes == 0)
        return errctx_set(ec, EINVAL, "line %u: the text ends before any node", t->line);
    for (size_t i = 0; i < t->n_nodes; i++) {
        if (!t->nodes[i].has_cpus || !t->nodes[i].has_size)
            return errctx_set(ec, EINVAL, "line %u: the text ends without the %s of node %u",
                              t->line, t->nodes[i].has_cpus ? "size" : "CPUs", t->nodes[i].id);
        if (t->distances != NULL && !t->row[i])
            return errctx_set(ec, EINVAL, "line %u: the text ends without the distances of node %u",
                              t->line, t->nodes[i].id);
    }
    return 0;
}

static int compare_nodes(const void *a, const void *b)
{
    const struct numactl_node *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_cpus(const void *a, const void *b)
{
    const struct host_cpu *x = a, *y = b;

    return x->id.v < y->id.v ? -1 : x->id.v > y->id.v;
}

static void fill_node(struct host_topo *host, size_t i, const struct numactl_node *from)
{
    host->nodes[i].id = (struct hnode_id){ from->id };
    host->nodes[i].mem_bytes = from->mib * MIB;
    host->nodes[i].cpus = from->cpus;
    IDSET_FOREACH(cpu, &from->cpus) {
        host->cpus[host->n_cpus++] = (struct host_cpu){
            .id = { cpu },
            .node = (uint32_t)i,
            .package = (uint32_t)i,
            .die = (uint32_t)i,
            .core = cpu,
            .llc = cpu,
        };
    }
}

static int fill_host(struct numactl_reader *t, struct host_topo *host, struct errctx *ec)
{
    const size_t n = t->n_nodes;
    uint32_t ids[NUMACTL_MAX_NODES];
    size_t n_cpus = 0;

    for (size_t i = 0; i < n; i++) {
        ids[i] = t->nodes[i].id;
        n_cpus += idset_count(&t->nodes[i].cpus);
    }
    qsort(t->nodes, n, sizeof(*t->nodes), compare_nodes);
    host->n_nodes = n;
    host->nodes = calloc(n, sizeof(*host->nodes));
    host->cpus = calloc(MAX(n_cpus, 1u), sizeof(*host->cpus));
    host->distances = calloc(n * n, sizeof(*host->distances));
    if (host->nodes == NULL || host->cpus == NULL || host->distances == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu nodes", n);
    for (size_t i = 0; i < n; i++)
        fill_node(host, i, &t->nodes[i]);
    qsort(host->cpus, host->n_cpus, sizeof(*host->cpus), compare_cpus);
    host->has_distances = t->distances != NULL;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            host->distances[(size_t)find_node(t, ids[i]) * n + (size_t)find_node(t, ids[k])] =
                t->distances != NULL ? t->distances[i * n + k]
                : i == k             ? GUEST_DISTANCE_LOCAL
                                     : GUEST_DISTANCE_REMOTE;
    (void)snprintf(host->source, sizeof(host->source), "the output of numactl -H");
    return 0;
}

int numactl_text_read(const char *text, size_t len, struct host_topo *ret_host, struct errctx *ec)
{
    struct numactl_reader t = { 0 };
    struct host_topo host = { 0 };
    int r;

    t.nodes = calloc(NUMACTL_MAX_NODES, sizeof(*t.nodes));
    if (t.nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to read nodes");
    r = read_lines(&t, text, len, ec);
    if (r == 0)
        r = check_whole(&t, ec);
    if (r == 0)
        r = fill_host(&t, &host, ec);
    free(t.nodes);
    free(t.distances);
    if (r < 0)
        host_topo_fini(&host);
    else
        *ret_host = host;
    return r;
}

bool numactl_text_is(const char *text, size_t len)
{
    static const char begin[] = "available: ";
    const size_t n = sizeof(begin) - 1;

    for (const char *at = text, *end = text + len; at != NULL && (size_t)(end - at) >= n;) {
        if (memcmp(at, begin, n) == 0)
            return true;
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

void numactl_text_write(const struct topo_plan *plan, FILE *out)
{
    (void)fprintf(out, "available: %zu nodes (", plan->n_nodes);
    (void)fprintf(out, plan->n_nodes > 1 ? "0-%zu)\n" : "%zu)\n", plan->n_nodes - 1);
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        (void)fprintf(out, "node %zu cpus:", i);
        IDSET_FOREACH(cpu, &n->cpus)
            (void)fprintf(out, " %u", cpu);
        (void)fprintf(out, "\nnode %zu size: %" PRIu64 " MB\nnode %zu free: %" PRIu64 " MB\n", i,
                      n->ram_bytes / MIB, i, n->ram_bytes / MIB);
    }
    (void)fprintf(out, "node distances:\nnode ");
    for (size_t i = 0; i < plan->n_nodes; i++)
        (void)fprintf(out, " %3zu ", i);
    for (size_t i = 0; i < plan->n_nodes; i++) {
        (void)fprintf(out, "\n%3zu: ", i);
        for (size_t k = 0; k < plan->n_nodes; k++)
            (void)fprintf(out, " %3u ", plan->distances[i * plan->n_nodes + k]);
    }
    (void)fputc('\n', out);
}
