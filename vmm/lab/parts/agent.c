/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/parts/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/lab/lab_wire.h"
#include "vmm/lab/parts/facts.h"
#include "vmm/lab/parts/send.h"

/* As an administrator would. Returns an errno; ENOENT: it is none that can be switched. */
static int switch_cpu(uint32_t cpu, bool online)
{
    char path[64];
    int fd, error;

    (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    error = write(fd, online ? "1" : "0", 1) == 1 ? 0 : errno;
    (void)close(fd);
    return error;
}

static void tell(int host, int error)
{
    struct lab_told told = { .magic = LAB_MAGIC, .error = (uint32_t)error };
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out != NULL) {
        facts_write_places("/sys", "/proc", out);
        if (fclose(out) == 0)
            told.bytes = (uint32_t)len;
        else
            told.error = ENOMEM;
    } else {
        told.error = ENOMEM;
    }
    send_all(host, &told, sizeof(told));
    send_all(host, text, told.bytes);
    free(text);
}

void agent_serve(int host, int begun)
{
    struct pollfd p[2] = { { .fd = begun, .events = POLLIN }, { .fd = host, .events = POLLIN } };
    struct lab_ask ask;
    char byte;

    if (read(begun, &byte, 1) != 1)
        return;
    tell(host, 0);
    while (poll(p, 2, -1) >= 0 || errno == EINTR) {
        if (p[0].revents != 0)
            return; /* the command has ended */
        if (p[1].revents == 0)
            continue;
        if (read(host, &ask, sizeof(ask)) != (ssize_t)sizeof(ask) || ask.magic != LAB_MAGIC)
            return;
        tell(host, ask.kind == LAB_ASK_LOOK ? 0
                                            : switch_cpu(ask.cpu, ask.kind == LAB_ASK_ONLINE));
    }
}
