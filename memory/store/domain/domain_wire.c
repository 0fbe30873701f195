/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: their check, and sending and receiving one. See domain_wire.h. */
#include "memory/store/domain/domain_wire.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { PASSED_MAX = 4 }; /* descriptors for which there is room: more than one is refused */

static const struct {
    const char *name;
    bool from_machine;
    uint32_t min, max; /* items */
    size_t item;       /* bytes */
} types[DOMAIN_TYPES] = {
    [DOMAIN_HELLO] = { "hello", true, 1, 1, sizeof(struct domain_name) },
    [DOMAIN_JOIN] = { "join", true, 0, 0, 0 },
    [DOMAIN_LEAVE] = { "leave", true, 0, 0, 0 },
    [DOMAIN_OFFER] = { "offer", true, 1, DOMAIN_BATCH, sizeof(struct domain_hash) },
    [DOMAIN_WITHDRAW] = { "withdraw", true, 1, DOMAIN_BATCH, sizeof(struct domain_hash) },
    [DOMAIN_BYTES] = { "bytes", true, 1, 1, sizeof(struct domain_bytes) },
    [DOMAIN_WELCOME] = { "welcome", false, 0, 0, 0 },
    [DOMAIN_NEED] = { "need", false, 1, DOMAIN_BATCH, sizeof(struct domain_hash) },
    [DOMAIN_SEGMENT_IS] = { "segment", false, 0, 0, 0 },
    [DOMAIN_PLACES] = { "places", false, 1, DOMAIN_BATCH, sizeof(struct domain_place) },
    [DOMAIN_RETIRE] = { "retire", false, 0, 0, 0 },
};

bool domain_name_ok(const char *name)
{
    size_t n = 0;

    if (!isalnum((unsigned char)name[0]))
        return false;
    for (; n < DOMAIN_NAME && name[n] != '\0'; n++)
        if (!isalnum((unsigned char)name[n]) && strchr("._-", name[n]) == NULL)
            return false;
    return n < DOMAIN_NAME;
}

size_t domain_wire_bytes(const struct domain_head *head)
{
    return sizeof(*head) + head->n * types[head->type].item;
}

static bool is_len(uint16_t len, uint8_t kind)
{
    return len >= 1 && len <= CODEC_PAGE && kind < CODEC_KINDS;
}

static int check_places(const struct domain_message *m, struct errctx *ec)
{
    for (uint32_t i = 0; i < m->head.n; i++) {
        const struct domain_place *p = &m->items.places[i];

        if (!is_len(p->len, p->kind) || p->zero != 0 ||
            !checked_range((uint64_t)p->at * DOMAIN_UNIT, p->len, DOMAIN_SEGMENT))
            return errctx_set(ec, EPROTO, "place %u of %u is none in a segment", i, m->head.n);
    }
    return 0;
}

static int check_items(const struct domain_message *m, struct errctx *ec)
{
    const struct domain_bytes *b = &m->items.bytes;

    if (m->head.type == DOMAIN_HELLO &&
        (memchr(m->items.name.name, '\0', DOMAIN_NAME) == NULL ||
         !domain_name_ok(m->items.name.name)))
        return errctx_set(ec, EPROTO, "the domain's name is none");
    if (m->head.type == DOMAIN_BYTES && !is_len(b->len, b->kind))
        return errctx_set(ec, EPROTO, "%u bytes of kind %u are no page", b->len, b->kind);
    return m->head.type == DOMAIN_PLACES ? check_places(m, ec) : 0;
}

int domain_wire_check(const struct domain_message *message, size_t len, bool from_machine,
                      struct errctx *ec)
{
    const struct domain_head *h = &message->head;

    if (len < sizeof(*h))
        return errctx_set(ec, EPROTO, "%zu bytes are no message", len);
    if (h->type >= DOMAIN_TYPES || types[h->type].name == NULL ||
        types[h->type].from_machine != from_machine)
        return errctx_set(ec, EPROTO, "a message of type %u is not expected", h->type);
    if (h->n < types[h->type].min || h->n > types[h->type].max || len != domain_wire_bytes(h))
        return errctx_set(ec, EPROTO, "message %s: %u items in %zu bytes", types[h->type].name,
                          h->n, len);
    if (h->store >= DOMAIN_STORES)
        return errctx_set(ec, EPROTO, "message %s: no machine has a store %u", types[h->type].name,
                          h->store);
    return check_items(message, ec);
}

int domain_wire_send(int fd, const struct domain_message *message, int pass)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    union {
        const struct domain_message *from;
        void *base;
    } bytes = { .from = message };
    struct iovec iov = { bytes.base, domain_wire_bytes(&message->head) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (pass >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS,
                                         .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(&control.head), &pass, sizeof(pass));
    }
    do
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* Descriptors that came: the first is kept where one is wanted, all others are closed. Return: how
 * many. */
static size_t take_passed(struct msghdr *msg, int *ret_passed)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
            if (n++ == 0 && ret_passed != NULL)
                *ret_passed = fd;
            else
                (void)close(fd);
        }
    }
    return n;
}

int domain_wire_receive(int fd, bool from_machine, struct domain_message *message, int *ret_passed,
                        struct errctx *ec)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
    } control;
    struct iovec iov = { message, sizeof(*message) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    CLEANUP_CLOSE int passed = -1;
    size_t n_passed;
    ssize_t n;
    int r;

    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    n_passed = take_passed(&msg, ret_passed != NULL ? &passed : NULL);
    if (n == 0)
        return 0;
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || n_passed > 1 ||
        (n_passed == 1 && ret_passed == NULL))
        return errctx_set(ec, EPROTO, "a message is too long, or brings what nobody asked for");
    r = domain_wire_check(message, (size_t)n, from_machine, ec);
    if (r < 0)
        return r;
    if (ret_passed != NULL)
        *ret_passed = take_fd(&passed);
    return 1;
}
