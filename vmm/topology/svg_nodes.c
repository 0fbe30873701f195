/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes as boxes. Up to SVG_FULL_NODES each shows sockets, dies, shared caches and cores nested
 * in each other; more nodes are cards with lists, which stay readable at 128.
 *
 * Nesting follows the APIC ids: at each level the vCPUs that agree above a shift are one box.
 * Measuring and drawing are the same walk with drawing switched off.
 */
#include "vmm/topology/svg_parts.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/show_text.h"

enum { SVG_FULL_NODES = 16, MAX_LEVELS = 8, PAD = 6, LABEL = 14, CELL_H = 18, NODE_GAP = 16 };

/* One nesting level; the innermost (cores) has no label. */
struct level {
    uint32_t shift;
    const struct topo_plan_cache *cache; /* NULL: socket, die or core */
    const char *word;                    /* "socket", "die"; NULL: unnumbered */
};

struct drawing {
    const struct topo_plan *plan;
    FILE *out;
    struct level level[MAX_LEVELS];
    size_t n_levels;
    double cell_w;
    bool draw;
};

/* vCPUs of one box: a range of a node's vCPUs in APIC order. */
struct range {
    const uint32_t *cpu;
    size_t n;
};

static const char *socket_tint(uint32_t socket)
{
    static const char *const tint[] = { "#e3eefc", "#fdebdc", "#e9e4f8", "#e0f3f1",
                                        "#fce4ec", "#f4f1d8", "#e6eef2", "#efe6e0" };

    return tint[socket % ARRAY_SIZE(tint)];
}

static void add_level(struct drawing *d, uint32_t shift, const char *word,
                      const struct topo_plan_cache *cache)
{
    if (d->n_levels < MAX_LEVELS)
        d->level[d->n_levels++] = (struct level){ .shift = shift, .cache = cache, .word = word };
}

/* Sockets, dies where a socket has several, caches that several cores of a die share, cores. */
static void choose_levels(struct drawing *d)
{
    const struct topo_apic_layout *a = &d->plan->apic;

    add_level(d, a->socket_shift, "socket", NULL);
    if (a->dies_per_socket > 1)
        add_level(d, a->die_shift, "die", NULL);
    for (size_t i = d->plan->n_caches; i-- > 0;) {
        const struct topo_plan_cache *c = &d->plan->caches[i];

        if (c->apic_shift <= a->die_shift && c->apic_shift > a->core_shift &&
            d->n_levels < MAX_LEVELS - 1)
            add_level(d, c->apic_shift, NULL, c);
    }
    add_level(d, a->core_shift, NULL, NULL);
}

static struct svg_size draw_core(const struct drawing *d, struct range r, double x, double y)
{
    struct svg_size size = { (double)r.n * d->cell_w, CELL_H };
    char text[16];

    if (!d->draw)
        return size;
    svg_rect(d->out, (struct svg_rect){ x, y, size.w, size.h }, "#ffffff", "#57606a");
    for (size_t i = 0; i < r.n; i++) {
        (void)snprintf(text, sizeof(text), "%u", r.cpu[i]);
        svg_text(d->out, x + ((double)i + 0.5) * d->cell_w, y + 13, 10.5, "middle", SVG_INK, text);
        if (i > 0)
            (void)fprintf(d->out,
                          "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                          "stroke=\"#d0d7de\"/>\n",
                          x + (double)i * d->cell_w, y + 2, x + (double)i * d->cell_w,
                          y + CELL_H - 2);
    }
    return size;
}

static void level_label(const struct drawing *d, size_t level, const struct topo_plan_vcpu *v,
                        char *buf, size_t size)
{
    const struct level *l = &d->level[level];
    char b[32];

    if (l->cache != NULL)
        (void)snprintf(buf, size, "%s %s", show_cache_name(l->cache->level, l->cache->type),
                       show_size(l->cache->size_bytes, b, sizeof(b)));
    else
        (void)snprintf(buf, size, "%s %u", l->word, level == 0 ? v->socket : v->die);
}

/* The next range of vCPUs in @all from @at on that is one box at @level. */
static struct range next_box(const struct drawing *d, struct range all, size_t at, size_t level)
{
    const struct topo_plan_vcpu *v = d->plan->vcpus;
    uint32_t shift = d->level[level].shift, key = v[all.cpu[at]].apic_id >> shift;
    size_t end = at;

    while (end < all.n && v[all.cpu[end]].apic_id >> shift == key)
        end++;
    return (struct range){ all.cpu + at, end - at };
}

static struct svg_size place_box(const struct drawing *d, struct range r, size_t level, double x,
                                 double y);

/* All boxes of @level in @r, in rows and columns of equal cells. */
static struct svg_size place_boxes(const struct drawing *d, struct range r, size_t level, double x,
                                   double y)
{
    struct drawing measure = *d;
    struct svg_size cell = { 0 };
    size_t n = 0, cols, k = 0;
    double gap = level + 1 == d->n_levels ? 4 : PAD;

    measure.draw = false;
    for (size_t at = 0; at < r.n; n++) {
        struct range box = next_box(d, r, at, level);
        struct svg_size s = place_box(&measure, box, level, 0, 0);

        cell.w = MAX(cell.w, s.w);
        cell.h = MAX(cell.h, s.h);
        at += box.n;
    }
    cols = svg_columns(n, cell.w + gap, cell.h + gap, 2.0);
    for (size_t at = 0; d->draw && at < r.n; k++) {
        struct range box = next_box(d, r, at, level);

        (void)place_box(d, box, level, x + (double)(k % cols) * (cell.w + gap),
                        y + (double)(k / cols) * (cell.h + gap));
        at += box.n;
    }
    return (struct svg_size){ (double)cols * (cell.w + gap) - gap,
                              (double)((n + cols - 1) / cols) * (cell.h + gap) - gap };
}

static struct svg_size place_box(const struct drawing *d, struct range r, size_t level, double x,
                                 double y)
{
    const struct topo_plan_vcpu *v = &d->plan->vcpus[r.cpu[0]];
    struct drawing measure = *d;
    struct svg_size in;
    char label[48];

    if (level + 1 == d->n_levels)
        return draw_core(d, r, x, y);
    measure.draw = false;
    in = place_boxes(&measure, r, level + 1, 0, 0);
    level_label(d, level, v, label, sizeof(label));
    in.w = MAX(in.w, svg_text_width(label, 10)) + 2 * PAD;
    in.h += LABEL + 2 * PAD;
    if (!d->draw)
        return in;
    svg_rect(d->out, (struct svg_rect){ x, y, in.w, in.h },
             level == 0                     ? socket_tint(v->socket)
             : d->level[level].word != NULL ? "#ffffff"
                                            : "#f3f4f6",
             "#8c959f");
    svg_text(d->out, x + PAD, y + LABEL - 2, 10, "start", SVG_DIM, label);
    (void)place_boxes(d, r, level + 1, x + PAD, y + LABEL + PAD);
    return in;
}

/* --- a node ------------------------------------------------------------------------------- */

enum { NODE_LINES = 15, NODE_PIECES = 6, NODE_LINE_BYTES = 56, NODE_TEXT = 11, NODE_LINE_H = 16 };

/* What is said about a node in words, each line for itself. */
struct node_text {
    char line[NODE_LINES][NODE_LINE_BYTES];
    size_t n;
};

/* What its memory is made of, a line each, where anything was said about it. */
static void describe_memory(const struct topo_plan *plan, const struct topo_plan_node *n,
                            struct node_text *t)
{
    size_t pieces = 0;
    char b[32], list[24];

    for (size_t i = 0; i < plan->n_backings && pieces < NODE_PIECES; i++) {
        const struct topo_plan_backing *k = &plan->backings[i];

        if (k->vnode.v != n->vnode.v ||
            (k->pages == GUEST_PAGES_ANY && k->policy == GUEST_POLICY_NONE))
            continue;
        pieces++;
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "%s, pages %s, %s%s%s",
                       show_size(k->len_bytes, b, sizeof(b)), guest_page_name(k->pages),
                       k->policy == GUEST_POLICY_NONE ? "anywhere" : guest_policy_words[k->policy],
                       idset_empty(&k->host_nodes) ? "" : " ",
                       idset_format(&k->host_nodes, list, sizeof(list)));
    }
}

static void describe_node(const struct topo_plan *plan, const struct topo_plan_node *n, bool full,
                          struct node_text *t)
{
    char b[32], list[24];

    t->n = 0;
    (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "%s%s",
                   n->ram_bytes > 0 ? "memory " : "no memory",
                   n->ram_bytes > 0 ? show_size(n->ram_bytes, b, sizeof(b)) : "");
    describe_memory(plan, n, t);
    if (n->hotplug_bytes > 0)
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "room to plug %s",
                       show_size(n->hotplug_bytes, b, sizeof(b)));
    for (uint32_t k = 0; k < n->n_mem_caches; k++)
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "memory cache %s",
                       show_size(n->mem_cache[k].size_bytes, b, sizeof(b)));
    if (idset_empty(&n->cpus))
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "no CPUs");
    else if (!full)
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "CPUs %s, socket %u",
                       idset_format(&n->cpus, list, sizeof(list)),
                       plan->vcpus[idset_next(&n->cpus, 0)].socket);
    if (n->generic_initiator)
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "generic initiator");
    if (idset_empty(&n->cpus) && n->has_initiator)
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "nearest %s: node %u",
                       idset_empty(&plan->nodes[n->initiator.v].cpus) ? "initiator" : "CPUs",
                       n->initiator.v);
    if (!idset_empty(&n->host_nodes))
        (void)snprintf(t->line[t->n++], NODE_LINE_BYTES, "on host node %s",
                       idset_format(&n->host_nodes, list, sizeof(list)));
}

static int compare_ids(const void *a, const void *b, void *plan)
{
    const struct topo_plan *p = plan;
    uint32_t x = p->vcpus[*(const uint32_t *)a].apic_id, y = p->vcpus[*(const uint32_t *)b].apic_id;

    return x < y ? -1 : x > y;
}

/* The node's vCPUs by APIC id, so that the boxes of every level are runs. */
static struct range sorted_cpus(const struct topo_plan *plan, const struct topo_plan_node *n,
                                uint32_t *buf)
{
    struct range r = { buf, 0 };

    IDSET_FOREACH(cpu, &n->cpus)
        buf[r.n++] = cpu;
    if (r.n > 0) /* qsort_r only reads the plan; its parameter is not const */
        qsort_r(buf, r.n, sizeof(*buf), compare_ids, (void *)(uintptr_t)plan);
    return r;
}

static struct svg_size place_node(const struct drawing *d, const struct topo_plan_node *n,
                                  bool full, double x, double y, struct svg_size fixed)
{
    uint32_t buf[GUEST_MAX_VCPUS];
    struct range cpus = sorted_cpus(d->plan, n, buf);
    struct drawing measure = *d;
    struct node_text t;
    struct svg_size size = { 90, 0 }, in = { 0 };
    double head = 26, lines;
    char name[24];

    describe_node(d->plan, n, full, &t);
    measure.draw = false;
    if (full && cpus.n > 0)
        in = place_boxes(&measure, cpus, 0, 0, 0);
    for (size_t i = 0; i < t.n; i++)
        size.w = MAX(size.w, svg_text_width(t.line[i], NODE_TEXT) + 2 * PAD);
    lines = (double)t.n * NODE_LINE_H;
    size.w = MAX(size.w, in.w) + 2 * PAD;
    size.h = head + lines + 2 * PAD + (in.h > 0 ? in.h + PAD : 0);
    if (!d->draw)
        return size;

    /* Cards carry their socket's tint, since they show no boxes that could. */
    svg_rect(d->out, (struct svg_rect){ x, y, fixed.w, fixed.h },
             full || cpus.n == 0 ? "#fafbfc" : socket_tint(d->plan->vcpus[cpus.cpu[0]].socket),
             "#57606a");
    (void)snprintf(name, sizeof(name), "node %u", n->vnode.v);
    svg_text(d->out, x + 2 * PAD, y + 19, 14, "start", SVG_INK, name);
    svg_rect(d->out, (struct svg_rect){ x + PAD, y + head, fixed.w - 2 * PAD, lines + 4 },
             n->ram_bytes > 0 ? "#d8f0dd" : "#eaeef2", "none");
    for (size_t i = 0; i < t.n; i++)
        svg_text(d->out, x + 2 * PAD, y + head + 13 + (double)i * NODE_LINE_H, NODE_TEXT, "start",
                 SVG_INK, t.line[i]);
    if (in.h > 0)
        (void)place_boxes(d, cpus, 0, x + PAD, y + head + lines + 4 + PAD);
    return size;
}

struct svg_size svg_draw_nodes(const struct topo_plan *plan, FILE *out, double x, double y)
{
    struct drawing d = { .plan = plan, .out = out };
    bool full = plan->n_nodes <= SVG_FULL_NODES;
    struct svg_size cell = { 0 };
    size_t cols;
    char widest[24];

    choose_levels(&d);
    (void)snprintf(widest, sizeof(widest), "%zu", plan->n_vcpus - 1);
    d.cell_w = svg_text_width(widest, 10.5) + 10;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        struct svg_size s = place_node(&d, &plan->nodes[i], full, 0, 0, cell);

        cell.w = MAX(cell.w, s.w);
        cell.h = MAX(cell.h, s.h);
    }
    cols = svg_columns(plan->n_nodes, cell.w + NODE_GAP, cell.h + NODE_GAP, 1.8);
    d.draw = true;
    for (size_t i = 0; i < plan->n_nodes; i++)
        (void)place_node(&d, &plan->nodes[i], full, x + (double)(i % cols) * (cell.w + NODE_GAP),
                         y + (double)(i / cols) * (cell.h + NODE_GAP), cell);
    return (struct svg_size){ (double)cols * (cell.w + NODE_GAP) - NODE_GAP,
                              (double)((plan->n_nodes + cols - 1) / cols) * (cell.h + NODE_GAP) -
                                  NODE_GAP };
}
