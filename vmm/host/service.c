/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket, and who is at it. One loop: messages of machines are heard as they come, what is to be
 * said is said when the loop has heard all, and sparse segments are looked for once a second.
 *
 * A lock on a file beside the socket says that a service lives; it goes with its process, however
 * that ends, so the next one can tell a dead socket from a live one.
 */
#include "vmm/host/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/host/service_client.h"
#include "vmm/host/service_group.h"

#define LOOK_NS UINT64_C(1000000000) /* between two looks for sparse segments */

enum { BACKLOG = 64, MACHINES = 4096 };

struct machine_link {
    struct service *service;
    struct machine_link *next;
    struct service_client *client;
    struct evloop_watch *watch;
    pid_t pid;
    bool told; /* that it is there */
    bool full; /* its socket has no room, and there is more to say */
};

struct service {
    struct service_params params;
    struct sockaddr_un address;
    int lock_fd, listen_fd, signal_fd;
    struct evloop *loop;
    struct evloop_watch *listen_watch, *signal_watch;
    struct evloop_timer *timer;
    struct evloop_later *later;
    struct service_groups *groups;
    struct machine_link *machines;
    size_t n_machines;
};

__attribute__((format(printf, 2, 3))) static void say(const struct service *s, const char *fmt, ...)
{
    char line[ERRCTX_MSG_MAX + 160];
    va_list ap;

    if (s->params.say == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    s->params.say(s->params.ctx, line);
}

/* --- machines --------------------------------------------------------------------------------- */

static void remove_machine(struct machine_link *m)
{
    struct service *s = m->service;
    struct machine_link **link = &s->machines;

    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
    s->n_machines--;
    evloop_unwatch(m->watch);
    service_client_free(m->client);
    free(m);
}

static void closed(void *ctx, uint32_t number)
{
    const struct service *s = ctx;

    for (struct machine_link *m = s->machines; m != NULL; m = m->next)
        service_client_closed(m->client, number);
}

static const struct service_groups_ops groups_ops = { .closed = closed };

/* On the loop, when all was heard that there was. */
static void speak(void *ctx)
{
    const struct service *s = ctx;

    for (struct machine_link *m = s->machines; m != NULL; m = m->next) {
        const bool full = service_client_speak(m->client);

        if (full != m->full)
            evloop_watch_set(m->watch, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
        m->full = full;
    }
}

static void tell(struct machine_link *m)
{
    if (m->told || service_client_name(m->client)[0] == '\0')
        return;
    m->told = true;
    say(m->service, "process %d is in domain %s", (int)m->pid, service_client_name(m->client));
}

static void on_machine(void *ctx, uint32_t events)
{
    struct machine_link *m = ctx;
    struct service *s = m->service;
    struct errctx ec = { 0 };
    int r = 0;

    (void)events;
    r = service_client_hear(m->client, &ec);
    tell(m);
    if (r == -EPROTO || r == -ENOMEM)
        say(s, "process %d is sent away: %s", (int)m->pid, ec.msg);
    else if (r < 0 && m->told)
        say(s, "process %d left domain %s", (int)m->pid, service_client_name(m->client));
    if (r < 0)
        remove_machine(m);
    evloop_later_ask(s->later);
}

static void add_machine(struct service *s, int fd, const struct ucred *peer)
{
    struct machine_link *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        (void)close(fd);
        return;
    }
    *m = (struct machine_link){ .service = s, .pid = peer->pid, .next = s->machines };
    if (service_client_new(fd, peer->uid, s->groups, &m->client) < 0) {
        free(m);
        return;
    }
    if (evloop_watch_fd(s->loop, fd, EPOLLIN, on_machine, m, &m->watch, NULL) < 0) {
        service_client_free(m->client);
        free(m);
        return;
    }
    s->machines = m;
    s->n_machines++;
}

/* Machines of the user whose service this is, of root's, and, where root's it is, of all. */
static void on_connect(void *ctx, uint32_t events)
{
    struct service *s = ctx;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    CLEANUP_CLOSE int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return;
    if (peer.uid != geteuid() && peer.uid != 0 && geteuid() != 0) {
        say(s, "process %d of user %u is sent away", (int)peer.pid, (unsigned)peer.uid);
        return;
    }
    if (s->n_machines < MACHINES)
        add_machine(s, take_fd(&fd), &peer);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void look(void *ctx)
{
    struct service *s = ctx;

    if (service_groups_compact(s->groups))
        evloop_later_ask(s->later);
    evloop_timer_arm(s->timer, evloop_now_ns() + LOOK_NS);
}

static void say_state(const struct service *s)
{
    size_t n = 0;

    for (const struct service_group *g = service_groups_first(s->groups); g != NULL; g = g->next) {
        struct service_index_counts c;
        char node[32] = "any host node";

        if (g->node != DOMAIN_ANY_NODE)
            (void)snprintf(node, sizeof(node), "host node %u", g->node);
        service_index_count(g->index, &c);
        say(s,
            "domain %s of user %u, %s: %u stores offer %" PRIu64 " different pages %" PRIu64
            " times; %" PRIu64 " are shared %" PRIu64 " times and take %" PRIu64 " KiB of %" PRIu64,
            g->name, (unsigned)g->uid, node, g->n_members, c.pages, c.offers, c.published, c.uses,
            c.published_bytes / KIB, service_arena_bytes(g->arena) / KIB);
        n++;
    }
    say(s, "%zu machines, %zu groups of stores", s->n_machines, n);
}

static void on_signal(void *ctx, uint32_t events)
{
    struct service *s = ctx;
    struct signalfd_siginfo info;

    (void)events;
    if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGUSR1)
        say_state(s);
    else
        evloop_stop(s->loop);
}

static int make_loop(struct service *s, struct errctx *ec)
{
    sigset_t signals;
    int r = evloop_new(&s->loop, ec);

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGUSR1);
    if (r == 0) {
        s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (s->signal_fd < 0)
            r = errctx_set_os(ec, errno, "signalfd");
    }
    if (r == 0)
        r = evloop_watch_fd(s->loop, s->signal_fd, EPOLLIN, on_signal, s, &s->signal_watch, ec);
    if (r == 0)
        r = evloop_watch_fd(s->loop, s->listen_fd, EPOLLIN, on_connect, s, &s->listen_watch, ec);
    if (r == 0)
        r = evloop_timer_new(s->loop, look, s, &s->timer, ec);
    if (r == 0)
        r = evloop_later_new(s->loop, speak, s, &s->later, ec);
    return r;
}

/* --- life ------------------------------------------------------------------------------------- */

static int take_lock(struct service *s, struct errctx *ec)
{
    char path[sizeof(s->address.sun_path) + 8];

    (void)snprintf(path, sizeof(path), "%s.held", s->address.sun_path);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return errctx_set_os(ec, errno, "open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        (void)ftruncate(s->lock_fd, 0);
        (void)dprintf(s->lock_fd, "%d\n", (int)getpid()); /* for people and scripts */
        return 0;
    }
    return errno == EWOULDBLOCK
               ? errctx_set(ec, EADDRINUSE, "a service is at %s already", s->address.sun_path)
               : errctx_set_os(ec, errno, "lock %s", path);
}

static int listen_at(struct service *s, struct errctx *ec)
{
    const char *path = s->address.sun_path;
    struct stat st;

    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return errctx_set(ec, EADDRINUSE, "%s exists and is no socket", path);
        if (unlink(path) < 0)
            return errctx_set_os(ec, errno, "remove the stale socket %s", path);
    }
    s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0)
        return errctx_set_os(ec, errno, "make a socket");
    if (bind(s->listen_fd, (const struct sockaddr *)&s->address, sizeof(s->address)) < 0)
        return errctx_set_os(ec, errno, "bind %s", path);
    if (chmod(path, 0600) < 0 || listen(s->listen_fd, BACKLOG) < 0)
        return errctx_set_os(ec, errno, "listen at %s", path);
    return 0;
}

int service_new(const struct service_params *params, struct service **ret_service,
                struct errctx *ec)
{
    struct service *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a service");
    s->params = *params;
    s->lock_fd = s->listen_fd = s->signal_fd = -1;
    s->address.sun_family = AF_UNIX;
    r = snprintf(s->address.sun_path, sizeof(s->address.sun_path), "%s", params->path);
    if ((size_t)r >= sizeof(s->address.sun_path))
        r = errctx_set(ec, ENAMETOOLONG, "%s: the path exceeds %zu bytes", params->path,
                       sizeof(s->address.sun_path) - 1);
    else
        r = take_lock(s, ec);
    if (r == 0)
        r = listen_at(s, ec);
    if (r == 0)
        r = make_loop(s, ec);
    if (r == 0 && service_groups_new(params->limit_bytes, &groups_ops, s, &s->groups) < 0)
        r = errctx_set(ec, ENOMEM, "no memory for a service");
    if (r < 0) {
        service_free(s);
        return r;
    }
    *ret_service = s;
    return 0;
}

void service_free(struct service *service)
{
    struct service *s = service;

    if (s == NULL)
        return;
    while (s->machines != NULL)
        remove_machine(s->machines);
    service_groups_free(s->groups);
    if (s->timer != NULL)
        evloop_timer_free(s->timer);
    evloop_later_free(s->later);
    evloop_unwatch(s->listen_watch);
    evloop_unwatch(s->signal_watch);
    evloop_free(s->loop);
    if (s->signal_fd >= 0)
        (void)close(s->signal_fd);
    if (s->listen_fd >= 0) {
        (void)close(s->listen_fd);
        (void)unlink(s->address.sun_path);
    }
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    free(s);
}

int service_run(struct service *service, struct errctx *ec)
{
    evloop_timer_arm(service->timer, evloop_now_ns() + LOOK_NS);
    return evloop_run(service->loop, ec);
}
