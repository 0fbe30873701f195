/* SPDX-License-Identifier: Apache-2.0 */
/* Sending to the host. For the guest's first program and its children. */
#ifndef VMM_LAB_PARTS_SEND_H
#define VMM_LAB_PARTS_SEND_H

#include <stddef.h>

/** send_all() - @len bytes, as far as the other end takes them. */
void send_all(int fd, const void *data, size_t len);

#endif
