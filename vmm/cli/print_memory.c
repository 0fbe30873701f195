/* SPDX-License-Identifier: Apache-2.0 */
/* See print_memory.h. */
#include "vmm/cli/print_memory.h"

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/units.h"
#include "vmm/cli/ctl_answer.h"
#include "vmm/cli/print_json.h"

/* @width columns of a word, unprintable bytes replaced. */
static void word(FILE *out, const json_t *object, const char *name, int width, const char *empty)
{
    const char *text = json_string_value(json_object_get(object, name));
    int len = 0;

    if (text == NULL || text[0] == '\0')
        text = empty;
    for (; text[len] != '\0'; len++)
        ;
    (void)fputs("  ", out);
    print_json_text(out, text);
    (void)fprintf(out, "%*s", len < width ? width - len : 0, "");
}

static void size(FILE *out, uint64_t bytes)
{
    char buf[32];

    (void)fprintf(out, "  %10s", bytes > 0 ? units_format_human(bytes, buf, sizeof(buf)) : "-");
}

static void counts(FILE *out, const json_t *where)
{
    static const char *const kinds[] = { "pages_4k", "pages_2m", "pages_1g" };

    (void)fprintf(out, "  %9llu", (unsigned long long)answer_number(where, "host"));
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        (void)fprintf(out, "  %9llu", (unsigned long long)answer_number(where, kinds[i]));
    (void)fputc('\n', out);
}

static void print_backing(FILE *out, uint64_t node, const json_t *b)
{
    const json_t *where = json_object_get(b, "where");
    size_t n = json_array_size(where);

    (void)fprintf(out, "%4llu", (unsigned long long)node);
    size(out, answer_number(b, "memory"));
    word(out, b, "pages", 5, "");
    word(out, b, "policy", 19, "-");
    word(out, b, "host", 6, "any");
    size(out, answer_number(b, "present"));
    size(out, answer_number(b, "reserved"));
    if (n == 0)
        (void)fputc('\n', out);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            (void)fprintf(out, "%*s", 4 + 12 + 7 + 21 + 8 + 12 + 12, "");
        counts(out, json_array_get(where, i));
    }
    if (answer_number(b, "unknown") > 0) {
        (void)fputs("      of which on no node that could be told:", out);
        size(out, answer_number(b, "unknown"));
        (void)fputc('\n', out);
    }
}

/* What of a node was taken away; only where the machine has a pager. */
static void print_pager(FILE *out, uint64_t node, const json_t *p)
{
    static const char *const counts_of[] = { "evicted", "cancelled", "filled", "faults",
                                             "mended" };

    (void)fprintf(out, "%4llu", (unsigned long long)node);
    size(out, answer_number(p, "away"));
    size(out, answer_number(p, "away_zero"));
    size(out, answer_number(p, "store"));
    (void)fprintf(out, "  %9llu", (unsigned long long)answer_number(p, "store_objects"));
    for (size_t i = 0; i < sizeof(counts_of) / sizeof(counts_of[0]); i++)
        (void)fprintf(out, "  %9llu", (unsigned long long)answer_number(p, counts_of[i]));
    (void)fprintf(out, "  %8.1f  %8.1f\n", (double)answer_number(p, "fault_p50_ns") / 1000,
                  (double)answer_number(p, "fault_p99_ns") / 1000);
}

static void print_pagers(FILE *out, const json_t *nodes)
{
    bool any = false;

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i), *p = json_object_get(n, "pager");

        if (p == NULL)
            continue;
        if (!any)
            (void)fprintf(out, "\n%4s  %10s  %10s  %10s  %9s  %9s  %9s  %9s  %9s  %9s  %8s  %8s\n", "node",
                          "away", "zeroes", "store", "objects", "evicted", "cancelled", "filled",
                          "faults", "mended", "p50 us", "p99 us");
        any = true;
        print_pager(out, answer_number(n, "id"), p);
    }
}

/* What of a node is in use, as far as was looked, and how much of it may stay. */
static void print_heat(FILE *out, const json_t *nodes)
{
    static const char *const sizes[] = { "target", "resident", "hot", "warm", "cold" };
    bool any = false;

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i), *p = json_object_get(n, "pager");
        const char *error = json_string_value(json_object_get(p, "target_error"));

        if (p == NULL || (answer_number(p, "rounds") == 0 && error == NULL))
            continue;
        if (!any)
            (void)fprintf(out, "\n%4s  %10s  %10s  %10s  %10s  %10s  %9s  %9s  %9s  %9s\n", "node",
                          "target", "resident", "hot", "warm", "cold", "regions", "rounds",
                          "samples", "CPU ms");
        any = true;
        (void)fprintf(out, "%4llu", (unsigned long long)answer_number(n, "id"));
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
            size(out, answer_number(p, sizes[k]));
        (void)fprintf(out, "  %9llu  %9llu  %9llu  %9.1f\n",
                      (unsigned long long)answer_number(p, "regions"),
                      (unsigned long long)answer_number(p, "rounds"),
                      (unsigned long long)answer_number(p, "samples"),
                      (double)answer_number(p, "look_cpu_ns") / 1000000);
        if (error != NULL && error[0] != '\0') {
            (void)fputs("      nothing goes toward targets any more: ", out);
            print_json_text(out, error);
            (void)fputc('\n', out);
        }
    }
}

/* What the guest gave away of a node, and what was plugged in. */
static void print_given(FILE *out, const json_t *node)
{
    static const char *const kinds[] = { "ballooned", "reported", "kept", "plugged" };
    static const char *const says[] = { "in the balloon", "reported free", "in the balloon and kept",
                                        "plugged in" };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (answer_number(node, kinds[i]) == 0)
            continue;
        (void)fprintf(out, "%4llu", (unsigned long long)answer_number(node, "id"));
        size(out, answer_number(node, kinds[i]));
        (void)fprintf(out, "  %s\n", says[i]);
    }
}

/* Where KVM's page tables for all guests are, on host nodes that have some. */
static void print_tables(FILE *out, const json_t *hosts)
{
    bool any = false;

    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *h = json_array_get(hosts, i);
        const uint64_t bytes = answer_number(h, "page_tables");
        char buf[32];

        if (bytes == 0)
            continue;
        (void)fprintf(out, "%s host node %llu %s", any ? "," : "second-level page tables, all guests:",
                      (unsigned long long)answer_number(h, "host"),
                      units_format_human(bytes, buf, sizeof(buf)));
        any = true;
    }
    if (any)
        (void)fputc('\n', out);
}

/* What is in the file, where there is one. */
static void print_swap(FILE *out, const json_t *swap)
{
    const char *error = json_string_value(json_object_get(swap, "error"));
    char used[32], all[32];

    if (swap == NULL)
        return;
    (void)fprintf(out, "\nswap: %s of %s in use, ",
                  units_format_human(answer_number(swap, "used"), used, sizeof(used)),
                  units_format_human(answer_number(swap, "size"), all, sizeof(all)));
    print_json_text(out, json_string_value(json_object_get(swap, "file")));
    if (error != NULL && error[0] != '\0') {
        (void)fputs("; the last write failed: ", out);
        print_json_text(out, error);
    }
    (void)fputc('\n', out);
}

/* How much of what is away is in the golden file, where there is one: of each node, with those
 * that share its store. */
static void print_golden(FILE *out, const json_t *golden, const json_t *nodes)
{
    const char *between = "";
    char text[32];

    if (golden == NULL)
        return;
    (void)fputs("\ngolden: ", out);
    print_json_text(out, json_string_value(json_object_get(golden, "file")));
    (void)fprintf(out, ", %llu pages; of what is away it has",
                  (unsigned long long)answer_number(golden, "pages"));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i), *p = json_object_get(n, "pager");

        if (p == NULL)
            continue;
        (void)fprintf(out, "%s %s (node %llu)", between,
                      units_format_human(answer_number(p, "golden"), text, sizeof(text)),
                      (unsigned long long)answer_number(n, "id"));
        between = ",";
    }
    (void)fputc('\n', out);
}

/* How much of what is away is shared with other machines: of each node, with those that share its
 * store. */
static void print_domain(FILE *out, const json_t *domain, const json_t *nodes)
{
    const char *between = "";
    char text[2][32];

    if (domain == NULL)
        return;
    (void)fputs("\ndomain: ", out);
    print_json_text(out, json_string_value(json_object_get(domain, "name")));
    (void)fprintf(out, ", its service is %s; of what is away",
                  json_is_true(json_object_get(domain, "connected")) ? "there" : "not there");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i), *p = json_object_get(n, "pager");

        if (p == NULL)
            continue;
        (void)fprintf(out, "%s %s (node %llu)", between,
                      units_format_human(answer_number(p, "shared"), text[0], sizeof(text[0])),
                      (unsigned long long)answer_number(n, "id"));
        (void)fprintf(out, " is shared, as %s",
                      units_format_human(answer_number(p, "shared_bytes"), text[1],
                                         sizeof(text[1])));
        between = ",";
    }
    (void)fputc('\n', out);
}

void print_memory(FILE *out, const json_t *answer)
{
    const json_t *nodes = json_object_get(answer, "nodes");

    (void)fprintf(out, "%4s  %10s  %-5s  %-19s  %-6s  %10s  %10s  %9s  %9s  %9s  %9s\n", "node",
                  "memory", "pages", "policy", "host", "present", "reserved", "on host", "4 KiB",
                  "2 MiB", "1 GiB");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i), *backings = json_object_get(n, "backings");

        for (size_t k = 0; k < json_array_size(backings); k++)
            print_backing(out, answer_number(n, "id"), json_array_get(backings, k));
        print_given(out, n);
    }
    print_pagers(out, nodes);
    print_heat(out, nodes);
    print_swap(out, json_object_get(answer, "swap"));
    print_golden(out, json_object_get(answer, "golden"), nodes);
    print_domain(out, json_object_get(answer, "domain"), nodes);
    print_tables(out, json_object_get(answer, "hosts"));
}
