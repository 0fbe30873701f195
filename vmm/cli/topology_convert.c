/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See topology_convert.h. What was written is read back and planned again; what is then missing is
 * what the form could not hold, so nothing is lost unsaid.
 */
#include "vmm/cli/topology_convert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/print_json.h"
#include "vmm/cli/print_topology.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_topology.h"
#include "vmm/topology/numactl_text.h"
#include "vmm/topology/topo_convert.h"

/* A topology on its way. */
struct topology {
    struct machine_config config; /* whose description it is */
    struct topo_plan *plan;
    struct topo_notes notes;
};

static int write_json(struct topology *t, FILE *out, struct errctx *ec)
{
    json_t *json;
    int r = config_json_write(&t->config, &json, ec);

    if (r < 0)
        return r;
    r = print_json(out, json);
    json_decref(json);
    return r < 0 ? errctx_set(ec, -r, "no memory for the JSON form") : 0;
}

static int write_xml(struct topology *t, FILE *out, struct errctx *ec)
{
    return topo_convert_xml(t->plan, out, ec);
}

static int write_synthetic(struct topology *t, FILE *out, struct errctx *ec)
{
    return topo_convert_synthetic(t->plan, out, ec);
}

static int write_numactl(struct topology *t, FILE *out, struct errctx *ec)
{
    (void)ec;
    numactl_text_write(t->plan, out);
    return 0;
}

static int write_qemu(struct topology *t, FILE *out, struct errctx *ec)
{
    return topo_convert_qemu(t->plan, &t->notes, out, ec);
}

static const struct form {
    const char *name, *title;
    int (*write)(struct topology *t, FILE *out, struct errctx *ec);
} forms[] = {
    { "json", "JSON", write_json },
    { "xml", "hwloc's XML", write_xml },
    { "synthetic", "hwloc's synthetic form", write_synthetic },
    { "numactl", "numactl's output", write_numactl },
    { "qemu", "QEMU's options", write_qemu },
};

static const struct form *find_form(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (strcmp(forms[i].name, name) == 0)
            return &forms[i];
    return NULL;
}

/* By name, or by what the file's name ends with. */
static const struct form *choose_form(const char *to, const char *form, struct errctx *ec)
{
    const char *dot = to != NULL ? strrchr(to, '.') : NULL;
    const struct form *found = form != NULL  ? find_form(form)
                               : dot != NULL ? find_form(dot + 1)
                                             : NULL;

    if (found == NULL && form != NULL)
        (void)errctx_set(ec, EINVAL, "--to: \"%.40s\" is not json, xml, synthetic, numactl or qemu",
                        form);
    else if (found == NULL)
        (void)errctx_set(ec, EINVAL, "say the form with --to, or by the end of the file's name: "
                         ".json, .xml, .synthetic, .numactl or .qemu");
    return found;
}

static void topology_fini(struct topology *t)
{
    topo_plan_free(t->plan);
    config_fini(&t->config);
}

/* @text as --topology takes it, planned for no host. */
static int read_topology(const char *text, struct topology *ret, struct errctx *ec)
{
    static const struct host_topo nowhere = { .source = "no host" };
    int r;

    config_init(&ret->config);
    r = config_topology_read(text, &ret->config.spec, &ret->config.about, NULL, &ret->notes, ec);
    return r < 0 ? r : topo_plan_make(&ret->config.spec, &nowhere, &ret->plan, ec);
}

/* hwloc wants a file for XML, and a text for its synthetic form. */
static int read_back(const char *text, size_t len, const struct form *form, struct topology *ret,
                     struct errctx *ec)
{
    CLEANUP_CLOSE int fd = memfd_create("topology", MFD_CLOEXEC);
    CLEANUP_FREE char *line = NULL;
    char path[64];

    if (form->write == write_synthetic) {
        line = strndup(text, strcspn(text, "\n"));
        return line != NULL ? read_topology(line, ret, ec) : -ENOMEM;
    }
    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        return errctx_set_os(ec, errno, "a file in memory");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return read_topology(path, ret, ec);
}

static int tell_losses(const struct topology *t, const struct form *form, const char *text,
                       size_t len, struct topo_notes *notes, struct errctx *ec)
{
    struct topology back = { 0 };
    int r;

    if (form->write == write_qemu)
        return 0; /* which said it itself */
    r = read_back(text, len, form, &back, ec);

    if (r == 0)
        topo_convert_losses(t->plan, back.plan, form->title, notes);
    topology_fini(&back);
    return r < 0 ? errctx_wrap(ec, r, "what was written cannot be read back") : 0;
}

static int write_out(const char *to, const char *text, size_t len, struct errctx *ec)
{
    CLEANUP_FCLOSE FILE *file = to != NULL ? fopen(to, "we") : NULL;
    FILE *out = to != NULL ? file : stdout;

    if (out == NULL)
        return errctx_set_os(ec, errno, "%s", to);
    if (fwrite(text, 1, len, out) != len || fflush(out) != 0)
        return errctx_set_os(ec, errno, "write %s", to != NULL ? to : "standard output");
    return 0;
}

static int convert(struct topology *t, const struct form *form, const char *to, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int r;

    if (f == NULL)
        return errctx_set(ec, ENOMEM, "no memory to write a topology");
    r = form->write(t, f, ec);
    if (fclose(f) != 0 && r == 0)
        r = errctx_set(ec, ENOMEM, "no memory to write a topology");
    if (r == 0)
        r = tell_losses(t, form, text, len, &t->notes, ec);
    return r == 0 ? write_out(to, text, len, ec) : r;
}

int topology_convert(const char *from, const char *to, const char *form)
{
    struct topology t = { 0 };
    struct errctx ec = { 0 };
    const struct form *chosen = choose_form(to, form, &ec);
    int r;

    if (chosen == NULL)
        return cli_fail(CLI_USAGE, &ec);
    r = read_topology(from, &t, &ec);
    if (r == 0)
        r = convert(&t, chosen, to, &ec);
    if (r == 0)
        print_topology_notes(&t.notes);
    topology_fini(&t);
    return r == 0 ? CLI_OK : cli_fail(r == -EINVAL || r == -ENOENT || r == -ERANGE || r == -E2BIG
                                          ? CLI_USAGE : CLI_FAILURE, &ec);
}
