/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the supervisor does while the machine runs.
 *
 * The command has ended when its record is here and both output streams are over; then the guest
 * may switch off. The lab ends with the machine, whose end of file on all connections ends the
 * streams.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/lab/lab_private.h"

enum {
    AT_SIGNAL,
    AT_CONSOLE,
    AT_CONTROL,
    AT_PORTS,
    AT_FLOWS = AT_PORTS + LAB_PORTS,
    AT_END = AT_FLOWS + 2 * LAB_PORTS,
    SEND_MS = 60000,
};
#define GRACE_NS 20000000000ull
/* Longer than an answer to one request of the director's takes. */
#define DIRECTOR_NS 20000000000ull
/* A file server ends with the machine, a little before we see it. One that ended by itself leaves a
 * guest that hangs at its next file, and even at the end of a program (release is synchronous). */
#define LONELY_NS 10000000000ull

/* --- control ---------------------------------------------------------------------------------- */

static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        const ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN ? poll(&p, 1, SEND_MS) <= 0 : errno != EINTR) {
            return false;
        }
    }
    return true;
}

static size_t strings_len(char *const *list, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += strlen(list[i]) + 1;
    return len;
}

static char *put_strings(char *at, char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, list[i]) + 1;
    return at;
}

static void close_control(struct lab *lab)
{
    (void)close(lab->conns[LAB_CONTROL]);
    lab->conns[LAB_CONTROL] = -1;
}

/* As much of the order as there is room for. */
static void send_order(struct lab *lab)
{
    const ssize_t n = send(lab->conns[LAB_CONTROL], lab->order + lab->order_at,
                           lab->order_len - lab->order_at, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0)
        lab->order_at += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        close_control(lab);
}

/* Without one the guest is hung up on: it says so then, and ends. */
static void make_order(struct lab *lab)
{
    const struct lab_request *req = lab->req;
    const size_t strings = strlen(req->folder) + 1 + strings_len(req->args, req->n_args) +
                           strings_len(req->env, req->n_env) +
                           strings_len(req->shares, req->n_shares);
    const int n = getgroups(0, NULL);
    const size_t n_groups = n > 0 ? (size_t)n : 0, head = sizeof(struct lab_order);
    const size_t len = head + n_groups * sizeof(gid_t) + strings;
    const struct lab_order order = { .magic = LAB_MAGIC,
                                     .uid = geteuid(),
                                     .gid = getegid(),
                                     .n_groups = (uint32_t)n_groups,
                                     .n_args = (uint32_t)req->n_args,
                                     .n_env = (uint32_t)req->n_env,
                                     .n_shares = (uint32_t)req->n_shares,
                                     .strings_bytes = (uint32_t)strings,
                                     .wants_facts = req->facts_fd >= 0,
                                     .wants_events = req->direct != NULL };
    char *at = calloc(1, len);

    lab->order = at;
    if (at == NULL || getgroups((int)n_groups, (gid_t *)(void *)(at + head)) != (int)n_groups) {
        close_control(lab);
        return;
    }
    memcpy(at, &order, head);
    at = stpcpy(at + len - strings, req->folder) + 1;
    at = put_strings(at, req->args, req->n_args);
    at = put_strings(at, req->env, req->n_env);
    (void)put_strings(at, req->shares, req->n_shares);
    lab->order_len = len;
}

static void read_control(struct lab *lab)
{
    struct lab_result *result = &lab->end->result;
    const ssize_t n = recv(lab->conns[LAB_CONTROL], (char *)result + lab->got,
                           sizeof(*result) - lab->got, MSG_DONTWAIT);

    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        close_control(lab);
        return;
    }
    lab->got += (size_t)n;
    result->text[LAB_TEXT - 1] = '\0';
}

static bool has_result(const struct lab *lab)
{
    return lab->got == sizeof(lab->end->result) && lab->end->result.magic == LAB_MAGIC;
}

/* --- the machine and the user ----------------------------------------------------------------- */

static void finish(struct lab *lab, enum lab_end_kind kind)
{
    lab->end->kind = kind;
    lab->has_end = true;
}

static void reap(struct lab *lab)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == lab->machine) {
            lab->machine = 0;
            lab->end->status = status;
        }
        if (pid == lab->director)
            lab->director = 0;
        for (size_t i = 0; i < lab->n_servers; i++)
            if (pid == lab->servers[i]) {
                lab->servers[i] = 0;
                lab->lonely_ns = evloop_now_ns() + LONELY_NS;
            }
    }
}

static void asked(struct lab *lab, int number)
{
    const unsigned char byte = (unsigned char)number;

    if (lab->asked_by == 0 && lab->conns[LAB_CONTROL] >= 0 && lab->port_fds[LAB_STDERR] < 0 &&
        lab->order_at == lab->order_len && send_all(lab->conns[LAB_CONTROL], &byte, 1)) {
        lab->asked_by = number;
        return;
    }
    lab->end->signal = number;
    finish(lab, LAB_END_SIGNAL);
}

static void read_signals(struct lab *lab)
{
    struct signalfd_siginfo info;

    if (read(lab->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        reap(lab);
    else
        asked(lab, (int)info.ssi_signo);
}

/* The last of it is kept. */
static void read_console(struct lab *lab)
{
    char *kept = lab->end->console;
    const size_t room = sizeof(lab->end->console) - 1;
    char news[1024];
    const ssize_t n = read(lab->console_fd, news, sizeof(news));

    if (n <= 0) {
        (void)close(lab->console_fd);
        lab->console_fd = -1;
        return;
    }
    if (lab->console_len + (size_t)n > room) {
        const size_t go = lab->console_len + (size_t)n - room;

        memmove(kept, kept + go, lab->console_len - go);
        lab->console_len -= go;
    }
    memcpy(kept + lab->console_len, news, (size_t)n);
    lab->console_len += (size_t)n;
    kept[lab->console_len] = '\0';
}

/* Nobody writes to it any more; the last line may be what tells why. */
static void drain_console(struct lab *lab)
{
    struct pollfd p = { .events = POLLIN };

    while ((p.fd = lab->console_fd) >= 0 && poll(&p, 1, 0) > 0)
        read_console(lab);
}

/* --- streams ---------------------------------------------------------------------------------- */

static void accept_port(struct lab *lab, int port)
{
    struct lab_flow *flow = &lab->flows[port];
    const int fd = accept4(lab->port_fds[port], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    lab->conns[port] = fd;
    (void)close(lab->port_fds[port]); /* there is one connection of each kind */
    lab->port_fds[port] = -1;
    flow->from = port == LAB_STDIN ? STDIN_FILENO : fd;
    flow->to = port == LAB_STDIN    ? fd
               : port == LAB_STDOUT ? STDOUT_FILENO
               : port == LAB_FACTS  ? lab->req->facts_fd
                                    : STDERR_FILENO;
    if (port == LAB_CONTROL) {
        flow->from = flow->to = -1;
        make_order(lab);
    }
}

static void step_flow(struct lab *lab, int port, const struct pollfd got[2])
{
    struct lab_flow *flow = &lab->flows[port];

    lab_flow_step(flow, got);
    if (!flow->done || lab->conns[port] < 0)
        return;
    if (port == LAB_FACTS) {
        lab->end->facts_error = flow->error;
    } else if (port != LAB_STDIN && flow->error != 0 && lab->end->out_error == 0) {
        lab->end->out_error = flow->error;
        lab->end->out_is_err = port == LAB_STDERR;
    }
    if (port == LAB_STDIN) {
        (void)shutdown(lab->conns[port], SHUT_WR);
    } else {
        (void)close(lab->conns[port]); /* the command's next write finds nobody */
        lab->conns[port] = -1;
    }
}

static bool is_over(const struct lab *lab, int port)
{
    return lab->flows[port].done || lab->conns[port] < 0;
}

/* Of what the guest sends beside its result. */
static bool all_is_here(const struct lab *lab)
{
    return is_over(lab, LAB_STDOUT) && is_over(lab, LAB_STDERR) && is_over(lab, LAB_FACTS);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void want(const struct lab *lab, struct pollfd p[static AT_END])
{
    p[AT_SIGNAL] = (struct pollfd){ .fd = lab->signal_fd, .events = POLLIN };
    p[AT_CONSOLE] = (struct pollfd){ .fd = lab->console_fd, .events = POLLIN };
    p[AT_CONTROL] = (struct pollfd){
        .fd = has_result(lab) ? -1 : lab->conns[LAB_CONTROL],
        .events = lab->order_at < lab->order_len ? POLLIN | POLLOUT : POLLIN
    };
    for (int port = 0; port < LAB_PORTS; port++) {
        p[AT_PORTS + port] = (struct pollfd){ .fd = lab->port_fds[port], .events = POLLIN };
        lab_flow_wants(&lab->flows[port], &p[AT_FLOWS + 2 * port]);
    }
}

static void serve_once(struct lab *lab, const struct pollfd p[static AT_END])
{
    if (p[AT_SIGNAL].revents != 0)
        read_signals(lab);
    if (p[AT_CONSOLE].fd >= 0 && p[AT_CONSOLE].revents != 0)
        read_console(lab);
    if (p[AT_CONTROL].fd >= 0 && (p[AT_CONTROL].revents & POLLOUT))
        send_order(lab);
    if (lab->conns[LAB_CONTROL] >= 0 && p[AT_CONTROL].fd >= 0 &&
        (p[AT_CONTROL].revents & ~POLLOUT) != 0)
        read_control(lab);
    for (int port = LAB_CONTROL; port < LAB_PORTS; port++) {
        step_flow(lab, port, &p[AT_FLOWS + 2 * port]);
        if (p[AT_PORTS + port].fd >= 0 && p[AT_PORTS + port].revents != 0)
            accept_port(lab, port);
    }
}

/* Whether the director has ended. Once there is a result it may not go on for ever: a guest that gave
 * up never connects to it, and one can keep that connection open. What it did not do was not
 * reached. */
static bool is_directed(struct lab *lab, uint64_t now)
{
    const uint32_t kind = lab->end->result.kind;

    if (lab->director == 0)
        return true;
    if (lab->director_ns == 0)
        lab->director_ns = now + (kind == LAB_EXITED || kind == LAB_SIGNALLED ? DIRECTOR_NS : 0);
    if (now >= lab->director_ns) {
        (void)kill(lab->director, SIGKILL);
        lab->director_ns = UINT64_MAX; /* its end is told by SIGCHLD */
    }
    return false;
}

static void dismiss(struct lab *lab)
{
    const unsigned char bye = 0;

    if (lab->dismissed || !has_result(lab) || !all_is_here(lab) ||
        !is_directed(lab, evloop_now_ns()))
        return;
    lab->dismissed = true;
    lab->grace_ns = evloop_now_ns() + GRACE_NS;
    (void)send_all(lab->conns[LAB_CONTROL], &bye, 1);
}

static void look_at_clock(struct lab *lab, uint64_t now)
{
    if (lab->grace_ns != 0 && now >= lab->grace_ns && lab->machine != 0) {
        (void)kill(lab->machine, SIGKILL); /* what it had to say is here */
        lab->grace_ns = 0;
    }
    if (lab->lonely_ns != 0 && now >= lab->lonely_ns && lab->machine != 0 && !lab->dismissed) {
        const ssize_t n = pread(lab->log_fd, lab->end->console, sizeof(lab->end->console) - 1, 0);

        lab->end->console[n > 0 ? n : 0] = '\0';
        finish(lab, LAB_END_SERVER);
    }
    if (lab->deadline_ns != 0 && now >= lab->deadline_ns && !lab->dismissed)
        finish(lab, LAB_END_TIMEOUT);
}

static int patience_ms(const struct lab *lab, uint64_t now)
{
    uint64_t until = UINT64_MAX;

    if (lab->deadline_ns != 0 && !lab->dismissed)
        until = lab->deadline_ns;
    if (lab->director_ns != 0 && lab->director != 0)
        until = MIN(until, lab->director_ns);
    if (lab->grace_ns != 0)
        until = MIN(until, lab->grace_ns);
    if (lab->lonely_ns != 0 && lab->machine != 0 && !lab->dismissed)
        until = MIN(until, lab->lonely_ns);
    if (until == UINT64_MAX)
        return -1;
    return until <= now ? 0 : (int)MIN((until - now) / 1000000 + 1, 1000000u);
}

int lab_serve(struct lab *lab, struct errctx *ec)
{
    while (!lab->has_end) {
        struct pollfd p[AT_END];

        want(lab, p);
        if (poll(p, AT_END, patience_ms(lab, evloop_now_ns())) < 0 && errno != EINTR)
            return errctx_set_os(ec, errno, "poll");
        serve_once(lab, p);
        dismiss(lab);
        look_at_clock(lab, evloop_now_ns());
        if (lab->machine == 0 && !lab->has_end && all_is_here(lab) &&
            (has_result(lab) || lab->conns[LAB_CONTROL] < 0)) {
            drain_console(lab);
            finish(lab, has_result(lab) ? LAB_END_RESULT : LAB_END_MACHINE);
        }
    }
    return 0;
}
