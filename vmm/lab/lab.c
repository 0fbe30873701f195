/* SPDX-License-Identifier: Apache-2.0 */
/* Setting up and taking down what a lab is made of. See lab.h. */
#include "vmm/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/lab/lab_private.h"
#include "vmm/lab/lab_server.h"

enum { LOG_BYTES = 4095 };

/* --- the folder and its sockets --------------------------------------------------------------- */

static int make_dir(struct lab *lab, struct errctx *ec)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    static const char name[] = "/numavisor-lab-XXXXXX";

    if (run != NULL && run[0] == '/' && strlen(run) + sizeof(name) <= sizeof(lab->dir)) {
        (void)snprintf(lab->dir, sizeof(lab->dir), "%s%s", run, name);
        if (mkdtemp(lab->dir) != NULL)
            return 0;
    }
    (void)snprintf(lab->dir, sizeof(lab->dir), "/tmp%s", name);
    if (mkdtemp(lab->dir) != NULL)
        return 0;
    lab->dir[0] = '\0';
    return errctx_set_os(ec, errno, "make a folder in /tmp");
}

/* A listening socket at @path, which is in our folder. */
static int listen_at(const char *path, int *ret_fd, struct errctx *ec)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 4) < 0)
        return errctx_set_os(ec, errno, "listen at %s", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

static int make_sockets(struct lab *lab, struct errctx *ec)
{
    char path[LAB_PATH];
    int r;

    (void)snprintf(lab->root_socket, LAB_PATH, "%s/root", lab->dir);
    (void)snprintf(lab->vsock, LAB_PATH, "%s/vsock", lab->dir);
    r = listen_at(lab->root_socket, &lab->root_fd, ec);
    for (size_t i = 0; r == 0 && i < lab->req->n_shares; i++) {
        (void)snprintf(lab->share_sockets[i], LAB_PATH, "%s/rw%zu", lab->dir, i);
        r = listen_at(lab->share_sockets[i], &lab->share_fds[i], ec);
    }
    for (int port = LAB_CONTROL; r == 0 && port < LAB_PORTS; port++) {
        if ((port == LAB_FACTS && lab->req->facts_fd < 0) ||
            (port == LAB_EVENTS && lab->req->direct == NULL))
            continue;
        (void)snprintf(path, sizeof(path), "%s/vsock_%d", lab->dir, port);
        r = listen_at(path, &lab->port_fds[port], ec);
    }
    return r;
}

static void remove_dir(struct lab *lab)
{
    char path[LAB_PATH];

    if (lab->dir[0] == '\0')
        return;
    (void)unlink(lab->root_socket);
    (void)unlink(lab->vsock);
    for (size_t i = 0; i < lab->req->n_shares; i++)
        (void)unlink(lab->share_sockets[i]);
    for (int port = LAB_CONTROL; port < LAB_PORTS; port++) {
        (void)snprintf(path, sizeof(path), "%s/vsock_%d", lab->dir, port);
        (void)unlink(path);
    }
    (void)rmdir(lab->dir);
}

/* --- children --------------------------------------------------------------------------------- */

static int start_servers(struct lab *lab, struct errctx *ec)
{
    const struct lab_request *req = lab->req;
    struct lab_server server = {
        .program = req->program, .folder = "/", .listen_fd = lab->root_fd, .log_fd = lab->log_fd
    };
    int r = lab_server_start(&server, &lab->servers[0], ec);

    lab->n_servers = r == 0;
    for (size_t i = 0; r == 0 && i < req->n_shares; i++) {
        server.folder = req->shares[i];
        server.writable = true;
        server.listen_fd = lab->share_fds[i];
        r = lab_server_start(&server, &lab->servers[lab->n_servers], ec);
        lab->n_servers += r == 0;
    }
    return r;
}

/* The file servers have their own. */
static void close_served(struct lab *lab)
{
    if (lab->root_fd >= 0)
        (void)close(lab->root_fd);
    lab->root_fd = -1;
    for (size_t i = 0; i < LAB_SHARES_MAX; i++) {
        if (lab->share_fds[i] >= 0)
            (void)close(lab->share_fds[i]);
        lab->share_fds[i] = -1;
    }
}

static void close_ports(struct lab *lab)
{
    for (int port = 0; port < LAB_PORTS; port++) {
        if (lab->port_fds[port] >= 0)
            (void)close(lab->port_fds[port]);
        if (lab->conns[port] >= 0)
            (void)close(lab->conns[port]);
        lab->port_fds[port] = lab->conns[port] = -1;
    }
}

/* In the director's process: nothing of ours but what it needs. */
static void be_director(struct lab *lab, pid_t parent)
{
    const int listen_fd = take_fd(&lab->port_fds[LAB_EVENTS]);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    (void)close(lab->signal_fd);
    (void)close(lab->log_fd);
    close_served(lab);
    close_ports(lab);
    lab->req->direct(lab->req->ctx, listen_fd);
    (void)fflush(NULL);
    _exit(0);
}

static int start_director(struct lab *lab, struct errctx *ec)
{
    const pid_t self = getpid();
    pid_t pid;

    if (lab->req->direct == NULL)
        return 0;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_director(lab, self);
    if (pid < 0)
        return errctx_set_os(ec, errno, "fork");
    lab->director = pid;
    (void)close(take_fd(&lab->port_fds[LAB_EVENTS]));
    return 0;
}

/* In the machine's process: nothing of ours but what it needs. */
static void be_machine(struct lab *lab, int console, pid_t parent)
{
    char initrd[32];
    const struct lab_devices devices = {
        .initrd = initrd,
        .root_socket = lab->root_socket,
        .vsock = lab->vsock,
        .share_sockets = (const char(*)[LAB_PATH])lab->share_sockets,
        .n_shares = lab->req->n_shares,
    };
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;
    int status;

    (void)setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent ||
        dup2(null, STDIN_FILENO) < 0 || dup2(console, STDOUT_FILENO) < 0)
        _exit(LAB_NO_MACHINE);
    (void)close(null);
    (void)close(console);
    (void)close(lab->console_fd);
    (void)close(lab->signal_fd);
    (void)close(lab->log_fd);
    close_served(lab);
    close_ports(lab);
    /* Verdicts are not for a machine that was taken over to write. */
    if (lab->req->facts_fd >= 0)
        (void)close(lab->req->facts_fd);
    if (lab->req->report_fd >= 0)
        (void)close(lab->req->report_fd);
    (void)snprintf(initrd, sizeof(initrd), "/proc/self/fd/%d", lab->req->initramfs_fd);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    status = lab->req->machine(lab->req->ctx, &devices);
    (void)fflush(NULL);
    _exit(status);
}

static int start_machine(struct lab *lab, struct errctx *ec)
{
    const pid_t self = getpid();
    int console[2];
    pid_t pid;

    if (pipe2(console, O_CLOEXEC) != 0)
        return errctx_set_os(ec, errno, "pipe");
    lab->console_fd = console[0];
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_machine(lab, console[1], self);
    (void)close(console[1]);
    if (pid < 0)
        return errctx_set_os(ec, errno, "fork");
    lab->machine = pid;
    return 0;
}

static void end_children(struct lab *lab)
{
    if (lab->machine > 0) {
        (void)kill(lab->machine, SIGKILL); /* its guard tidies up behind it */
        (void)waitpid(lab->machine, &lab->end->status, 0);
    }
    if (lab->director > 0) {
        (void)kill(lab->director, SIGKILL);
        (void)waitpid(lab->director, NULL, 0);
    }
    for (size_t i = 0; i < lab->n_servers; i++) {
        if (lab->servers[i] <= 0)
            continue;
        (void)kill(lab->servers[i], SIGKILL);
        (void)waitpid(lab->servers[i], NULL, 0);
    }
    lab->machine = lab->director = 0;
    lab->n_servers = 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int watch_signals(struct lab *lab, sigset_t *ret_old, struct errctx *ec)
{
    static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD };
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
        struct sigaction was;

        /* nohup, or a shell's "&": blocked, it would be queued all the same */
        if (sigaction(ours[i], NULL, &was) == 0 && was.sa_handler == SIG_IGN)
            continue;
        (void)sigaddset(&set, ours[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, ret_old);
    lab->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return lab->signal_fd < 0 ? errctx_set_os(ec, errno, "signalfd") : 0;
}

/* What the file servers say. A guest can have them say it as often as it likes: the first of it is
 * kept, and writing more fails. */
static int make_log(struct lab *lab, struct errctx *ec)
{
    lab->log_fd = memfd_create("lab-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (lab->log_fd < 0 || ftruncate(lab->log_fd, LOG_BYTES) < 0 ||
        fcntl(lab->log_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        return errctx_set_os(ec, errno, "memory for what file servers say");
    return 0;
}

static void init(struct lab *lab, const struct lab_request *req, struct lab_end *end)
{
    lab->req = req;
    lab->end = end;
    lab->root_fd = lab->log_fd = lab->console_fd = lab->signal_fd = -1;
    for (size_t i = 0; i < LAB_SHARES_MAX; i++)
        lab->share_fds[i] = -1;
    for (int port = 0; port < LAB_PORTS; port++) {
        lab->port_fds[port] = lab->conns[port] = -1;
        lab->flows[port].from = lab->flows[port].to = -1;
    }
    if (req->timeout_ns > 0)
        lab->deadline_ns = evloop_now_ns() + req->timeout_ns;
}

static void take_down(struct lab *lab, const sigset_t *old)
{
    end_children(lab);
    close_served(lab);
    close_ports(lab);
    if (lab->console_fd >= 0)
        (void)close(lab->console_fd);
    if (lab->signal_fd >= 0)
        (void)close(lab->signal_fd);
    if (lab->log_fd >= 0)
        (void)close(lab->log_fd);
    free(lab->order);
    remove_dir(lab);
    (void)sigprocmask(SIG_SETMASK, old, NULL);
}

int lab_run(const struct lab_request *req, struct lab_end *ret_end, struct errctx *ec)
{
    CLEANUP_FREE struct lab *lab = calloc(1, sizeof(*lab));
    struct lab_end end = { .kind = LAB_END_MACHINE };
    void (*old_pipe)(int), (*old_child)(int);
    sigset_t old;
    int r;

    if (lab == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the lab");
    init(lab, req, &end);
    old_pipe = signal(SIGPIPE, SIG_IGN);
    old_child = signal(SIGCHLD, SIG_DFL); /* ignored, children would end unseen */
    r = watch_signals(lab, &old, ec);
    if (r == 0)
        r = make_log(lab, ec);
    if (r == 0)
        r = make_dir(lab, ec);
    if (r == 0)
        r = make_sockets(lab, ec);
    if (r == 0)
        r = start_servers(lab, ec);
    close_served(lab);
    if (r == 0)
        r = start_director(lab, ec);
    if (r == 0)
        r = start_machine(lab, ec);
    if (r == 0)
        r = lab_serve(lab, ec);
    take_down(lab, &old);
    (void)signal(SIGCHLD, old_child);
    (void)signal(SIGPIPE, old_pipe);
    if (r == 0)
        *ret_end = end;
    return r;
}
