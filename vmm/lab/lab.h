/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lab's supervisor: everything around the machine in which a command runs (docs/lab.md).
 *
 * It makes the sockets, starts file servers and the machine as children, carries the command's
 * streams, and takes all of it away again. The machine itself is the caller's: it is started by a
 * callback in a child, which knows how. One thread.
 */
#ifndef VMM_LAB_LAB_H
#define VMM_LAB_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/lab/lab_wire.h"

enum {
    LAB_SHARES_MAX = 16,
    LAB_PATH = 96,
    LAB_NO_MACHINE = 125, /* status of a machine's process that did not come to be one */
};

/* What the machine is to have. Paths are absolute. */
struct lab_devices {
    const char *initrd;      /* of a file that the child has open */
    const char *root_socket; /* virtio-fs with the tag "lab-root" */
    const char *vsock;       /* the vsock device's socket */
    const char (*share_sockets)[LAB_PATH]; /* with the tags "lab-rw0" and so on */
    size_t n_shares;
};

struct lab_request {
    const char *program;            /* virtiofsd */
    int initramfs_fd;
    int facts_fd;                   /* a file for what the guest sees of its machine; -1: none */
    int report_fd;                  /* the caller's, kept from the machine; -1: none */
    /* In a child: carry out events, talking to the guest's agent by a connection to @listen_fd,
     * whose end says that the command has ended. Its own end is waited for as long as the machine
     * is there, but after the command's not for ever, and not where there was no command. NULL:
     * there are none. */
    void (*direct)(void *ctx, int listen_fd);
    char *const *args;              /* of the command, n_args, at least 1 */
    size_t n_args;
    char *const *env;               /* "NAME=VALUE" */
    size_t n_env;
    char *const *shares;            /* folders, absolute */
    size_t n_shares;
    const char *folder;             /* where the command begins */
    uint64_t timeout_ns;            /* 0: none */
    /* In a child whose standard output is the console's: run the machine. Its exit status. */
    int (*machine)(void *ctx, const struct lab_devices *devices);
    void *ctx;
};

enum lab_end_kind {
    LAB_END_RESULT,   /* ->result says how the command ended */
    LAB_END_MACHINE,  /* the machine ended first: ->status, as waitpid() has it */
    LAB_END_SERVER,   /* a file server ended, ->console is what it said */
    LAB_END_TIMEOUT,
    LAB_END_SIGNAL,   /* asked to end twice: ->signal */
};

struct lab_end {
    enum lab_end_kind kind;
    struct lab_result result; /* text is ended by a NUL */
    int status, signal;
    int out_error;            /* why a stream of the command's could not be written on; 0: none */
    bool out_is_err;          /* ... of standard error */
    int facts_error;          /* why not all facts are in their file; 0: they are */
    char console[4096];       /* the last of what the guest's kernel said, ended by a NUL */
};

/**
 * lab_run() - run the command; returns when nothing is left of it.
 * SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the command once, and end the lab the second
 * time; those that the caller ignores stay ignored.
 * Return: 0 with @ret_end filled; or an errno, with a sentence, of what could not be set up.
 */
int lab_run(const struct lab_request *req, struct lab_end *ret_end, struct errctx *ec);

#endif
