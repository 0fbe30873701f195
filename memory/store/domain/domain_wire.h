/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine and the host service (vmm/host/) say to each other about pages that machines of a
 * trust domain share: docs/host-service.md.
 *
 * One message is one packet of a SOCK_SEQPACKET socket: a head and @n items of one size, which its
 * type decides, and nothing else. Numbers as the host has them: both ends are on one host. Whoever
 * gets a message checks it with domain_wire_check() before anything of it is used.
 */
#ifndef MEMORY_STORE_DOMAIN_DOMAIN_WIRE_H
#define MEMORY_STORE_DOMAIN_DOMAIN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/codec.h"
#include "vmm/base/errctx.h"

enum {
    DOMAIN_VERSION = 1,
    DOMAIN_NAME = 64,   /* bytes of a domain's name, its end included */
    DOMAIN_BATCH = 128, /* items of a message at most */
    DOMAIN_STORES = 512, /* of a machine: their numbers are below this */
    DOMAIN_UNIT = 16,   /* where pages begin in a segment: at multiples of this */
    DOMAIN_SEGMENT = 4 * 1024 * 1024, /* bytes */
};

#define DOMAIN_ANY_NODE UINT32_MAX /* memory that is bound to no host node */

enum domain_type {
    /* a machine's */
    DOMAIN_HELLO = 1, /* arg: version; a struct domain_name. The first of a connection. */
    DOMAIN_JOIN,     /* a store is there; arg: its host node, or DOMAIN_ANY_NODE */
    DOMAIN_LEAVE,    /* it is not there any more, with all that it offered */
    DOMAIN_OFFER,    /* hashes of pages that it keeps */
    DOMAIN_WITHDRAW, /* hashes of pages that it does not keep any more, or not share */
    DOMAIN_BYTES,    /* a struct domain_bytes: what was asked for by DOMAIN_NEED */
    /* the service's */
    DOMAIN_WELCOME, /* arg: version */
    DOMAIN_NEED,    /* hashes: send these pages */
    DOMAIN_SEGMENT_IS, /* arg: number of a segment; with its descriptor, sealed */
    DOMAIN_PLACES,  /* arg: number of a segment; struct domain_place: what is there */
    DOMAIN_RETIRE,  /* arg: number of a segment in which nothing is used by the service any more */
    DOMAIN_TYPES,
};

struct domain_head {
    uint32_t type; /* enum domain_type */
    uint32_t n;    /* items behind it */
    uint32_t store; /* which of the machine's stores it is about; 0 where it is about none */
    uint32_t arg;
};

struct domain_name {
    char name[DOMAIN_NAME]; /* letters, digits, dots, dashes, underscores; zeroes behind it */
};

/* XXH3-128 of a page; never 0 in both halves. */
struct domain_hash {
    uint64_t low, high;
};

struct domain_place {
    struct domain_hash hash;
    uint32_t at; /* in the segment, in units of DOMAIN_UNIT */
    uint16_t len;
    uint8_t kind; /* enum codec_kind */
    uint8_t zero;
};

struct domain_bytes {
    struct domain_hash hash;
    uint16_t len;
    uint8_t kind; /* enum codec_kind */
    uint8_t zero[5];
    uint8_t bytes[CODEC_PAGE]; /* zeroes behind the first len */
};

union domain_items {
    struct domain_name name;
    struct domain_hash hashes[DOMAIN_BATCH];
    struct domain_place places[DOMAIN_BATCH];
    struct domain_bytes bytes;
};

struct domain_message {
    struct domain_head head;
    union domain_items items;
};

_Static_assert(sizeof(struct domain_head) == 16, "nothing between members");
_Static_assert(sizeof(struct domain_place) == 24, "nothing between members");
_Static_assert(sizeof(struct domain_bytes) == 24 + CODEC_PAGE, "nothing between members");

/** domain_name_ok() - may a domain be called so: 1 to DOMAIN_NAME - 1 letters, digits, dots,
 *  dashes, underscores, a letter or digit first? Pure. */
bool domain_name_ok(const char *name);

/** domain_wire_bytes() - how long a message with this head is. @head is one of ours. Pure. */
size_t domain_wire_bytes(const struct domain_head *head);

/**
 * domain_wire_check() - is what came, @len bytes, a whole message of a machine (@from_machine) or of
 * the service, with all members in range? Pure; any bytes.
 * Return: 0; -EPROTO with a sentence.
 */
int domain_wire_check(const struct domain_message *message, size_t len, bool from_machine,
                      struct errctx *ec);

/**
 * domain_wire_send() - @message over the socket @fd, with @pass (-1: none) as a descriptor. Does
 * not wait. Return: 0; -EAGAIN: there is no room; the errno of sendmsg.
 */
int domain_wire_send(int fd, const struct domain_message *message, int pass);

/**
 * domain_wire_receive() - the next message, checked. Does not wait.
 * @ret_passed: a descriptor that came with it and is the caller's now, or -1. NULL: none is taken,
 * and what comes is closed.
 * Return: 1; 0: the other end is gone; -EAGAIN: there is none; -EPROTO with a sentence; the errno
 * of recvmsg.
 */
int domain_wire_receive(int fd, bool from_machine, struct domain_message *message, int *ret_passed,
                        struct errctx *ec);

#endif
