/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that say how one field of a plain struct is spelled, in options ("memory=2G") and in
 * JSON ("memory": "2G") alike, so that the two forms cannot drift apart.
 */
#ifndef VMM_CONFIG_CONFIG_MEMBER_H
#define VMM_CONFIG_CONFIG_MEMBER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum config_kind {
    CONFIG_U32,   /* uint32_t */
    CONFIG_COUNT, /* uint32_t, or the word "auto" for UINT32_MAX */
    CONFIG_SIZE,  /* uint64_t bytes: "2G" or a number */
    CONFIG_NS,    /* uint64_t nanoseconds: "90ns" or a number */
    CONFIG_RATE,  /* uint64_t bytes per second: "20G/s" or a number */
    CONFIG_CPUS,  /* uint32_t thousandths of a CPU: "1.5", "150%" or a number */
    CONFIG_FACTOR, /* uint32_t thousandths: "2.5" or a number */
    CONFIG_IDSET, /* struct idset: "0-3,8" or a number */
    CONFIG_TEXT,  /* char *, owned by the target */
    CONFIG_WORD,  /* an enum: one of words[], the index is the value */
    CONFIG_TRUE,  /* bool */
    CONFIG_FALSE, /* bool, stored inverted: JSON "sandbox" for no_sandbox */
    CONFIG_PAGES, /* struct guest_pages: "1G:2G+thp" */
    CONFIG_WEIGHTS,  /* struct guest_weights: "3:1" */
    CONFIG_FALLBACK, /* struct guest_fallback: "pages,policy" */
};

struct config_member {
    const char *name;
    enum config_kind kind;
    size_t off;
    bool required;            /* must be there, and is always printed */
    uint64_t min, max;        /* numbers and sizes; max 0: no limit of its own */
    const char *const *words; /* WORD: up to NULL; "" is a value that has no spelling */
    size_t flag_off;          /* a bool that says "was given"; 0: none */
};

/** config_member_parse() - the option's spelling into @target. Return: 0, -EINVAL or -ERANGE
 *  with a sentence that starts with the value, -ENOMEM. */
int config_member_parse(const struct config_member *m, void *target, const char *text,
                        struct errctx *ec);

/** config_member_read() - the JSON spelling into @target; same results. */
int config_member_read(const struct config_member *m, void *target, const json_t *value,
                       struct errctx *ec);

/** config_member_write() - add the field to @object unless it is unsaid. 0, -ENOMEM, or -EILSEQ
 *  for a text that is not UTF-8. */
int config_member_write(const struct config_member *m, const void *source, json_t *object);

/** config_member_words() - "serial, virtio or none" in @buf. */
const char *config_member_words(const struct config_member *m, char *buf, size_t size);

/* A struct as a list of rows. */
struct config_shape {
    const struct config_member *members;
    size_t n_members;
};

enum { CONFIG_SHAPE_MAX = 40 };

/**
 * config_shape_parse() - read "cpus=0-3,8,memory=2G" into the zeroed @target.
 * A piece without "=" continues the value before it, which is how lists keep their commas, unless
 * it is the name of a CONFIG_TRUE member, which it then sets.
 * Return: 0, -EINVAL (unknown, repeated or missing key, bad value), -ERANGE, -ENOMEM.
 */
int config_shape_parse(const struct config_shape *shape, void *target, const char *text,
                       struct errctx *ec);

/** config_shape_find() - index of a member by name, or -1. */
int config_shape_find(const struct config_shape *shape, const char *name);

int config_shape_write(const struct config_shape *shape, const void *source, json_t *object);

#endif
