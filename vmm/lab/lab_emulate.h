/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lab on a host that QEMU emulates, for machines whose KVM runs no operating system.
 *
 * guest-tests/rig/run makes such a host. Here file servers of the caller's folders are started for
 * it, as a lab of this host's has them (lab_server.h), and this process becomes that program, which
 * runs the same lab inside: it carries streams, signals and the status. Main thread, no other.
 */
#ifndef VMM_LAB_LAB_EMULATE_H
#define VMM_LAB_LAB_EMULATE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

#define LAB_EMULATED "NUMAVISOR_EMULATED" /* in the environment of a lab that runs inside */

struct lab_emulation {
    const char *rig;        /* path of the program that makes the host: lab_emulate_find() */
    const char *program;    /* virtiofsd */
    char *const *shares;    /* folders that are really changed, absolute */
    size_t n_shares;
    char *const *command;   /* what is run inside, n_command words, with the caller's environment */
    size_t n_command;
    const char *file_path;  /* where inside a file shows ... */
    int file_fd;            /* ... that this descriptor holds; -1: none */
    uint32_t nodes;         /* of the host ... */
    uint64_t node_bytes;    /* ... and the memory of each */
    bool network;
    int lost_status;        /* to end with where there was no host ... */
    int server_status;      /* ... or where a file server ended under it */
};

/** lab_emulate_find() - the program, of the tree that @self (a program's path) was built in, or of
 * where it was installed. Reads names only. Return: 0; -ENOENT with a sentence that names both
 * places; -ENAMETOOLONG. */
int lab_emulate_find(const char *self, char ret_rig[static PATH_MAX], struct errctx *ec);

/** lab_emulate() - does not return unless something is missing: -ENOMEM, or the errno of a socket,
 * a file server or of starting the program, with a sentence. */
int lab_emulate(const struct lab_emulation *emulation, struct errctx *ec);

#endif
