/* SPDX-License-Identifier: Apache-2.0 */
/* Just enough Ethernet, ARP, IPv4, UDP and TCP to talk to a network from a test. */
#ifndef DEVICES_VIRTIO_TEST_NET_PACKETS_H
#define DEVICES_VIRTIO_TEST_NET_PACKETS_H

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NP_GUEST 0x0a00020fu /* 10.0.2.15 */
#define NP_HOST  0x0a000202u /* 10.0.2.2 */

static const uint8_t np_guest_mac[6] = { 0x06, 1, 2, 3, 4, 5 };

static inline uint32_t np_sum(const void *data, size_t len, uint32_t sum)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
    return sum;
}

static inline uint16_t np_fold(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

/* Sum of the pseudo header, for a transport header of @len bytes and more. */
static inline uint32_t np_pseudo(const struct iphdr *ip, size_t len)
{
    return np_sum(&ip->saddr, 8, ip->protocol + (uint32_t)len);
}

/* Ethernet and IPv4 header for @len bytes of @proto; returns where these begin. */
static inline uint8_t *np_ip(uint8_t *frame, const uint8_t *dst_mac, uint8_t proto, uint32_t src,
                             uint32_t dst, size_t len)
{
    struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
    struct iphdr ip = { .version = 4,
                        .ihl = 5,
                        .ttl = 64,
                        .protocol = proto,
                        .tot_len = htons((uint16_t)(sizeof(ip) + len)),
                        .saddr = htonl(src),
                        .daddr = htonl(dst) };

    memcpy(eth.h_dest, dst_mac, ETH_ALEN);
    memcpy(eth.h_source, np_guest_mac, ETH_ALEN);
    ip.check = np_fold(np_sum(&ip, sizeof(ip), 0));
    memcpy(frame, &eth, sizeof(eth));
    memcpy(frame + sizeof(eth), &ip, sizeof(ip));
    return frame + sizeof(eth) + sizeof(ip);
}

/* A datagram; @partial leaves only the pseudo header's sum in the checksum field, as a driver
 * with checksum offload does. Returns the frame's length. */
static inline size_t np_udp(uint8_t *frame, const uint8_t *dst_mac, uint32_t src, uint16_t sport,
                            uint32_t dst, uint16_t dport, const void *data, size_t len,
                            bool partial)
{
    size_t udp_len = sizeof(struct udphdr) + len;
    uint8_t *at = np_ip(frame, dst_mac, IPPROTO_UDP, src, dst, udp_len);
    struct udphdr udp = { .source = htons(sport),
                          .dest = htons(dport),
                          .len = htons((uint16_t)udp_len) };
    struct iphdr ip;

    memcpy(&ip, frame + ETH_HLEN, sizeof(ip));
    memcpy(at, &udp, sizeof(udp));
    memcpy(at + sizeof(udp), data, len);
    udp.check = partial ? (uint16_t)~np_fold(np_pseudo(&ip, udp_len))
                        : np_fold(np_sum(at, udp_len, np_pseudo(&ip, udp_len)));
    memcpy(at, &udp, sizeof(udp));
    return (size_t)(at - frame) + udp_len;
}

static inline size_t np_tcp(uint8_t *frame, const uint8_t *dst_mac, uint16_t sport, uint32_t dst,
                            uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags,
                            const void *data, size_t len)
{
    size_t tcp_len = sizeof(struct tcphdr) + len;
    uint8_t *at = np_ip(frame, dst_mac, IPPROTO_TCP, NP_GUEST, dst, tcp_len);
    struct tcphdr tcp = { .source = htons(sport),
                          .dest = htons(dport),
                          .seq = htonl(seq),
                          .ack_seq = htonl(ack),
                          .doff = 5,
                          .window = htons(65535) };
    struct iphdr ip;

    tcp.fin = flags & TH_FIN ? 1 : 0;
    tcp.syn = flags & TH_SYN ? 1 : 0;
    tcp.ack = flags & TH_ACK ? 1 : 0;
    tcp.psh = flags & TH_PUSH ? 1 : 0;
    memcpy(&ip, frame + ETH_HLEN, sizeof(ip));
    memcpy(at, &tcp, sizeof(tcp));
    memcpy(at + sizeof(tcp), data, len);
    tcp.check = np_fold(np_sum(at, tcp_len, np_pseudo(&ip, tcp_len)));
    memcpy(at, &tcp, sizeof(tcp));
    return (size_t)(at - frame) + tcp_len;
}

static inline size_t np_arp(uint8_t *frame, uint16_t op, const uint8_t *dst_mac, uint32_t src,
                            uint32_t dst)
{
    struct ethhdr eth = { .h_proto = htons(ETH_P_ARP) };
    struct ether_arp arp = { .ea_hdr = { .ar_hrd = htons(1),
                                         .ar_pro = htons(ETH_P_IP),
                                         .ar_hln = 6,
                                         .ar_pln = 4,
                                         .ar_op = htons(op) } };

    memcpy(eth.h_dest, dst_mac, ETH_ALEN);
    memcpy(eth.h_source, np_guest_mac, ETH_ALEN);
    memcpy(arp.arp_sha, np_guest_mac, ETH_ALEN);
    memcpy(arp.arp_tha, dst_mac, ETH_ALEN);
    src = htonl(src);
    dst = htonl(dst);
    memcpy(arp.arp_spa, &src, sizeof(src));
    memcpy(arp.arp_tpa, &dst, sizeof(dst));
    memcpy(frame, &eth, sizeof(eth));
    memcpy(frame + sizeof(eth), &arp, sizeof(arp));
    return sizeof(eth) + sizeof(arp);
}

/* Protocol @proto and, for TCP and UDP, destination port @dport (0: any)? Returns the transport
 * header or NULL. */
static inline const uint8_t *np_is(const uint8_t *frame, size_t len, uint8_t proto, uint16_t dport)
{
    const uint8_t *at = frame + ETH_HLEN + sizeof(struct iphdr);

    if (len < ETH_HLEN + sizeof(struct iphdr) + 8 || frame[12] != 8 || frame[13] != 0 ||
        frame[ETH_HLEN + 9] != proto)
        return NULL;
    return dport == 0 || (at[2] << 8 | at[3]) == dport ? at : NULL;
}

#endif
