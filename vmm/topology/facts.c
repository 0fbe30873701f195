/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/facts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

enum { SET_LEN = 16384 };

/* --- of a plan -------------------------------------------------------------------------------- */

/* Where a set is written; "-" for the empty one. */
static const char *list(const struct idset *set, char *text)
{
    return idset_empty(set) ? "-" : idset_format(set, text, SET_LEN);
}

/* Those of @cpus that are there from the start. */
static const struct idset *at_start(const struct topo_plan *plan, const struct idset *cpus,
                                    struct idset *set)
{
    *set = *cpus;
    IDSET_FOREACH (cpu, cpus)
        if (plan->vcpus[cpu].later)
            idset_del(set, cpu);
    return set;
}

/* What has neither CPUs nor memory nor a generic initiator that is told of is not online. */
static bool is_there(const struct topo_plan *plan, enum facts_told told, size_t k)
{
    if (plan->nodes[k].ram_bytes > 0 ||
        (plan->nodes[k].generic_initiator && told == FACTS_TOLD_BY_ACPI))
        return true;
    IDSET_FOREACH (cpu, &plan->nodes[k].cpus)
        if (!plan->vcpus[cpu].later)
            return true;
    return false;
}

static void write_distance(const struct topo_plan *plan, enum facts_told told, size_t from,
                           FILE *out)
{
    const char *gap = " ";

    (void)fprintf(out, "node%zu.distance", from);
    for (size_t to = 0; to < plan->n_nodes; to++)
        if (is_there(plan, told, to))
            (void)fprintf(out, "%s%" PRIu32, gap, plan->distances[from * plan->n_nodes + to]);
    (void)fputc('\n', out);
}

/* Linux shows what the initiator gets that the firmware names, where it names one. */
static void write_access(const struct topo_plan *plan, size_t k, FILE *out)
{
    const struct topo_plan_node *n = &plan->nodes[k];
    const struct topo_plan_link *l;

    if (plan->links == NULL || !n->has_initiator || n->ram_bytes == 0)
        return;
    l = &plan->links[n->initiator.v * plan->n_nodes + k];
    if (l->latency_ns != 0)
        (void)fprintf(out, "node%zu.read_latency %" PRIu64 "\nnode%zu.write_latency %" PRIu64 "\n",
                      k, l->latency_ns, k, l->latency_ns);
    if (l->bandwidth_bytes_per_s != 0)
        (void)fprintf(out, "node%zu.read_bandwidth %" PRIu64 "\nnode%zu.write_bandwidth %" PRIu64
                      "\n", k, l->bandwidth_bytes_per_s / MIB, k, l->bandwidth_bytes_per_s / MIB);
}

/* Numbers of include/linux/node.h, enum cache_indexing and enum cache_write_policy. */
static void write_mem_caches(const struct topo_plan_node *n, size_t k, FILE *out)
{
    static const int indexing[] = {
        [MEM_CACHE_ASSOC_NONE] = 2,
        [MEM_CACHE_ASSOC_DIRECT] = 0,
        [MEM_CACHE_ASSOC_COMPLEX] = 1,
    };
    static const int policy[] = {
        [MEM_CACHE_WRITE_NONE] = 2,
        [MEM_CACHE_WRITE_BACK] = 0,
        [MEM_CACHE_WRITE_THROUGH] = 1,
    };

    for (uint32_t i = 0; i < n->n_mem_caches; i++) {
        const struct guest_mem_cache_spec *c = &n->mem_cache[i];

        (void)fprintf(out, "node%zu.memory_cache%u size=%" PRIu64 " line=%u indexing=%d write=%d\n",
                      k, i + 1, c->size_bytes, c->line_bytes, indexing[c->assoc], policy[c->write]);
    }
}

static void write_nodes(const struct topo_plan *plan, enum facts_told told, char *text,
                        struct idset *set, FILE *out)
{
    *set = (struct idset){ 0 };
    for (size_t k = 0; k < plan->n_nodes; k++)
        if (is_there(plan, told, k))
            idset_add(set, (uint32_t)k);
    (void)fprintf(out, "nodes %s\n", list(set, text));
    *set = (struct idset){ 0 };
    for (size_t k = 0; k < plan->n_nodes; k++)
        if (plan->nodes[k].generic_initiator && told == FACTS_TOLD_BY_ACPI)
            idset_add(set, (uint32_t)k);
    if (!idset_empty(set))
        (void)fprintf(out, "generic_initiators %s\n", list(set, text));
    for (size_t k = 0; k < plan->n_nodes; k++) {
        const struct topo_plan_node *n = &plan->nodes[k];

        if (!is_there(plan, told, k))
            continue;
        (void)fprintf(out, "node%zu.cpus %s\n", k, list(at_start(plan, &n->cpus, set), text));
        (void)fprintf(out, "node%zu.memory %" PRIu64 "\n", k, n->ram_bytes / 1024);
        write_distance(plan, told, k, out);
        if (told == FACTS_TOLD_BY_TREE)
            continue;
        write_access(plan, k, out);
        write_mem_caches(n, k, out);
    }
}

static void write_group(const struct topo_plan *plan, const char *name, uint32_t cpu, uint32_t shift,
                        char *text, struct idset *set, FILE *out)
{
    *set = (struct idset){ 0 };
    for (size_t i = 0; i < plan->n_vcpus; i++)
        if (!plan->vcpus[i].later &&
            plan->vcpus[i].apic_id >> shift == plan->vcpus[cpu].apic_id >> shift)
            idset_add(set, (uint32_t)i);
    (void)fprintf(out, "cpu%u.%s %s\n", cpu, name, list(set, text));
}

static void write_caches(const struct topo_plan *plan, enum facts_told told, uint32_t cpu,
                         char *text, struct idset *set, FILE *out)
{
    static const char *const kinds[] = { [CACHE_UNIFIED] = "", [CACHE_DATA] = "d",
                                         [CACHE_INSTRUCTION] = "i" };
    struct idset sharers;

    if (told == FACTS_TOLD_BY_ACPI) {
        (void)fprintf(out, "cpu%u.caches %s", cpu, plan->n_caches == 0 ? "-" : "");
        for (size_t i = 0; i < plan->n_caches; i++)
            (void)fprintf(out, "%sl%u%s", i > 0 ? "," : "", plan->caches[i].level,
                          kinds[plan->caches[i].type]);
        (void)fputc('\n', out);
    }
    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];

        sharers = (struct idset){ 0 };
        if (c->level == 1 && told == FACTS_TOLD_BY_TREE) /* each CPU's own for Linux */
            idset_add(&sharers, cpu);
        else
            topo_plan_cache_cpus(plan, c, (struct vcpu_id){ cpu }, &sharers);
        (void)at_start(plan, &sharers, set);
        (void)fprintf(out, "cpu%u.l%u%s size=%" PRIu64 "K line=%u ways=%u cpus=%s\n", cpu, c->level,
                      kinds[c->type], c->size_bytes / 1024, c->line_bytes, c->ways,
                      list(set, text));
    }
}

int facts_of_plan(const struct topo_plan *plan, enum facts_told told, FILE *out)
{
    CLEANUP_FREE char *text = malloc(SET_LEN);
    CLEANUP_FREE struct idset *set = calloc(1, sizeof(*set));

    if (text == NULL || set == NULL)
        return -ENOMEM;
    write_nodes(plan, told, text, set, out);
    *set = (struct idset){ 0 };
    for (uint32_t cpu = 0; cpu < plan->n_vcpus; cpu++)
        if (!plan->vcpus[cpu].later)
            idset_add(set, cpu);
    (void)fprintf(out, "cpus %s\n", list(set, text));
    for (uint32_t cpu = 0; cpu < plan->n_vcpus; cpu++) {
        if (plan->vcpus[cpu].later)
            continue;
        write_group(plan, "package", cpu, plan->apic.socket_shift, text, set, out);
        if (told == FACTS_TOLD_BY_TREE)
            write_group(plan, "cluster", cpu, plan->apic.complex_shift, text, set, out);
        else
            write_group(plan, "die", cpu, plan->apic.die_shift, text, set, out);
        write_group(plan, "core", cpu, plan->apic.core_shift, text, set, out);
        write_caches(plan, told, cpu, text, set, out);
    }
    return 0;
}

/* --- texts ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct fact *)a)->name, ((const struct fact *)b)->name);
}

static size_t count_lines(const char *text)
{
    size_t n = 1;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* One line, which is taken apart; false when it is no fact. */
static bool take_line(char *line, struct facts *f)
{
    char *value = strchr(line, ' ');

    if (value == NULL || value == line)
        return false;
    *value++ = '\0';
    value += strspn(value, " ");
    f->list[f->n++] = (struct fact){ line, value };
    return *value != '\0';
}

static int take_lines(struct facts *f, struct errctx *ec)
{
    unsigned number = 0;

    for (char *line = f->text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        for (size_t len = strlen(line); len > 0 && strchr(" \t\r", line[len - 1]) != NULL; len--)
            line[len - 1] = '\0';
        for (char *c = line; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
                *c = '?'; /* guests write some, for the user's terminal */
        if (line[0] != '\0' && line[0] != '#' && !take_line(line, f))
            return errctx_set(ec, EINVAL, "line %u: \"%.60s\" is no name and value", number, line);
    }
    qsort(f->list, f->n, sizeof(f->list[0]), by_name);
    for (size_t i = 1; i < f->n; i++)
        if (strcmp(f->list[i].name, f->list[i - 1].name) == 0)
            return errctx_set(ec, EINVAL, "\"%.60s\" is given twice", f->list[i].name);
    return 0;
}

int facts_parse(const char *text, struct facts *ret_facts, struct errctx *ec)
{
    struct facts f = { .text = strdup(text) };
    int r;

    f.list = calloc(count_lines(text), sizeof(f.list[0]));
    r = f.text == NULL || f.list == NULL ? errctx_set(ec, ENOMEM, "no memory for a list of facts")
                                         : take_lines(&f, ec);
    if (r == 0)
        *ret_facts = f;
    else
        facts_fini(&f);
    return r;
}

void facts_fini(struct facts *facts)
{
    free(facts->text);
    free(facts->list);
    *facts = (struct facts){ .n = 0 };
}

static bool is_memory(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && strcmp(dot, ".memory") == 0;
}

static bool agree(const struct fact *expected, const char *seen)
{
    uint64_t want, got;

    if (is_memory(expected->name) &&
        units_parse_uint(expected->value, UINT64_MAX, &want, NULL) == 0 &&
        units_parse_uint(seen, UINT64_MAX, &got, NULL) == 0)
        return got <= want && want - got <= FACTS_MEMORY_SLACK_KIB;
    return strcmp(expected->value, seen) == 0;
}

size_t facts_compare(const struct facts *expected, const struct facts *seen,
                     void (*differ)(void *ctx, const struct fact *expected, const char *seen),
                     void *ctx)
{
    size_t n = 0;

    for (size_t i = 0; i < expected->n; i++) {
        const struct fact *e = &expected->list[i];
        const struct fact *s =
            seen->n > 0 ? bsearch(e, seen->list, seen->n, sizeof(*e), by_name) : NULL;

        if (s != NULL && agree(e, s->value))
            continue;
        n++;
        if (differ != NULL)
            differ(ctx, e, s != NULL ? s->value : NULL);
    }
    return n;
}
