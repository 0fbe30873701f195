/* SPDX-License-Identifier: Apache-2.0 */
/* See config_presets.h. */
#include "vmm/config/config_presets.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/macros.h"

#define PRESET_SUFFIX ".json"

enum { PRESET_TREE_DEPTH = 7 /* build/san/vmm/machine/x86/test/test_x is the deepest program */ };

/* A folder of root, of ours, or of whoever owns @above, which the program lies below and who could
 * exchange it as well: a stranger's could be found on the way up. */
static bool is_ours(const char *path, const char *above)
{
    struct stat st, dir;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && stat(above, &dir) == 0 &&
           (st.st_uid == 0 || st.st_uid == geteuid() || st.st_uid == dir.st_uid);
}

static bool join(char buf[static PATH_MAX], const char *dir, const char *rest)
{
    return snprintf(buf, PATH_MAX, "%s/%s", dir, rest) < PATH_MAX;
}

int config_presets_dir(char buf[static PATH_MAX], struct errctx *ec)
{
    const char *said = getenv("NUMAVISOR_TOPOLOGIES");
    char dir[PATH_MAX];
    ssize_t n;

    if (said != NULL && said[0] != '\0') {
        if (snprintf(buf, PATH_MAX, "%s", said) >= PATH_MAX)
            return errctx_set(ec, ENAMETOOLONG, "NUMAVISOR_TOPOLOGIES is too long for a path");
        return 0;
    }
    n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
    if (n < 0)
        return errctx_set_os(ec, errno, "where this program is");
    dir[n] = '\0';
    for (int up = 0; up < PRESET_TREE_DEPTH; up++) {
        char *slash = strrchr(dir, '/');

        if (slash == NULL || slash == dir)
            break;
        *slash = '\0';
        if (up == 1 && join(buf, dir, "share/numavisor/topologies") && is_ours(buf, dir))
            return 0;
        if (join(buf, dir, "vmm/topology/presets") && is_ours(buf, dir))
            return 0;
    }
    return errctx_set(ec, ENOENT, "no folder of presets is installed beside this program: "
                                  "NUMAVISOR_TOPOLOGIES can name one");
}

/* "2-socket": what a file of the folder may be called. */
static bool name_ok(const char *name, size_t len)
{
    if (len == 0 || len >= CONFIG_PRESET_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-')
            return false;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strverscmp(a, b);
}

int config_presets_list(struct config_presets *ret_presets, struct errctx *ec)
{
    char dir[PATH_MAX];
    const struct dirent *e;
    int r = config_presets_dir(dir, ec);
    DIR *d;

    if (r < 0)
        return r;
    d = opendir(dir);
    if (d == NULL)
        return errctx_set_os(ec, errno, "%s", dir);
    ret_presets->n = 0;
    while ((e = readdir(d)) != NULL && ret_presets->n < CONFIG_PRESETS_MAX) {
        const size_t len = strlen(e->d_name), cut = strlen(PRESET_SUFFIX);

        if (len <= cut || strcmp(e->d_name + len - cut, PRESET_SUFFIX) != 0 ||
            !name_ok(e->d_name, len - cut))
            continue;
        (void)snprintf(ret_presets->name[ret_presets->n++], CONFIG_PRESET_NAME_MAX, "%.*s",
                       (int)(len - cut), e->d_name);
    }
    (void)closedir(d);
    qsort(ret_presets->name, ret_presets->n, sizeof(ret_presets->name[0]), compare_names);
    return 0;
}

bool config_preset_path(char buf[static PATH_MAX], const char *name)
{
    char dir[PATH_MAX];

    return name_ok(name, strlen(name)) && config_presets_dir(dir, NULL) == 0 &&
           snprintf(buf, PATH_MAX, "%s/%s" PRESET_SUFFIX, dir, name) < PATH_MAX &&
           access(buf, F_OK) == 0;
}
