/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which form of a topology a text is, and reading it. A file is known by its content, not by its
 * name. hwloc reads what is hwloc's (host_discover.c); the rest is read here, bounded.
 */
#include "vmm/config/config_topology.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/config/config_json.h"
#include "vmm/config/config_presets.h"
#include "vmm/config/suggest.h"
#include "vmm/topology/guest_from_host.h"
#include "vmm/topology/numactl_text.h"

enum { TOPOLOGY_FILE_MAX = 16 * MIB };

static const char *const form_names[] = {
    [CONFIG_TOPOLOGY_HOST] = "this machine",
    [CONFIG_TOPOLOGY_PRESET] = "a preset",
    [CONFIG_TOPOLOGY_XML] = "hwloc's XML",
    [CONFIG_TOPOLOGY_JSON] = "JSON",
    [CONFIG_TOPOLOGY_NUMACTL] = "numactl -H",
    [CONFIG_TOPOLOGY_SYSFS] = "an archived sysfs",
    [CONFIG_TOPOLOGY_SYNTHETIC] = "hwloc's synthetic form",
};

const char *config_topology_form_name(enum config_topology_form form)
{
    return form_names[form];
}

/* Members of a description that are a topology. */
static bool is_topology(const char *member)
{
    static const char *const members[] = { "about",   "cpus",      "memory", "vnuma",
                                           "threads", "cores",     "dies",   "sockets",
                                           "nodes",   "distances", "links",  "caches",
                                           "host_caches" };

    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        if (strcmp(members[i], member) == 0)
            return true;
    return false;
}

static int read_json(const char *text, size_t len, struct guest_spec *ret_spec, char **ret_about,
                     struct errctx *ec)
{
    struct machine_config config;
    struct config_input in = { .config = &config };
    int r;

    config_init(&config);
    r = config_json_read_text(&in, text, len, ec);
    for (size_t i = 0; r == 0 && config_json_field(i) != NULL; i++)
        if (in.field_in_file[i] && !is_topology(config_json_field(i)))
            r = errctx_set(ec, EINVAL, "\"%s\" is no part of a topology: --config reads whole "
                           "machines", config_json_field(i));
    if (r == 0)
        r = guest_spec_check(&config.spec, ec);
    if (r == 0) {
        *ret_about = take_ptr(config.about);
        *ret_spec = config.spec;
        config.spec = (struct guest_spec){ 0 };
    }
    config_fini(&config);
    return r;
}

/* @host is used up. */
static int from_machine(struct host_topo *host, struct guest_spec *ret_spec,
                        struct topo_notes *notes, struct errctx *ec)
{
    int r = guest_from_host(host, ret_spec, notes, ec);

    host_topo_fini(host);
    return r;
}

static bool starts_with(const char *text, size_t len, char c)
{
    size_t i = 0;

    while (i < len && isspace((unsigned char)text[i]))
        i++;
    return i < len && text[i] == c;
}

int config_topology_text(const char *name, const char *text, size_t len,
                         struct guest_spec *ret_spec, char **ret_about,
                         enum config_topology_form *ret_form, struct topo_notes *notes,
                         struct errctx *ec)
{
    const bool json = starts_with(text, len, '{');
    struct host_topo host;
    int r;

    if (!json && !numactl_text_is(text, len))
        return errctx_set(ec, EINVAL, "%s is neither hwloc's XML, nor JSON, nor what numactl -H "
                          "prints", name);
    *ret_form = json ? CONFIG_TOPOLOGY_JSON : CONFIG_TOPOLOGY_NUMACTL;
    *ret_about = NULL;
    if (json)
        r = read_json(text, len, ret_spec, ret_about, ec);
    else
        r = numactl_text_read(text, len, &host, ec);
    if (r == 0 && !json)
        r = from_machine(&host, ret_spec, notes, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", name) : 0;
}

/* A file's @text, which ends with a zero. */
static int read_bytes(const char *path, const char *text, size_t len, struct guest_spec *ret_spec,
                      char **ret_about, enum config_topology_form *ret_form,
                      struct topo_notes *notes, struct errctx *ec)
{
    struct host_topo host;
    struct stat st;
    int r;

    if (!starts_with(text, len, '<'))
        return config_topology_text(path, text, len, ret_spec, ret_about, ret_form, notes, ec);
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return errctx_set(ec, EINVAL, "%s: hwloc reads XML from a file, not from a pipe", path);
    *ret_form = CONFIG_TOPOLOGY_XML;
    r = host_topo_from_xml(path, &host, ec);
    if (r < 0)
        return r;
    r = from_machine(&host, ret_spec, notes, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", path) : 0;
}

static int read_named(const char *path, struct guest_spec *ret_spec, char **ret_about,
                      enum config_topology_form *ret_form, struct topo_notes *notes,
                      struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    size_t len;
    int r = read_file(path, TOPOLOGY_FILE_MAX, &text, &len, ec);

    return r < 0 ? errctx_wrap(ec, r, "%s", path)
                 : read_bytes(path, text, len, ret_spec, ret_about, ret_form, notes, ec);
}

int config_topology_read_input(char **ret_text, struct guest_spec *ret_spec, char **ret_about,
                               struct topo_notes *notes, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL;
    enum config_topology_form form;
    size_t len;
    int r = read_file("-", TOPOLOGY_FILE_MAX, &text, &len, ec);

    *ret_about = NULL;
    r = r < 0 ? errctx_wrap(ec, r, "-")
              : read_bytes("-", text, len, ret_spec, ret_about, &form, notes, ec);
    if (r == 0)
        *ret_text = take_ptr(text);
    return r;
}

static int read_folder(const char *path, struct guest_spec *ret_spec, struct topo_notes *notes,
                       struct errctx *ec)
{
    char below[PATH_MAX];
    struct host_topo host;
    int r;

    if (snprintf(below, sizeof(below), "%s/sys/devices/system/cpu", path) >= PATH_MAX ||
        access(below, R_OK | X_OK) < 0)
        return errctx_set_os(ec, errno, "%s holds no sys/devices/system/cpu, as an archive of "
                             "hwloc-gather-topology does", path);
    r = host_topo_discover(path, &host, ec);
    if (r == 0)
        r = from_machine(&host, ret_spec, notes, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", path) : 0;
}

static int read_machine(const char *synthetic, struct guest_spec *ret_spec,
                        struct topo_notes *notes, struct errctx *ec)
{
    struct host_topo host;
    int r = synthetic != NULL ? host_topo_from_synthetic(synthetic, &host, ec)
                              : host_topo_discover("", &host, ec);

    if (r == 0)
        r = from_machine(&host, ret_spec, notes, ec);
    return r;
}

static int unknown(const char *text, struct errctx *ec)
{
    CLEANUP_FREE struct config_presets *all = calloc(1, sizeof(*all));
    struct suggest s = { .word = text };
    struct stat st;
    char hint[96];

    if (strchr(text, '/') != NULL)
        return errctx_set_os(ec, stat(text, &st) < 0 ? errno : ENOENT, "%s", text);
    if (all != NULL && config_presets_list(all, NULL) == 0)
        for (size_t i = 0; i < all->n; i++)
            suggest_offer(&s, all->name[i]);
    return errctx_set(ec, EINVAL, "\"%.80s\" is neither a preset (numavisor topology list), nor a "
                      "file or folder, nor hwloc's synthetic form%s", text,
                      suggest_format(&s, "", hint, sizeof(hint)));
}

int config_topology_read(const char *text, struct guest_spec *ret_spec, char **ret_about,
                         enum config_topology_form *ret_form, struct topo_notes *notes,
                         struct errctx *ec)
{
    enum config_topology_form form;
    char path[PATH_MAX];
    struct stat st;
    int r;

    ret_form = ret_form != NULL ? ret_form : &form;
    *ret_about = NULL;
    if (strcmp(text, "host") == 0) {
        *ret_form = CONFIG_TOPOLOGY_HOST;
        return read_machine(NULL, ret_spec, notes, ec);
    }
    if (config_preset_path(path, text)) {
        r = read_named(path, ret_spec, ret_about, ret_form, notes, ec);
        *ret_form = CONFIG_TOPOLOGY_PRESET;
        return r;
    }
    if (strcmp(text, "-") == 0)
        return read_named(text, ret_spec, ret_about, ret_form, notes, ec);
    if (numactl_text_is(text, strlen(text)))
        return config_topology_text("the text", text, strlen(text), ret_spec, ret_about, ret_form,
                                    notes, ec);
    if (stat(text, &st) == 0 && S_ISDIR(st.st_mode)) {
        *ret_form = CONFIG_TOPOLOGY_SYSFS;
        return read_folder(text, ret_spec, notes, ec);
    }
    if (access(text, F_OK) == 0)
        return read_named(text, ret_spec, ret_about, ret_form, notes, ec);
    if (strchr(text, ':') == NULL)
        return unknown(text, ec);
    *ret_form = CONFIG_TOPOLOGY_SYNTHETIC;
    return read_machine(text, ret_spec, notes, ec);
}
