/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One machine's connection with the service. What it sends is hostile until it is checked; who breaks
 * the rules is disconnected. What is to be said to it waits in the index (service_index.h), and here
 * one message at most, which its socket has no room for.
 *
 * One thread.
 */
#ifndef VMM_HOST_SERVICE_CLIENT_H
#define VMM_HOST_SERVICE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/host/service_group.h"

struct service_client;

/** service_client_new() - a machine at @fd, which is the client's from now on, of the user @uid.
 *  Return: 0 or -ENOMEM; @fd is closed then. */
int service_client_new(int fd, uid_t uid, struct service_groups *groups,
                       struct service_client **ret_client);

/** service_client_free() - closes the connection; what it offered goes. NULL is allowed. */
void service_client_free(struct service_client *client);

/**
 * service_client_hear() - take some messages.
 * Return: 0: there may be more, or not, at another time; -ENOTCONN: the machine is gone; -EPROTO with
 * a sentence; another errno of recvmsg. Not 0: to be freed.
 */
int service_client_hear(struct service_client *client, struct errctx *ec);

/** service_client_speak() - say what is to be said. Return: whether it wants to be called again when
 *  there is room in the socket. */
bool service_client_speak(struct service_client *client);

/** service_client_closed() - segment @number is closed: it is to be told, where it has that. */
void service_client_closed(struct service_client *client, uint32_t number);

/** service_client_name() - the domain; "" until it said. */
const char *service_client_name(const struct service_client *client);

#endif
