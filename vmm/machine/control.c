/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of control.h: accepting, buffering, deadlines. States of a peer:
 *
 *   reading   request bytes wanted                 EPOLLIN    deadline from the last reply
 *   waiting   the machine answers later            0          none
 *   writing   a reply is only partly taken         EPOLLOUT   deadline from the request
 *   pending   reply taken, another line buffered   EPOLLOUT   served on the loop's next turn
 *
 * One request per turn of the loop, so that a peer that sends many cannot starve the machine.
 */
#include "vmm/machine/control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/control_dir.h"

/* From the request to its answer; outlives a peer that does not wait for it. */
struct control_asked {
    struct control_call call;
    struct control *control;
    struct control_peer *peer; /* NULL: gone */
};

struct control_peer {
    struct control *control;
    int fd; /* -1: a free slot */
    struct evloop_watch *watch;
    uint64_t deadline_ns;
    char request[CONTROL_REQUEST_MAX + 1]; /* and the newline */
    size_t request_len;
    struct control_asked *asked; /* NULL unless waiting */
    char *reply; /* NULL unless writing */
    size_t reply_len, reply_sent;
};

struct control {
    struct evloop *loop;
    const struct control_ops *ops;
    void *ctx;
    char name[65];
    int dir_fd, lock_fd, listen_fd;
    struct evloop_watch *watch;
    struct evloop_timer *timer; /* armed for the nearest deadline */
    uint64_t deadline_ns;
    int (*peer_uid)(int fd, uid_t *ret_uid);
    uid_t owner; /* ours; asked for once, the sandbox ends who asks again */
    struct control_peer peer[CONTROL_PEERS_MAX];
};

static int kernel_peer_uid(int fd, uid_t *ret_uid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    *ret_uid = cred.uid;
    return 0;
}

/* Who waits for us has none. */
static uint64_t deadline_of(const struct control_peer *p)
{
    return p->asked != NULL ? UINT64_MAX : p->deadline_ns;
}

static void arm_timer(struct control *c)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < CONTROL_PEERS_MAX; i++) {
        const struct control_peer *p = &c->peer[i];

        if (p->fd >= 0)
            next = MIN(next, deadline_of(p));
    }
    evloop_timer_arm(c->timer, next == UINT64_MAX ? 0 : next);
}

static void drop_peer(struct control_peer *p)
{
    evloop_unwatch(p->watch);
    (void)close(p->fd);
    free(p->reply);
    if (p->asked != NULL)
        p->asked->peer = NULL;
    p->asked = NULL;
    p->fd = -1;
    p->watch = NULL;
    p->reply = NULL;
    p->request_len = 0;
}

static void deadline_passed(void *ctx)
{
    struct control *c = ctx;
    uint64_t now = evloop_now_ns();

    for (size_t i = 0; i < CONTROL_PEERS_MAX; i++)
        if (c->peer[i].fd >= 0 && deadline_of(&c->peer[i]) <= now)
            drop_peer(&c->peer[i]);
    arm_timer(c);
}

static void give_time(struct control_peer *p)
{
    p->deadline_ns = evloop_now_ns() + p->control->deadline_ns;
    arm_timer(p->control);
}

static bool has_line(const struct control_peer *p)
{
    return memchr(p->request, '\n', p->request_len) != NULL;
}

/* Send what the socket takes. Return: false when the peer is gone. */
static bool send_reply(struct control_peer *p)
{
    while (p->reply_sent < p->reply_len) {
        ssize_t n = send(p->fd, p->reply + p->reply_sent, p->reply_len - p->reply_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n < 0)
            return false;
        p->reply_sent += (size_t)n;
    }
    free(p->reply);
    p->reply = NULL;
    give_time(p);
    return true;
}

/* Take over @text, which may be NULL (no memory: the peer is dropped). */
static bool start_reply(struct control_peer *p, char *text)
{
    if (text == NULL)
        return false;
    p->reply = text;
    p->reply_len = strlen(text);
    p->reply[p->reply_len++] = '\n'; /* in place of the terminator; the length rules */
    p->reply_sent = 0;
    give_time(p);
    return send_reply(p);
}

static void watch(const struct control_peer *p)
{
    evloop_watch_set(p->watch, p->asked != NULL                     ? 0
                               : p->reply != NULL || has_line(p) ? EPOLLOUT
                                                                 : EPOLLIN);
}

static void answered(struct control_call *call, char *text)
{
    struct control_asked *asked = container_of(call, struct control_asked, call);
    struct control_peer *p = asked->peer;
    struct control *c = asked->control;
    const bool stop = call->stop;

    free(asked);
    if (p == NULL) {
        free(text);
    } else {
        p->asked = NULL;
        if (start_reply(p, text)) {
            watch(p);
        } else {
            drop_peer(p);
            arm_timer(c);
        }
    }
    if (stop)
        c->ops->stop(c->ctx);
}

/* Serve the first buffered line. Return: false when the peer is to be dropped; it may be gone, too. */
static bool serve_line(struct control_peer *p)
{
    struct control_asked *asked = calloc(1, sizeof(*asked));
    struct control *c = p->control;
    char *end = memchr(p->request, '\n', p->request_len);
    size_t len = (size_t)(end - p->request);

    if (asked == NULL)
        return false;
    *asked = (struct control_asked){ .call.reply = answered, .control = c, .peer = p };
    p->asked = asked;
    control_answer(c->ops, c->ctx, p->request, len, &asked->call);
    if (p->fd < 0)
        return true;
    p->request_len -= len + 1;
    memmove(p->request, end + 1, p->request_len);
    arm_timer(c);
    return true;
}

/* Return: false when the peer closed, failed, or sent a line that is too long. */
static bool read_request(struct control_peer *p)
{
    ssize_t n =
        recv(p->fd, p->request + p->request_len, sizeof(p->request) - p->request_len, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    if (n == 0)
        return false;
    p->request_len += (size_t)n;
    if (p->request_len == sizeof(p->request) && !has_line(p)) {
        (void)start_reply(p, strdup("{\"ok\":false,\"error\":\"the request is too long\"}"));
        return false;
    }
    return true;
}

static void peer_ready(void *ctx, uint32_t events)
{
    struct control_peer *p = ctx;
    bool alive = true;

    if (p->asked != NULL)
        alive = false; /* there is nothing to wait for but that it hangs up */
    else if (p->reply != NULL)
        alive = send_reply(p);
    else if (!has_line(p) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        alive = read_request(p);
    if (alive && p->asked == NULL && p->reply == NULL && has_line(p))
        alive = serve_line(p);
    if (!alive) {
        drop_peer(p);
        arm_timer(p->control);
    } else if (p->fd >= 0) {
        watch(p);
    }
}

/* A free slot, or the one nearest to its deadline, emptied. */
static struct control_peer *find_slot(struct control *c)
{
    struct control_peer *oldest = &c->peer[0];

    for (size_t i = 0; i < CONTROL_PEERS_MAX; i++) {
        if (c->peer[i].fd < 0)
            return &c->peer[i];
        if (deadline_of(&c->peer[i]) < deadline_of(oldest))
            oldest = &c->peer[i];
    }
    drop_peer(oldest);
    return oldest;
}

static void accept_ready(void *ctx, uint32_t events)
{
    struct control *c = ctx;
    CLEANUP_CLOSE int fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct control_peer *p;
    uid_t uid;

    (void)events;
    if (fd < 0)
        return;
    if (c->peer_uid(fd, &uid) < 0 || (uid != c->owner && uid != 0))
        return;
    p = find_slot(c);
    if (evloop_watch_fd(c->loop, fd, EPOLLIN, peer_ready, p, &p->watch, NULL) < 0)
        return;
    p->fd = take_fd(&fd);
    give_time(p);
}

static int open_socket(struct control *c, const char *given_dir, struct errctx *ec)
{
    char path[256];
    const char *dir = given_dir != NULL ? given_dir : control_dir_path(path, sizeof(path));
    int r = control_dir_open(dir, true, &c->dir_fd, ec);

    if (r < 0)
        return r;
    r = control_dir_lock(c->dir_fd, c->name, &c->lock_fd, ec);
    if (r < 0)
        return r;
    return control_dir_listen(c->dir_fd, dir, c->name, &c->listen_fd, ec);
}

int control_new(const struct control_params *params, struct evloop *loop,
                struct control **ret_control, struct errctx *ec)
{
    struct control *c = calloc(1, sizeof(*c));
    uint32_t ms = params->deadline_ms != 0 ? params->deadline_ms : CONTROL_DEADLINE_MS;
    int r;

    if (c == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the control socket");
    c->loop = loop;
    c->ops = params->ops;
    c->ctx = params->ctx;
    c->dir_fd = c->lock_fd = c->listen_fd = -1;
    c->owner = geteuid();
    json_object_seed(0); /* opens /dev/urandom, which the sandbox would end us for later */
    c->deadline_ns = ms * 1000000ull;
    c->peer_uid = params->peer_uid != NULL ? params->peer_uid : kernel_peer_uid;
    (void)snprintf(c->name, sizeof(c->name), "%s", params->name);
    for (size_t i = 0; i < CONTROL_PEERS_MAX; i++) { /* the buffers stay untouched pages */
        c->peer[i].control = c;
        c->peer[i].fd = -1;
    }

    r = open_socket(c, params->dir, ec);
    if (r == 0)
        r = evloop_timer_new(loop, deadline_passed, c, &c->timer, ec);
    if (r == 0)
        r = evloop_watch_fd(loop, c->listen_fd, EPOLLIN, accept_ready, c, &c->watch, ec);
    if (r < 0) {
        control_free(c);
        return r;
    }
    *ret_control = c;
    return 0;
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < CONTROL_PEERS_MAX; i++)
        if (c->peer[i].fd >= 0)
            drop_peer(&c->peer[i]);
    evloop_unwatch(c->watch);
    evloop_timer_free(c->timer);
    if (c->lock_fd >= 0)
        control_dir_remove(c->dir_fd, c->name); /* only what our lock covers */
    if (c->listen_fd >= 0)
        (void)close(c->listen_fd);
    if (c->lock_fd >= 0)
        (void)close(c->lock_fd);
    if (c->dir_fd >= 0)
        (void)close(c->dir_fd);
    free(c);
}
