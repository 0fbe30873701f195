/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service says to a machine: any messages, among them good ones with bad content. Pages that
 * the machine keeps stay what they are.
 *
 * Input: messages, each as two bytes of length and so many bytes. A message of the segment's type
 * comes with a segment.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <fcntl.h>
#include <stdio.h>

#include "memory/store/domain/domain_client.h"
#include "memory/store/domain/domain_wire.h"
#include "memory/store/store_domain.h"
#include "vmm/base/macros.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGES = 8 };

static const struct idset anywhere;
static int listener, segment;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct store_desk desk;

static void page_of(unsigned i, uint8_t *page)
{
    memset(page, (int)i, CODEC_PAGE);
    page[0] = 'p';
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint8_t *base;

    (void)argc;
    (void)argv;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz-domain-%d", (int)getpid());
    listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    segment = memfd_create("segment", MFD_ALLOW_SEALING);
    (void)unlink(address.sun_path);
    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1) < 0 || ftruncate(segment, DOMAIN_SEGMENT) < 0)
        abort();
    base = mmap(NULL, DOMAIN_SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0);
    for (unsigned i = 0; i < PAGES; i++)
        page_of(i + 1, base + (size_t)i * CODEC_PAGE);
    if (fcntl(segment, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
        abort();
    return 0;
}

/* Any bytes as a packet. */
static void send_any(int fd, const uint8_t *data, size_t n)
{
    struct domain_message m = { 0 };

    memcpy(&m, data, MIN(n, sizeof(m)));
    if (n >= sizeof(m.head) && m.head.type == DOMAIN_SEGMENT_IS && n == domain_wire_bytes(&m.head))
        (void)domain_wire_send(fd, &m, segment);
    else
        (void)send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void talk(struct domain_client *client, struct store *store, int fd)
{
    uint8_t any[sizeof(struct domain_message)];

    for (unsigned i = 0; i < 64 && domain_client_step(client, &store, 1, 1); i++)
        while (recv(fd, any, sizeof(any), MSG_DONTWAIT) > 0)
            ;
}

static void check(struct store *store, const uint32_t *object)
{
    uint8_t want[CODEC_PAGE], got[CODEC_PAGE];

    for (unsigned i = 0; i < PAGES; i++) {
        page_of(i + 1, want);
        if (store_get(store, NULL, object[i], got) < 0 || memcmp(want, got, CODEC_PAGE) != 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct domain_client *client = NULL;
    struct store *store = NULL;
    uint32_t object[PAGES];
    uint8_t page[CODEC_PAGE];
    int fd;

    if (domain_client_new(address.sun_path, "fuzz", &client, NULL) < 0 ||
        store_new(MIB, 64, &anywhere, &store, NULL) < 0 ||
        store_set_domain(store, domain_client_segments(client)) < 0)
        abort();
    for (unsigned i = 0; i < PAGES; i++) {
        page_of(i + 1, page);
        if (store_put(store, &desk, page, &object[i]) < 0)
            abort();
    }
    (void)domain_client_step(client, &store, 1, UINT64_C(2000000000));
    fd = accept(listener, NULL, NULL);
    send_any(fd, (const uint8_t *)&(struct domain_head){ .type = DOMAIN_WELCOME,
                                                         .arg = DOMAIN_VERSION },
             sizeof(struct domain_head));
    talk(client, store, fd);
    while (size >= 2) {
        const size_t n = MIN((size_t)data[0] | (size_t)data[1] << 8, size - 2);

        send_any(fd, data + 2, n);
        talk(client, store, fd);
        data += 2 + n;
        size -= 2 + n;
    }
    check(store, object);
    (void)close(fd);
    store_free(store);
    domain_client_free(client);
    return 0;
}
