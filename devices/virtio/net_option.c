/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net: the row of the network device. "user" is a flag and "tap" a name, so the option reads
 * "--net user" or "--net tap=tap0" and its JSON form { "user": true } or { "tap": "tap0" }.
 */
#include "devices/virtio/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "devices/virtio/net_int.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"

int net_mac_parse(const char *text, uint8_t ret_mac[ETH_ALEN], struct errctx *ec)
{
    static const uint8_t zero[ETH_ALEN];
    unsigned b[ETH_ALEN];
    uint8_t mac[ETH_ALEN];
    int end = 0;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) !=
            ETH_ALEN ||
        text[end] != '\0' || strspn(text, "0123456789abcdefABCDEF:") != strlen(text))
        return errctx_set(ec, EINVAL, "mac: \"%s\" is not six hexadecimal bytes with colons", text);
    for (unsigned i = 0; i < ETH_ALEN; i++)
        mac[i] = (uint8_t)b[i];
    if (mac[0] & 1)
        return errctx_set(ec, EINVAL, "mac: \"%s\" is a multicast address", text);
    if (memcmp(mac, zero, sizeof(mac)) == 0)
        return errctx_set(ec, EINVAL, "mac: \"%s\" is no address of an interface", text);
    memcpy(ret_mac, mac, sizeof(mac));
    return 0;
}

/* FNV-1a, 64 bits: stable across builds and hosts, which is all that is asked of it. */
static uint64_t mac_hash(uint64_t h, const char *text)
{
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return (h ^ '/') * UINT64_C(0x100000001b3);
}

void net_mac_default(const char *vm_name, const char *dev_name, uint8_t ret_mac[ETH_ALEN])
{
    uint64_t h = mac_hash(UINT64_C(0xcbf29ce484222325), vm_name != NULL ? vm_name : "");

    h = mac_hash(h, dev_name);
    h ^= h >> 40;
    ret_mac[0] = 0x06; /* locally administered, unicast */
    for (unsigned i = 1; i < ETH_ALEN; i++)
        ret_mac[i] = (uint8_t)(h >> (8 * (i - 1)));
}

/* "[ADDR]:PORT" ends at @end; the default address is in *ret_addr already. */
static bool forward_end_parse(const char *text, size_t len, uint32_t *ret_addr, uint16_t *ret_port)
{
    char buf[32], *colon;
    struct in_addr addr;
    uint64_t port;

    if (len >= sizeof(buf))
        return false;
    memcpy(buf, text, len);
    buf[len] = '\0';
    colon = strrchr(buf, ':');
    if (colon == NULL)
        return false;
    *colon = '\0';
    if (buf[0] != '\0') {
        if (inet_pton(AF_INET, buf, &addr) != 1)
            return false;
        *ret_addr = addr.s_addr;
    }
    if (units_parse_uint(colon + 1, 65535, &port, NULL) < 0 || port == 0)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

int net_forward_parse(const char *text, struct net_forward *ret_fwd, struct errctx *ec)
{
    struct net_forward fwd = { .host_addr = htonl(INADDR_LOOPBACK) };
    const char *host = text + 4, *dash;

    if (strncmp(text, "udp:", 4) == 0)
        fwd.udp = true;
    else if (strncmp(text, "tcp:", 4) != 0)
        return errctx_set(ec, EINVAL, "hostfwd: \"%s\" begins with neither tcp: nor udp:", text);
    dash = strchr(host, '-');
    if (dash == NULL)
        return errctx_set(ec, EINVAL, "hostfwd: \"%s\" names no port of the guest after a \"-\"",
                          text);
    if (!forward_end_parse(host, (size_t)(dash - host), &fwd.host_addr, &fwd.host_port))
        return errctx_set(ec, EINVAL, "hostfwd: \"%.*s\" is not [ADDRESS]:PORT of the host",
                          (int)(dash - host), host);
    if (!forward_end_parse(dash + 1, strlen(dash + 1), &fwd.guest_addr, &fwd.guest_port))
        return errctx_set(ec, EINVAL, "hostfwd: \"%s\" is not [ADDRESS]:PORT of the guest",
                          dash + 1);
    *ret_fwd = fwd;
    return 0;
}

static const struct device_key net_keys[] = {
    { .name = "user",
      .kind = DEVICE_KEY_FLAG,
      .help = "network in user space, 10.0.2.0/24, no privileges needed" },
    { .name = "tap", .kind = DEVICE_KEY_STRING, .help = "TAP interface; made if there is none" },
    { .name = "queues",
      .kind = DEVICE_KEY_UINT,
      .max = NET_MAX_PAIRS,
      .help = "queue pairs of a TAP (default 1)" },
    { .name = "vhost",
      .kind = DEVICE_KEY_FLAG,
      .help = "have the host's kernel move the frames of a TAP (vhost-net; default off)" },
    { .name = "mac",
      .kind = DEVICE_KEY_STRING,
      .help = "the guest's address (default: derived from the machine's name)" },
    { .name = "hostfwd",
      .kind = DEVICE_KEY_STRING,
      .repeats = true,
      .help = "tcp|udp:[ADDR]:PORT-[GUESTADDR]:PORT, from the host (default 127.0.0.1) to the "
              "guest (default 10.0.2.15); with user" },
    { .name = "restrict",
      .kind = DEVICE_KEY_FLAG,
      .help = "no way out but the forwarded ports; with user" },
    { .name = NULL },
};

/* Would both want one port of the host? All addresses together include each. */
static bool forwards_clash(const struct net_forward *a, const struct net_forward *b)
{
    return a->udp == b->udp && a->host_port == b->host_port &&
           (a->host_addr == b->host_addr || a->host_addr == htonl(INADDR_ANY) ||
            b->host_addr == htonl(INADDR_ANY));
}

/* The forwards of @a against those of @b, which may be the same device. */
static int check_forwards(const struct device_args *a, const struct device_args *b,
                          struct errctx *ec)
{
    for (size_t i = 0; i < a->n_args; i++) {
        struct net_forward fa, fb;

        if (strcmp(a->args[i].key->name, "hostfwd") != 0)
            continue;
        if (net_forward_parse(a->args[i].text, &fa, ec) < 0)
            return errctx_wrap(ec, -EINVAL, "--net");
        for (size_t k = a == b ? i + 1 : 0; k < b->n_args; k++) {
            if (strcmp(b->args[k].key->name, "hostfwd") != 0)
                continue;
            if (net_forward_parse(b->args[k].text, &fb, ec) < 0)
                return errctx_wrap(ec, -EINVAL, "--net");
            if (forwards_clash(&fa, &fb))
                return errctx_set(ec, EINVAL,
                                  "--net: hostfwd=%s and hostfwd=%s take the same port of the host",
                                  a->args[i].text, b->args[k].text);
        }
    }
    return 0;
}

static int net_check(const struct device_args *args, struct errctx *ec)
{
    bool user = device_args_number(args, "user", 0) != 0;
    bool tap = device_args_get(args, "tap") != NULL;
    const struct device_arg *mac = device_args_get(args, "mac");
    uint8_t scratch[ETH_ALEN];

    if (user && tap)
        return errctx_set(ec, EINVAL, "--net: user and tap= exclude each other");
    if (!user && !tap)
        return errctx_set(ec, EINVAL, "--net: one of user and tap=NAME is needed");
    if (tap && device_args_get(args, "hostfwd") != NULL)
        return errctx_set(ec, EINVAL, "--net: hostfwd= has no meaning with tap=");
    if (tap && device_args_get(args, "restrict") != NULL)
        return errctx_set(ec, EINVAL, "--net: restrict has no meaning with tap=");
    if (user && device_args_get(args, "queues") != NULL)
        return errctx_set(ec, EINVAL, "--net: queues= has no meaning with user");
    if (user && device_args_get(args, "vhost") != NULL)
        return errctx_set(ec, EINVAL, "--net: vhost has no meaning with user");
    if (device_args_number(args, "queues", 1) == 0)
        return errctx_set(ec, EINVAL, "--net: queues=0 leaves no queue");
    if (mac != NULL && net_mac_parse(mac->text, scratch, ec) < 0)
        return errctx_wrap(ec, -EINVAL, "--net");
    if (tap && net_tap_name_check(device_args_get(args, "tap")->text, ec) < 0)
        return errctx_wrap(ec, -EINVAL, "--net");
    return check_forwards(args, args, ec);
}

static int net_clash(const struct device_args *a, const struct device_args *b, struct errctx *ec)
{
    const struct device_arg *ma = device_args_get(a, "mac"), *mb = device_args_get(b, "mac");
    const struct device_arg *ta = device_args_get(a, "tap"), *tb = device_args_get(b, "tap");

    if (ma != NULL && mb != NULL && strcasecmp(ma->text, mb->text) == 0)
        return errctx_set(ec, EINVAL, "--net: mac=%s is given to two devices", ma->text);
    if (ta != NULL && tb != NULL && strcmp(ta->text, tb->text) == 0)
        return errctx_set(ec, EINVAL, "--net: tap=%s is given to two devices", ta->text);
    return check_forwards(a, b, ec);
}

static int net_open_user(const struct device_args *args, const struct device_env *env,
                         struct net_backend **ret_be, struct errctx *ec)
{
    struct net_slirp_config config = {
        .restricted = device_args_number(args, "restrict", 0) != 0,
    };
    struct net_forward *fwds = calloc(args->n_args, sizeof(*fwds));
    int r = 0;

    if (fwds == NULL)
        return errctx_set(ec, ENOMEM, "no memory for forwarded ports");
    for (size_t i = 0; i < args->n_args && r == 0; i++) {
        if (strcmp(args->args[i].key->name, "hostfwd") == 0)
            r = net_forward_parse(args->args[i].text, &fwds[config.n_forwards++], ec);
    }
    config.forwards = fwds;
    if (r == 0)
        r = net_slirp_new(&config, env->loop, ret_be, ec);
    free(fwds);
    return r;
}

static int net_create(const struct device_args *args, const struct device_env *env,
                      struct virtio_dev **ret_dev, struct errctx *ec)
{
    const struct device_arg *tap = device_args_get(args, "tap");
    const struct device_arg *mac_arg = device_args_get(args, "mac");
    struct net_backend *be;
    uint8_t mac[ETH_ALEN];
    int r;

    if (mac_arg == NULL) {
        net_mac_default(env->vm_name, env->name, mac);
    } else {
        r = net_mac_parse(mac_arg->text, mac, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "--net");
    }
    if (tap != NULL)
        r = net_tap_new(tap->text, (unsigned)device_args_number(args, "queues", 1),
                        device_args_number(args, "vhost", 0) != 0, env, &be, ec);
    else
        r = net_open_user(args, env, &be, ec);
    if (r == 0)
        r = net_dev_new(env, be, mac, ret_dev, ec);
    return r < 0 ? errctx_wrap(ec, r, "--net") : 0;
}

/* A TAP is a descriptor like a disk's; only the network in user space opens sockets. */
static void net_needs(const struct device_args *args, struct device_needs *needs)
{
    needs->network |= device_args_number(args, "user", 0) != 0;
}

const struct device_type net_device_type = {
    .name = "net",
    .help = "network interface: user[,hostfwd=...] or tap=NAME",
    .keys = net_keys,
    .check = net_check,
    .clash = net_clash,
    .create = net_create,
    .needs = net_needs,
};
