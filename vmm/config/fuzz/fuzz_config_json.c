/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a description file. What is accepted prints a form that is a fixed point. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config/config_json.h"
#include "vmm/config/config_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read and check; on success the printed form, else NULL. */
static char *read_and_print(const char *text, size_t len)
{
    struct machine_config config;
    struct config_input in = { .config = &config };
    struct errctx ec = { 0 };
    char *printed = NULL;
    json_t *json;
    int r;

    config_init(&config);
    r = config_json_read_text(&in, text, len, &ec);
    if (r == 0)
        r = config_check(&config, false, &ec);
    assert(r == 0 || ec.msg[0] != '\0');
    if (r == 0) {
        r = config_json_write(&config, &json, &ec);
        assert(r == 0); /* jansson let only UTF-8 in */
        printed = json_dumps(json, JSON_COMPACT);
        assert(printed != NULL);
        json_decref(json);
    }
    config_fini(&config);
    return printed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first = read_and_print((const char *)data, size), *second;

    if (first == NULL)
        return 0;
    second = read_and_print(first, strlen(first));
    assert(second != NULL && strcmp(first, second) == 0);
    free(first);
    free(second);
    return 0;
}
