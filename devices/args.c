/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device options: "FILE,ro,queues=4" into checked values, by the rows of the registry.
 *
 * A word without '=' is the value of the type's first key when it comes first, and a flag
 * otherwise. A first word whose part before '=' could not be a key ("/data/a=b.img") is a value
 * too. Pure; user input only, before any guest runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/registry.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"

enum { NODE_MAX = 255 /* one PCI bus per node */ };

static const char node_key[] = "node";

static const struct device_key *find_key(const struct device_type *type, const char *name)
{
    for (const struct device_key *k = type->keys; k->name != NULL; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

const struct device_arg *device_args_get(const struct device_args *args, const char *key)
{
    for (size_t i = 0; i < args->n_args; i++)
        if (strcmp(args->args[i].key->name, key) == 0)
            return &args->args[i];
    return NULL;
}

uint64_t device_args_number(const struct device_args *args, const char *key, uint64_t fallback)
{
    const struct device_arg *arg = device_args_get(args, key);

    return arg != NULL ? arg->number : fallback;
}

static int unknown_key(const struct device_type *type, const char *name, struct errctx *ec)
{
    char known[256] = "";
    size_t len = 0;

    for (const struct device_key *k = type->keys; k->name != NULL && len < sizeof(known); k++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s, ", k->name);
    return errctx_set(ec, EINVAL, "--%s has no key \"%.80s\" (it has %s%s)", type->name, name,
                      known, node_key);
}

/* Read @text as @key wants it. Flags and strings have no number of their own but 0 and 1. */
static int parse_value(const struct device_type *type, const struct device_key *key,
                       const char *text, uint64_t *ret_number, struct errctx *ec)
{
    uint64_t max = key->max != 0 ? key->max : UINT64_MAX;
    int r = 0;

    *ret_number = 0;
    switch (key->kind) {
    case DEVICE_KEY_FLAG:
        if (strcmp(text, "on") == 0)
            *ret_number = 1;
        else if (strcmp(text, "off") != 0)
            r = errctx_set(ec, EINVAL, "\"%.80s\" is neither on nor off", text);
        break;
    case DEVICE_KEY_UINT:
        r = units_parse_uint(text, max, ret_number, ec);
        break;
    case DEVICE_KEY_SIZE:
        r = units_parse_size(text, ret_number, ec);
        break;
    case DEVICE_KEY_STRING:
    case DEVICE_KEY_PATH:
        if (*text == '\0')
            r = errctx_set(ec, EINVAL, "the value is empty");
        break;
    }
    if (r < 0)
        return errctx_wrap(ec, -EINVAL, "--%s %s=", type->name, key->name);
    return 0;
}

static int set_node(struct device_args *args, const char *text, struct errctx *ec)
{
    uint64_t node;

    if (args->vnode_given)
        return errctx_set(ec, EINVAL, "--%s: %s is given twice", args->type->name, node_key);
    if (units_parse_uint(text, NODE_MAX, &node, ec) < 0)
        return errctx_wrap(ec, -EINVAL, "--%s %s=", args->type->name, node_key);
    args->vnode = (uint32_t)node;
    args->vnode_given = true;
    return 0;
}

int device_args_set(struct device_args *args, const char *key_name, const char *text,
                    struct errctx *ec)
{
    const struct device_key *key = find_key(args->type, key_name);
    CLEANUP_FREE char *copy = NULL;
    struct device_arg *grown;
    uint64_t number;
    int r;

    if (key == NULL && strcmp(key_name, node_key) == 0)
        return set_node(args, text, ec);
    if (key == NULL)
        return unknown_key(args->type, key_name, ec);
    if (!key->repeats && device_args_get(args, key_name) != NULL)
        return errctx_set(ec, EINVAL, "--%s: %s is given twice", args->type->name, key_name);
    r = parse_value(args->type, key, text, &number, ec);
    if (r < 0)
        return r;
    copy = strdup(text);
    grown = realloc(args->args, (args->n_args + 1) * sizeof(*grown));
    if (grown != NULL)
        args->args = grown;
    if (copy == NULL || grown == NULL)
        return errctx_set(ec, ENOMEM, "--%s: no memory for its keys", args->type->name);
    args->args[args->n_args++] = (struct device_arg){
        .key = key,
        .text = take_ptr(copy),
        .number = number,
    };
    return 0;
}

int device_args_check(const struct device_args *args, struct errctx *ec)
{
    for (const struct device_key *k = args->type->keys; k->name != NULL; k++)
        if (k->required && device_args_get(args, k->name) == NULL)
            return errctx_set(ec, EINVAL, "--%s needs %s=", args->type->name, k->name);
    return args->type->check != NULL ? args->type->check(args, ec) : 0;
}

void device_args_fini(struct device_args *args)
{
    for (size_t i = 0; i < args->n_args; i++)
        free(args->args[i].text);
    free(args->args);
    *args = (struct device_args){ .type = args->type };
}

/* --- the text form --------------------------------------------------------------------------- */

/* Could [word, word+len) be the name of a key? */
static bool looks_like_key(const char *word, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";

    for (size_t i = 0; i < len; i++)
        if (word[i] == '\0' || strchr(letters, word[i]) == NULL)
            return false;
    return len > 0;
}

static int set_word(struct device_args *args, char *word, bool first, struct errctx *ec)
{
    const struct device_type *type = args->type;
    char *eq = strchr(word, '=');
    const struct device_key *key;

    if (eq != NULL && first && type->first_key != NULL &&
        !looks_like_key(word, (size_t)(eq - word)))
        eq = NULL;
    if (eq != NULL) {
        *eq = '\0';
        return device_args_set(args, word, eq + 1, ec);
    }
    if (first && type->first_key != NULL)
        return device_args_set(args, type->first_key, word, ec);
    key = find_key(type, word);
    if (key == NULL && strcmp(word, node_key) != 0)
        return unknown_key(type, word, ec);
    if (key == NULL || key->kind != DEVICE_KEY_FLAG)
        return errctx_set(ec, EINVAL, "--%s: %s needs a value", type->name, word);
    return device_args_set(args, word, "on", ec);
}

/* Copy the next word of *pos into @word, double commas made single. False at the end. */
static bool next_word(const char **pos, char *word)
{
    const char *p = *pos;

    if (p == NULL)
        return false;
    for (; *p != '\0'; p++) {
        if (*p == ',' && p[1] != ',')
            break;
        if (*p == ',')
            p++;
        *word++ = *p;
    }
    *word = '\0';
    *pos = *p == ',' ? p + 1 : NULL;
    return true;
}

int device_args_parse(const struct device_type *type, const char *text,
                      struct device_args *ret_args, struct errctx *ec)
{
    struct device_args args = { .type = type };
    CLEANUP_FREE char *word = NULL;
    const char *pos = text != NULL && *text != '\0' ? text : NULL;
    bool first = true;
    int r = 0;

    word = malloc(text != NULL ? strlen(text) + 1 : 1);
    if (word == NULL)
        return errctx_set(ec, ENOMEM, "--%s: no memory for its keys", type->name);
    for (; r == 0 && next_word(&pos, word); first = false) {
        if (*word == '\0')
            r = errctx_set(ec, EINVAL, "--%s: there is nothing before or after a comma",
                           type->name);
        else
            r = set_word(&args, word, first, ec);
    }
    if (r == 0)
        r = device_args_check(&args, ec);
    if (r < 0) {
        device_args_fini(&args);
        return r;
    }
    *ret_args = args;
    return 0;
}
