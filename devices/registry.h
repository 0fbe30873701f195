/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device types a user can ask for: one visible array, in build order.
 *
 * A row carries the option's name, its keys with their help, and the create function; option
 * parser, JSON form, help text, man page check and shell completion all read the rows. A new
 * device is its own file, one row here, one test.
 */
#ifndef DEVICES_REGISTRY_H
#define DEVICES_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/virtio.h"
#include "memory/guest_mem.h"
#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

enum device_key_kind {
    DEVICE_KEY_STRING,
    DEVICE_KEY_PATH,   /* as STRING; completion offers files */
    DEVICE_KEY_FLAG,   /* "ro" or "ro=on|off"; JSON true/false */
    DEVICE_KEY_UINT,
    DEVICE_KEY_SIZE,
};

struct device_key {
    const char *name; /* "file" */
    enum device_key_kind kind;
    bool required;
    bool repeats;     /* may be given several times (hostfwd=) */
    uint64_t max;     /* for UINT */
    const char *help;
};

/* Values as given, checked against the keys; at most one entry per key unless it repeats. */
struct device_arg {
    const struct device_key *key;
    char *text;       /* owned */
    uint64_t number;  /* FLAG, UINT, SIZE */
};

struct device_args {
    const struct device_type *type;
    struct device_arg *args; /* owned */
    size_t n_args;
    uint32_t vnode;   /* the common key node=N: the root bridge it sits on */
    bool vnode_given;
};

/* How a device that plugs memory has the guest see it. Any thread that is not held up by vCPUs. */
struct device_plug_ops {
    /* Blocks [@addr, @addr+@len_bytes) of a window (memory/guest_mem.h) become memory of the guest,
     * or stop being that, in which case the host has them back: *@ret_gone bytes that it had memory
     * for. Return: 0, -EBUSY (in use), or another errno; nothing changed then. */
    int (*plug)(void *ctx, struct gpa addr, uint64_t len_bytes);
    int (*unplug)(void *ctx, struct gpa addr, uint64_t len_bytes, uint64_t *ret_gone);
};

/* What a device gets from the machine. Borrowed, outlives the device. */
struct device_env {
    struct guest_mem *mem;
    struct evloop *loop;  /* the I/O thread it shall live on */
    const char *name;     /* "disk0" */
    const char *vm_name;  /* of the machine; stable defaults (a MAC) derive from it; may be NULL */
    int console_in_fd;    /* the terminal, for the console device; -1: none */
    int console_out_fd;
    uint32_t vnode;       /* the virtual node that it sits on */
    const struct device_plug_ops *plug; /* may be NULL where no device plugs memory */
    void *plug_ctx;
    /* Something that the user should know of, one sentence; any thread. May be NULL. */
    void (*say)(void *ctx, const char *sentence);
    void *say_ctx;
};

enum { DEVICE_PEERS_MAX = 32 };

/* What a running device asks of the host beside the descriptors that it holds. */
struct device_needs {
    bool network;       /* opens Internet sockets, reads the resolver's configuration */
    const char *socket; /* Unix socket that it makes and serves, borrowed; NULL: none */
    /* Unix sockets of others that it connects to, borrowed. */
    const char *peers[DEVICE_PEERS_MAX];
    size_t n_peers;
};

struct device_type {
    const char *name;       /* "disk": option --disk, JSON "type": "disk" */
    const char *first_key;  /* the key that a bare first word sets ("file"); NULL: none */
    bool single;            /* at most one per machine */
    /* Gives guest memory back to the host: lives on a loop that serves such devices only, and the
     * guest's memory must not be set aside. */
    bool reclaims;
    /* Another process maps the guest's memory: it is not paged, and moved by force only. */
    bool shares_memory;
    const char *help;       /* one line */
    const struct device_key *keys; /* up to an entry with name NULL */
    /* Cross-key rules ("tap= and hostfwd= exclude each other"). Optional. */
    int (*check)(const struct device_args *args, struct errctx *ec);
    /* Refuses two devices that one machine cannot have, with a sentence: the same address, file
     * or port. @a is the earlier one; both have passed check. Optional: any two go together. */
    int (*clash)(const struct device_args *a, const struct device_args *b, struct errctx *ec);
    /* Opens the backend and makes the device. Errors name the option and file. */
    int (*create)(const struct device_args *args, const struct device_env *env,
                  struct virtio_dev **ret_dev, struct errctx *ec);
    /* Adds to @needs what a device of @args needs; nothing else is granted. Optional: nothing. */
    void (*needs)(const struct device_args *args, struct device_needs *needs);
};

/** registry_types() - the rows, up to a NULL entry. */
const struct device_type *const *registry_types(void);

/** registry_find() - row by name or NULL. */
const struct device_type *registry_find(const char *name);

/** device_args_get() - first value of a key or NULL. device_args_number() - or @fallback. */
const struct device_arg *device_args_get(const struct device_args *args, const char *key);
uint64_t device_args_number(const struct device_args *args, const char *key, uint64_t fallback);

/**
 * device_args_parse() - read "FILE,ro,queues=4" for @type.
 * Return: 0 or -EINVAL with one sentence naming the option: unknown key, repeated key, missing
 * required key, value of the wrong kind. "node=N" is understood for every type. A comma inside
 * a value is written twice. @text may be NULL or "": no keys. @ret_args is untouched on failure.
 */
int device_args_parse(const struct device_type *type, const char *text,
                      struct device_args *ret_args, struct errctx *ec);

/** device_args_set() - one key, as the JSON form needs it; same sentences. Then
 *  device_args_check() once all keys are set. */
int device_args_set(struct device_args *args, const char *key, const char *text,
                    struct errctx *ec);
int device_args_check(const struct device_args *args, struct errctx *ec);
void device_args_fini(struct device_args *args);

#endif
