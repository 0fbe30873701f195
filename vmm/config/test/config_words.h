/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a whole command line in one string, words separated by spaces. */
#ifndef VMM_CONFIG_TEST_CONFIG_WORDS_H
#define VMM_CONFIG_TEST_CONFIG_WORDS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config/config.h"
#include "vmm/config/config_options.h"

/* Reads "--cpus 4 --memory 2G" and checks the result; config_fini() in any case. */
static inline int config_words(const char *words, struct machine_config *config, struct errctx *ec)
{
    struct config_input in = { .config = config };
    char *copy = strdup(words), *rest = NULL;
    int r = 0;

    config_init(config);
    for (char *w = strtok_r(copy, " ", &rest); w != NULL && r == 0;
         w = strtok_r(NULL, " ", &rest)) {
        int row = strncmp(w, "--", 2) == 0 ? config_input_find(w + 2) : -1;

        if (row < 0)
            r = errctx_set(ec, ENOENT, "the test names the unknown option %s", w);
        else
            r = config_input_option(
                &in, row,
                config_options_get((size_t)row).arg != NULL ? strtok_r(NULL, " ", &rest) : NULL,
                ec);
    }
    if (r == 0)
        r = config_input_finish(&in, ec);
    free(copy);
    config_input_fini(&in);
    return r < 0 ? r : config_check(config, false, ec);
}

#endif
