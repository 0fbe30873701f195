/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "firmware/fdt_arches.h"

enum { NAMES_LEN = 256 };

static const char *names(const struct fdt_arch *const *list, char text[static NAMES_LEN])
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; list[i] != NULL && len < NAMES_LEN; i++)
        len += (size_t)snprintf(text + len, NAMES_LEN - len, "%s%s", i > 0 ? ", " : "",
                                list[i]->name);
    return text;
}

int fdt_arch_choose(const struct fdt_arch *const *list, const struct fdt_arch *own,
                    const char *wanted, const struct fdt_arch **ret_arch, struct errctx *ec)
{
    const struct fdt_arch *found = own;
    char text[NAMES_LEN];

    if (wanted == NULL && own == NULL) {
        if (list[0] == NULL || list[1] != NULL)
            return errctx_set(ec, EINVAL, "which architecture's is to be said, of: %s",
                              names(list, text));
        found = list[0];
    }
    for (size_t i = 0; wanted != NULL; i++) {
        found = list[i];
        if (found == NULL)
            return errctx_set(ec, EINVAL, "there is no tree of \"%.40s\" machines, only of: %s",
                              wanted, names(list, text));
        if (strcmp(found->name, wanted) == 0)
            break;
    }
    *ret_arch = found;
    return 0;
}
