/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lab's supervisor and the first program of its guest say to each other. Both are of one
 * build, so there are no versions. The guest opens all connections, to ports of the host.
 *
 * Control, to the guest: struct lab_order, groups, then strings, each ended by a NUL: folder,
 * arguments, environment, shared folders. Then bytes, each a signal for the command, and a 0 at the
 * end: switch off. Control, from the guest: one struct lab_result. Facts, from the guest, when the
 * order wants them, before the command begins: a text (vmm/topology/facts.h).
 *
 * Events, when the order wants them: once the command has begun the guest sends a struct lab_told,
 * then one for each struct lab_ask of the host's, and ends the stream when the command has ended.
 */
#ifndef VMM_LAB_LAB_WIRE_H
#define VMM_LAB_LAB_WIRE_H

#include <stdint.h>

enum { LAB_CONTROL = 1, LAB_STDIN, LAB_STDOUT, LAB_STDERR, LAB_FACTS, LAB_EVENTS, LAB_PORTS };

/* A file in the initramfs that has init tell the facts on the console and end: for a guest of which
 * nothing is asked but a serial port. */
#define LAB_FACTS_ONLY "facts"
/* The lines around them, and what each of them begins with. */
#define LAB_FACTS_BEGIN "numavisor facts begin"
#define LAB_FACTS_END   "numavisor facts end"
#define LAB_FACTS_LINE  "fact "

enum {
    LAB_MAGIC = 0x62616c6e,
    LAB_STRINGS_MAX = 4 << 20, /* of arguments and environment; Linux' own limit is below that */
    LAB_GROUPS_MAX = 65536,
    LAB_TEXT = 200,
};

struct lab_order {
    uint32_t magic;
    uint32_t uid, gid, n_groups;
    uint32_t n_args, n_env, n_shares;
    uint32_t strings_bytes;
    uint32_t wants_facts, wants_events; /* 0 or 1 */
};

enum lab_ask_kind {
    LAB_ASK_LOOK, /* nothing but what is told */
    LAB_ASK_OFFLINE,
    LAB_ASK_ONLINE,
};

struct lab_ask {
    uint32_t magic;
    uint32_t kind; /* enum lab_ask_kind */
    uint32_t cpu;
};

struct lab_told {
    uint32_t magic;
    uint32_t error; /* errno of what was asked for; 0: it was done */
    uint32_t bytes; /* of facts that follow: nodes, their CPUs and memory, CPUs */
};

enum lab_kind {
    LAB_EXITED,     /* value: the status */
    LAB_SIGNALLED,  /* value: the signal */
    LAB_NOT_FOUND,  /* there is no such command */
    LAB_NOT_RUN,    /* there is one, but it cannot be run; value: errno */
    LAB_NO_GUEST,   /* the guest could not be made ready; text says why */
};

struct lab_result {
    uint32_t magic;
    uint32_t kind; /* enum lab_kind */
    uint32_t value;
    char text[LAB_TEXT]; /* ends with a NUL, unless a guest lies */
};

#endif
