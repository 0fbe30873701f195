/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface on the user network, whose host at 10.0.2.2 answers: who has its address, and
 * echo requests (ICMP, RFC 792) with the bytes that they brought.
 */
#ifndef GUEST_TESTS_BARE_LIB_NET_H
#define GUEST_TESTS_BARE_LIB_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-tests/bare/lib/virtio.h"

enum {
    NET_HEADER = 12,                       /* with VERSION_1 always (virtio 1.2, 5.1.6) */
    NET_ECHO_AT = NET_HEADER + 14 + 20 + 8, /* Ethernet, IP, ICMP: where an echo's bytes begin */
    NET_ECHO_MAX = 1472,
    NET_ANSWER_BYTES = 2048, /* room for any frame */
};

struct net {
    struct vdev dev;
    struct vq rx, tx;
    uint8_t out[NET_HEADER + 60]; /* what is sent, or its headers */
};

/** net_start() - reset the device, no features, no interrupts, both queues. */
bool net_start(struct net *n);

/** net_ask() - who has 10.0.2.2? Tell 10.0.2.15. The caller waits for tx. */
void net_ask(struct net *n);

/** net_is_answer() - @in, a buffer of rx, holds the answer to that. */
bool net_is_answer(const uint8_t *in);

/** net_greet() - ask and wait for the answer; the host knows whom to send to afterwards. @in: a
 *  buffer of NET_ANSWER_BYTES. */
bool net_greet(struct net *n, void *in);

/** net_echo_head() - the headers of echo request @number with the @len bytes (even, at most
 *  NET_ECHO_MAX) at @data into n->out. Touches memory only. */
void net_echo_head(struct net *n, uint16_t number, const void *data, size_t len);

/**
 * net_echo() - send these headers, and the bytes from where they lie, and wait for the answer.
 * @in: buffer of NET_ANSWER_BYTES.
 * Return: up to where frames were written to @in; -1: no answer came.
 */
int64_t net_echo(struct net *n, const void *data, size_t len, void *in);

#endif
