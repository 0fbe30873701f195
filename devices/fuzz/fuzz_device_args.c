/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device options as the user types them: the first byte chooses the type, the rest is the text.
 * What is accepted must hold every required key, and no key twice unless it repeats.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_args(const struct device_args *args)
{
    for (const struct device_key *k = args->type->keys; k->name != NULL; k++) {
        unsigned n = 0;

        for (size_t i = 0; i < args->n_args; i++)
            n += args->args[i].key == k;
        if ((k->required && n == 0) || (!k->repeats && n > 1))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct device_type *const *types = registry_types();
    struct device_args args = { .vnode = 12345 };
    struct errctx ec = { 0 };
    size_t n_types = 0;
    char *text;

    while (types[n_types] != NULL)
        n_types++;
    if (size == 0)
        return 0;
    text = malloc(size);
    if (text == NULL)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (device_args_parse(types[data[0] % n_types], text, &args, &ec) == 0) {
        check_args(&args);
        device_args_fini(&args);
    } else if (args.vnode != 12345 || ec.msg[0] == '\0') {
        abort(); /* touched on failure, or refused without a sentence */
    }
    free(text);
    return 0;
}
