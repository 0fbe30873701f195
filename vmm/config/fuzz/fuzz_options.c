/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as options, one a line, "name value". Whatever is accepted can be said in JSON
 * (unless it is not UTF-8), and the JSON is accepted again.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config/config_json.h"
#include "vmm/config/config_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Take one line. --config would read files that the fuzzer happens to name. */
static int take_line(struct config_input *in, char *line, struct errctx *ec)
{
    char *space = strchr(line, ' ');
    bool has_value = space != NULL;
    struct config_option o;
    int row;

    if (has_value)
        *space = '\0';
    row = config_input_find(line);
    if (row < 0 || strcmp(line, "config") == 0)
        return 0;
    o = config_options_get((size_t)row);
    if (!has_value && o.arg != NULL && !o.arg_optional)
        return 0;
    return config_input_option(in, row, o.arg != NULL && has_value ? space + 1 : NULL, ec);
}

static void say_again(const struct machine_config *config)
{
    struct machine_config second;
    struct config_input in = { .config = &second };
    struct errctx ec = { 0 };
    json_t *json;
    char *text;
    int r = config_json_write(config, &json, &ec);

    if (r < 0) {
        assert(r == -EILSEQ);
        return;
    }
    text = json_dumps(json, 0);
    assert(text != NULL);
    config_init(&second);
    r = config_json_read_text(&in, text, strlen(text), &ec);
    assert(r == 0 && config_check(&second, false, &ec) == 0);
    config_fini(&second);
    free(text);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_config config;
    struct config_input in = { .config = &config };
    struct errctx ec = { 0 };
    char *text = malloc(size + 1), *rest = NULL;
    int r = 0;

    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    config_init(&config);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL && r == 0;
         line = strtok_r(NULL, "\n", &rest))
        r = take_line(&in, line, &ec);
    if (r == 0)
        r = config_check(&config, false, &ec);
    assert(r == 0 || ec.msg[0] != '\0');
    if (r == 0)
        say_again(&config);
    config_input_fini(&in);
    config_fini(&config);
    free(text);
    return 0;
}
