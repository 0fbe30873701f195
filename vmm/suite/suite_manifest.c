/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest: what is the suite's is taken out, the rest describes the machine. See suite.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "vmm/suite/suite.h"

enum { ENV_KEY_MAX = 256 };

static int copy(const char *text, char **ret, struct errctx *ec)
{
    char *mine = strdup(text);

    if (mine == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a test");
    free(*ret);
    *ret = mine;
    return 0;
}

/* A name within the folder: no path leads out of it. */
static int take_kernel(const json_t *json, char **ret, struct errctx *ec)
{
    const char *s = json_string_value(json);

    if (s == NULL || s[0] == '\0' || strchr(s, '/') != NULL ||
        strlen(s) != json_string_length(json))
        return errctx_set(ec, EINVAL, "kernel: the name of a file in the folder is wanted");
    return copy(s, ret, ec);
}

static int take_timeout(const json_t *json, struct suite_test *t, struct errctx *ec)
{
    const json_int_t v = json_integer_value(json);

    if (!json_is_integer(json) || v < 1 || v > SUITE_TIMEOUT_MAX_S)
        return errctx_set(ec, EINVAL, "timeout: 1 to %d seconds are wanted", SUITE_TIMEOUT_MAX_S);
    t->timeout_s = (uint32_t)v;
    return 0;
}

static int take_expect(const json_t *json, struct suite_test *t, struct errctx *ec)
{
    const json_int_t v = json_integer_value(json);
    const char *s = json_string_value(json);

    if (s != NULL && strcmp(s, "power-off") == 0)
        t->expect = SUITE_END_POWER_OFF;
    else if (s != NULL && strcmp(s, "reset") == 0)
        t->expect = SUITE_END_RESET;
    else if (json_is_integer(json) && v >= 0 && v <= SUITE_CODE_MAX)
        t->code = (uint32_t)v;
    else
        return errctx_set(ec, EINVAL, "expect: 0 to %d, \"power-off\" or \"reset\" is wanted",
                          SUITE_CODE_MAX);
    return 0;
}

static int take_skip(const json_t *json, struct suite_test *t, struct errctx *ec)
{
    const char *s = json_string_value(json);

    if (s == NULL || s[0] == '\0' || strpbrk(s, "\r\n") != NULL)
        return errctx_set(ec, EINVAL, "skip: a reason in one line is wanted");
    return copy(s, &t->skip, ec);
}

/* "KEY=VALUE" lines, in the order given. */
static int take_env(json_t *json, struct suite_test *t, struct errctx *ec)
{
    const char *key;
    json_t *value;
    char *text = NULL;
    size_t len = 0;
    FILE *out = json_is_object(json) ? open_memstream(&text, &len) : NULL;
    int r = 0;

    if (!json_is_object(json))
        return errctx_set(ec, EINVAL, "env: an object of texts is wanted");
    if (out == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a test");
    json_object_foreach(json, key, value)
    {
        const char *s = json_string_value(value);

        if (key[0] == '\0' || strlen(key) > ENV_KEY_MAX || strpbrk(key, "=\r\n") != NULL ||
            s == NULL || strpbrk(s, "\r\n") != NULL || strlen(s) != json_string_length(value))
            r = errctx_set(ec, EINVAL, "env: %.64s: a text in one line is wanted", key);
        if (r < 0)
            break;
        (void)fprintf(out, "%s=%s\n", key, s);
    }
    if (fclose(out) != 0 && r == 0)
        r = errctx_set(ec, ENOMEM, "no memory for a test");
    if (r < 0) {
        free(text);
        return r;
    }
    free(t->env);
    t->env = text;
    return 0;
}

static int take_all(json_t *json, struct suite_test *t, char **ret_kernel, struct errctx *ec)
{
    json_t *kernel = json_object_get(json, "kernel"), *timeout = json_object_get(json, "timeout");
    json_t *expect = json_object_get(json, "expect"), *env = json_object_get(json, "env");
    json_t *skip = json_object_get(json, "skip");
    int r = 0;

    if (kernel != NULL)
        r = take_kernel(kernel, ret_kernel, ec);
    if (r == 0 && timeout != NULL)
        r = take_timeout(timeout, t, ec);
    if (r == 0 && expect != NULL)
        r = take_expect(expect, t, ec);
    if (r == 0 && skip != NULL)
        r = take_skip(skip, t, ec);
    if (r == 0 && env != NULL)
        r = take_env(env, t, ec);
    if (r == 0 && env != NULL && json_object_get(json, "initrd") != NULL)
        r = errctx_set(ec, EINVAL, "env and initrd exclude each other: an image has one module");
    if (r == 0 && json_object_get(json, "name") != NULL)
        r = errctx_set(ec, EINVAL, "name: the file's is the test's");
    return r;
}

int suite_manifest_read(const char *text, size_t len, struct suite_test *t, char **ret_kernel,
                        struct errctx *ec)
{
    static const char *const ours[] = { "kernel", "timeout", "expect", "env", "skip" };
    json_error_t where;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    int r;

    if (json == NULL)
        return errctx_set(ec, EINVAL, "line %d: %s", where.line, where.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return errctx_set(ec, EINVAL, "an object is wanted");
    }
    t->says_on_reset = json_object_get(json, "on_reset") != NULL;
    r = take_all(json, t, ret_kernel, ec);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        (void)json_object_del(json, ours[i]);
    if (r == 0) {
        free(t->config);
        t->config = json_dumps(json, JSON_COMPACT);
        if (t->config == NULL)
            r = errctx_set(ec, ENOMEM, "no memory for a test");
    }
    json_decref(json);
    return r;
}

void suite_test_fini(struct suite_test *t)
{
    free(t->name);
    free(t->image);
    free(t->config);
    free(t->env);
    free(t->skip);
    *t = (struct suite_test){ .name = NULL };
}
