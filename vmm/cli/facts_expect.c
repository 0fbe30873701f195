/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cli/facts_expect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/host_source.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_plan.h"

enum { FILE_MAX = 8 << 20 };

/* --- what should be there --------------------------------------------------------------------- */

static int plan_here(const struct machine_config *config, struct topo_plan **ret_plan,
                     struct errctx *ec)
{
    struct neighbours others = { .dir_fd = -1, .lock_fd = -1 };
    struct host_topo host;
    int r = host_source_here(&host, ec);

    if (r < 0)
        return r;
    (void)neighbours_read(NULL, 0, &others, NULL); /* places do not show in what the guest sees */
    r = machine_plan_make(&config->spec, &host, &others, ret_plan, NULL, ec);
    neighbours_fini(&others);
    host_topo_fini(&host);
    return r;
}

int facts_expect_settle(struct machine_config *config, struct errctx *ec)
{
    struct topo_plan *plan;
    int r;

    if (config->spec.n_vnuma != GUEST_VNUMA_AUTO)
        return 0;
    r = plan_here(config, &plan, ec);
    if (r < 0)
        return r;
    r = topo_plan_describe_nodes(plan, &config->spec, ec);
    topo_plan_free(plan);
    return r;
}

/* The virtio device that an option makes; 0: one that depends on more than that. */
static unsigned device_id(const struct device_args *args)
{
    static const struct {
        const char *type, *sub;
        unsigned id; /* PCI, 0x1040 and the virtio id */
    } ids[] = {
        { "net", NULL, 0x1041 },       { "disk", NULL, 0x1042 },
        { "console", NULL, 0x1043 },   { "rng", NULL, 0x1044 },
        { "balloon", NULL, 0x1045 },   { "vsock", NULL, 0x1053 },
        { "vhost-user", "net", 0x1041 }, { "vhost-user", "blk", 0x1042 },
        { "vhost-user", "fs", 0x105a },
    };
    const struct device_arg *sub = device_args_get(args, "type");

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        if (strcmp(args->type->name, ids[i].type) == 0 &&
            (ids[i].sub == NULL || (sub != NULL && strcmp(sub->text, ids[i].sub) == 0)))
            return ids[i].id;
    return 0;
}

static void write_devices(const struct machine_config *config, bool in_lab, FILE *out)
{
    static const unsigned ids[] = { 0x1041, 0x1042, 0x1043, 0x1044, 0x1045, 0x1053, 0x105a };

    for (size_t k = 0; k < ARRAY_SIZE(ids); k++) {
        bool any = false;

        if (in_lab && (ids[k] == 0x1053 || ids[k] == 0x105a)) /* it has some of its own */
            continue;
        for (uint32_t node = 0; node < GUEST_MAX_VNODES; node++)
            for (size_t i = 0; i < config->n_devices; i++) {
                if (device_id(&config->devices[i]) != ids[k] || config->devices[i].vnode != node)
                    continue;
                if (any)
                    (void)fprintf(out, ",%u", node);
                else
                    (void)fprintf(out, "pci.%04x %u", ids[k], node);
                any = true;
            }
        if (any)
            (void)fputc('\n', out);
    }
}

int facts_expect_write(const struct machine_config *config, bool in_lab, char **ret_text,
                       struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    struct topo_plan *plan;
    size_t len;
    FILE *out;
    int r = plan_here(config, &plan, ec);

    if (r < 0)
        return r;
    out = open_memstream(&text, &len);
    if (out != NULL) {
        r = facts_of_plan(
            plan, machine_arch_tree() != NULL ? FACTS_TOLD_BY_TREE : FACTS_TOLD_BY_ACPI, out);
        write_devices(config, in_lab, out);
        if (ferror(out))
            r = -ENOMEM;
        if (fclose(out) != 0)
            r = -ENOMEM;
    }
    topo_plan_free(plan);
    if (out == NULL || r < 0)
        return errctx_set(ec, ENOMEM, "no memory for what is expected");
    *ret_text = text;
    text = NULL;
    return 0;
}

int facts_expect_read(const char *path, struct facts *ret_facts, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t len;
    int r = read_file(path, FILE_MAX, &text, &len, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "%.200s", path);
    if (strlen(text) != len)
        return errctx_set(ec, EINVAL, "%.200s is no text", path);
    r = facts_parse(text, ret_facts, ec);
    return r < 0 ? errctx_wrap(ec, r, "%.200s", path) : 0;
}

/* --- differences ------------------------------------------------------------------------------ */

static void tell_one(void *ctx, const struct fact *expected, const char *seen)
{
    FILE *out = ctx;

    if (out == NULL && seen == NULL)
        (void)cli_error(0, "%s is not there, expected %s", expected->name, expected->value);
    else if (out == NULL)
        (void)cli_error(0, "%s is %s, expected %s", expected->name, seen, expected->value);
    else if (seen == NULL)
        (void)fprintf(out, "%s is not there, expected %s\n", expected->name, expected->value);
    else
        (void)fprintf(out, "%s is %s, expected %s\n", expected->name, seen, expected->value);
}

size_t facts_expect_tell(const struct facts *expected, const struct facts *seen, FILE *out)
{
    return facts_compare(expected, seen, tell_one, out);
}
