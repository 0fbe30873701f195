/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's state: lab.c sets up and takes down, lab_loop.c serves in between. For them
 * only. */
#ifndef VMM_LAB_LAB_PRIVATE_H
#define VMM_LAB_LAB_PRIVATE_H

#include <stdbool.h>

#include "vmm/lab/lab.h"
#include "vmm/lab/lab_flow.h"

struct lab {
    const struct lab_request *req;
    struct lab_end *end;
    char dir[64]; /* "": not made */
    char root_socket[LAB_PATH], vsock[LAB_PATH], share_sockets[LAB_SHARES_MAX][LAB_PATH];
    int root_fd, share_fds[LAB_SHARES_MAX]; /* listening, for the file servers */
    int port_fds[LAB_PORTS];                /* listening, by port; 0 unused */
    int conns[LAB_PORTS];                   /* what the guest has opened */
    struct lab_flow flows[LAB_PORTS];       /* by port; those of the three streams are used */
    int log_fd, console_fd, signal_fd;
    pid_t machine, director, servers[LAB_SHARES_MAX + 1]; /* 0: gone, or not there yet */
    size_t n_servers;

    char *order; /* what the guest is to run, owned; ->order_at of ->order_len bytes were sent */
    size_t order_len, order_at;

    bool has_end; /* ->end is filled */
    size_t got;   /* bytes of ->end->result */
    bool dismissed;
    int asked_by;         /* the signal that was passed on; 0: none */
    uint64_t deadline_ns; /* of the whole; 0: none */
    uint64_t grace_ns;    /* until when the machine may take to end; 0: it need not yet */
    uint64_t director_ns; /* until when the director may go on; 0: the command has not ended */
    uint64_t lonely_ns; /* a file server has ended: until when the machine may, too; 0: none has */
    size_t console_len;
};

/** lab_serve() - until the command and the machine have ended. */
int lab_serve(struct lab *lab, struct errctx *ec);

#endif
