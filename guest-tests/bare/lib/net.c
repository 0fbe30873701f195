/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-tests/bare/lib/net.h"

#include "guest-tests/bare/lib/bare.h"

enum {
    RX = 0,
    TX = 1,
    SECONDS = 5,
    STRANGERS = 10, /* frames that may come before the one that is waited for */
    ETH_TYPE = 12,
    ARP = 14, /* offsets in the frame */
    ARP_OP = 20,
    ARP_SENDER = 22,
    ARP_SENDER_IP = 28,
    ARP_TARGET_IP = 38,
    IP = 14, /* and from there on (RFC 791) */
    IP_BYTES = 20,
    IP_LEN = 2,
    IP_TTL = 8,
    IP_PROTOCOL = 9,
    IP_SUM = 10,
    IP_FROM = 12,
    IP_TO = 16,
    ICMP = IP + IP_BYTES,
    ICMP_BYTES = 8,
    ICMP_SUM = 2,
    ICMP_ID = 4,
    ICMP_NUMBER = 6,
    PROTOCOL_ICMP = 1,
    ECHO_REQUEST = 8,
    ECHO_REPLY = 0,
    OUR_ID = 0x6e76,
};

static const uint8_t me[] = { 10, 0, 2, 15 }, host[] = { 10, 0, 2, 2 };

bool net_start(struct net *n)
{
    if (!vdev_reset(&n->dev) || !vdev_negotiate(&n->dev, 0) ||
        !vq_setup(&n->dev, &n->rx, RX, VIRTIO_MSI_NO_VECTOR) ||
        !vq_setup(&n->dev, &n->tx, TX, VIRTIO_MSI_NO_VECTOR))
        return false;
    vdev_driver_ok(&n->dev);
    return true;
}

/* Headers of virtio and Ethernet: to all, from us. Return: the frame. */
static uint8_t *frame_begin(struct net *n, uint16_t type)
{
    uint8_t *f = n->out + NET_HEADER;

    memset(n->out, 0, sizeof(n->out));
    memset(f, 0xff, 6);
    for (unsigned i = 0; i < 6; i++)
        f[6 + i] = read8(n->dev.config + i);
    f[ETH_TYPE] = (uint8_t)(type >> 8);
    f[ETH_TYPE + 1] = (uint8_t)type;
    return f;
}

void net_ask(struct net *n)
{
    static const uint8_t arp[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
    struct vpart part = { phys(n->out), sizeof(n->out), false };
    uint8_t *f = frame_begin(n, 0x806);

    memcpy(f + ARP, arp, sizeof(arp));
    memcpy(f + ARP_SENDER, f + 6, 6);
    memcpy(f + ARP_SENDER_IP, me, sizeof(me));
    memcpy(f + ARP_TARGET_IP, host, sizeof(host));
    vq_request(&n->tx, &part, 1);
}

bool net_is_answer(const uint8_t *in)
{
    const uint8_t *f = in + NET_HEADER;

    return f[ETH_TYPE] == 8 && f[ETH_TYPE + 1] == 6 && f[ARP_OP + 1] == 2 &&
           memcmp(f + ARP_SENDER_IP, host, sizeof(host)) == 0;
}

/* What is in tx went, and something that @is_it came into @in. Return: up to where was written. */
static int64_t answer(struct net *n, void *in, bool (*is_it)(const struct net *n, const uint8_t *in))
{
    struct vpart part = { phys(in), NET_ANSWER_BYTES, true };
    int64_t most = 0;

    if (vq_wait(&n->tx, SECONDS) < 0)
        return -1;
    for (unsigned i = 0; i < STRANGERS; i++) {
        int64_t got = vq_wait(&n->rx, SECONDS);

        if (got < 0)
            return -1;
        most = got > most ? got : most;
        if (got >= NET_HEADER + ARP_TARGET_IP && is_it(n, in))
            return most;
        vq_request(&n->rx, &part, 1);
    }
    return -1;
}

static bool is_greeting(const struct net *n, const uint8_t *in)
{
    (void)n;
    return net_is_answer(in);
}

bool net_greet(struct net *n, void *in)
{
    struct vpart part = { phys(in), NET_ANSWER_BYTES, true };

    vq_request(&n->rx, &part, 1);
    net_ask(n);
    return answer(n, in, is_greeting) > 0;
}

static uint32_t add_words(uint32_t sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    return sum;
}

static void put16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

/* The ones' complement of the sum of words (RFC 1071). */
static void put_sum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(at, ~sum);
}

void net_echo_head(struct net *n, uint16_t number, const void *data, size_t len)
{
    uint8_t *f = n->out + NET_HEADER, *ip = f + IP, *icmp = f + ICMP;

    memset(ip, 0, IP_BYTES + ICMP_BYTES);
    f[ETH_TYPE] = 8;
    f[ETH_TYPE + 1] = 0;
    ip[0] = 0x45;
    put16(ip + IP_LEN, (uint32_t)(IP_BYTES + ICMP_BYTES + len));
    ip[IP_TTL] = 64;
    ip[IP_PROTOCOL] = PROTOCOL_ICMP;
    memcpy(ip + IP_FROM, me, sizeof(me));
    memcpy(ip + IP_TO, host, sizeof(host));
    put_sum(ip + IP_SUM, add_words(0, ip, IP_BYTES));
    icmp[0] = ECHO_REQUEST;
    put16(icmp + ICMP_ID, OUR_ID);
    put16(icmp + ICMP_NUMBER, number);
    put_sum(icmp + ICMP_SUM, add_words(add_words(0, icmp, ICMP_BYTES), data, len));
}

/* The reply to what is in n->out. */
static bool is_echo(const struct net *n, const uint8_t *in)
{
    const uint8_t *f = in + NET_HEADER, *sent = n->out + NET_HEADER;

    return f[ETH_TYPE] == 8 && f[ETH_TYPE + 1] == 0 && f[IP + IP_PROTOCOL] == PROTOCOL_ICMP &&
           f[ICMP] == ECHO_REPLY && memcmp(f + ICMP + ICMP_ID, sent + ICMP + ICMP_ID, 4) == 0;
}

int64_t net_echo(struct net *n, const void *data, size_t len, void *in)
{
    struct vpart parts[2] = {
        { phys(n->out), NET_ECHO_AT, false },
        { phys(data), (uint32_t)len, false },
    };
    struct vpart part = { phys(in), NET_ANSWER_BYTES, true };

    vq_request(&n->rx, &part, 1);
    vq_request(&n->tx, parts, 2);
    return answer(n, in, is_echo);
}
