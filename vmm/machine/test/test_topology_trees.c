/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each topology that Linux guests are booted in (guest-tests/linux/topologies) as a device tree:
 * read from its file like a command line, planned, and held against the file of its name, see
 * firmware/test/fdt_golden.h. What a tree cannot tell is refused in the words that the file has for
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "firmware/test/fdt_golden.h"
#include "vmm/config/config_options.h"

#define FOLDER "guest-tests/linux/topologies"

/* Not here: 15, whose matrix alone is half a megabyte of text, and 16, which asks the host. */
static const char *const topologies[] = {
    "01-one-node",    "02-two-nodes",   "03-four-nodes-ring",     "04-eight-nodes",
    "05-asymmetric",  "06-memory-only", "07-cpu-only",            "08-smt",
    "09-dies",        "10-links",       "11-memory-side-cache",   "12-unequal",
    "14-l3-groups",   "17-hotplug",     "13-sockets-of-two-nodes", "18-memory-first",
};

struct topology {
    struct machine_config config;
    struct config_input input;
    char refused[80]; /* words of the refusal; "": none */
};

static void take_option(struct topology *t, const char *name, const char *value)
{
    struct errctx ec = { 0 };
    const int row = strncmp(name, "--", 2) == 0 ? config_input_find(name + 2) : -1;

    if (row < 0 || value == NULL)
        fail_msg("%s is no option with a value", name);
    if (config_input_option(&t->input, row, value, &ec) < 0)
        fail_msg("%s %s: %s", name, value, ec.msg);
}

/* Words, in pairs of an option and its value; lines that begin with # are none. */
static void read_topology(const char *name, struct topology *t)
{
    char path[PATH_MAX], line[256];
    struct errctx ec = { 0 };
    FILE *file;

    *t = (struct topology){ .refused = "" };
    config_init(&t->config);
    t->input.config = &t->config;
    (void)snprintf(path, sizeof(path), FOLDER "/%s.opts", name);
    file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), file) != NULL) {
        char *save = NULL;

        (void)sscanf(line, "# arm64 refuses: %79[^\n]", t->refused);
        for (char *w = line[0] == '#' ? NULL : strtok_r(line, " \n", &save); w != NULL;
             w = strtok_r(NULL, " \n", &save))
            take_option(t, w, strtok_r(NULL, " \n", &save));
    }
    (void)fclose(file);
    if (config_input_finish(&t->input, &ec) < 0 || config_check(&t->config, false, &ec) < 0)
        fail_msg("%s: %s", name, ec.msg);
}

static void is_refused(const struct topo_plan *plan, const struct topology *t, const char *name)
{
    struct fdt_input in = { .plan = plan };
    struct mem_layout *layout;
    struct errctx ec = { 0 };
    size_t len;
    void *blob;

    assert_int_equal(mem_layout_make(fdt_arch_arm64.map, plan, 40, &layout, &ec), 0);
    in.layout = layout;
    assert_int_equal(fdt_build(&fdt_arch_arm64, &in, &blob, &len, &ec), -ENOTSUP);
    if (strstr(ec.msg, t->refused) == NULL)
        fail_msg("%s: \"%s\", not \"%s\"", name, ec.msg, t->refused);
    mem_layout_free(layout);
}

static void trees_of_the_topologies_equal_their_files(void **state)
{
    (void)state;
    fdt_golden_skip_without_dtc();
    for (size_t i = 0; i < ARRAY_SIZE(topologies); i++) {
        struct topo_plan *plan;
        struct errctx ec = { 0 };
        struct topology t;

        read_topology(topologies[i], &t);
        if (fdt_case_plan_spec(&t.config.spec, &plan, &ec) < 0)
            fail_msg("%s: %s", topologies[i], ec.msg);
        if (t.refused[0] != '\0')
            is_refused(plan, &t, topologies[i]);
        else
            fdt_golden_compare(plan, topologies[i]);
        topo_plan_free(plan);
        config_input_fini(&t.input);
        config_fini(&t.config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_of_the_topologies_equal_their_files),
    };
    return cmocka_run_group_tests_name("vmm/machine/topology_trees", tests, NULL, NULL);
}
