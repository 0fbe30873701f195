/* SPDX-License-Identifier: Apache-2.0 */
/* numavisord, the host service: options, going to the background, lines. See service.h. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/privilege.h"
#include "vmm/base/units.h"
#include "vmm/host/service.h"
#include "vmm/machine/control_dir.h"

enum { STATUS_FAILURE = 1, STATUS_USAGE = 2, LIMIT_PART = 4 /* of the host's memory */ };

struct options {
    bool foreground;
    const char *socket; /* NULL: the user's */
    uint64_t limit_bytes;
};

static const char help[] =
    "usage: numavisord [--foreground] [--socket PATH] [--limit SIZE]\n"
    "\n"
    "The host service of numavisor: what machines of one trust domain (numavisor run --domain)\n"
    "have in their stores alike is in the host's memory once. Machines find it by its socket and\n"
    "work on without it.\n"
    "\n"
    "  --foreground    stay in the foreground, and say who comes and goes; without it the\n"
    "                  service goes to the background when it can be found\n"
    "  --socket PATH   where machines find it; by default numavisord in $XDG_RUNTIME_DIR/numavisor,\n"
    "                  /run/numavisor for root, or /tmp/numavisor-UID\n"
    "  --limit SIZE    host memory of what is shared, at most; by default a quarter of the host's\n"
    "  --help          this text\n"
    "\n"
    "SIGINT and SIGTERM end it, SIGUSR1 has it say what is shared. It may be killed at any time:\n"
    "machines keep what they have.\n";

static int complain(int status, const char *sentence)
{
    (void)fprintf(stderr, "numavisord: %s\n", sentence);
    return status;
}

/* Return: 0, or -1 when this program is to end with *@ret_status. */
static int parse(int argc, char **argv, struct options *opts, int *ret_status)
{
    static const struct option known[] = {
        { "foreground", no_argument, NULL, 'f' },
        { "socket", required_argument, NULL, 's' },
        { "limit", required_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct errctx ec = { 0 };
    int c;

    *ret_status = STATUS_USAGE;
    while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (c) {
        case 'f':
            opts->foreground = true;
            break;
        case 's':
            opts->socket = optarg;
            break;
        case 'l':
            if (units_parse_size(optarg, &opts->limit_bytes, &ec) < 0) {
                (void)fprintf(stderr, "numavisord: --limit: %s\n", ec.msg);
                return -1;
            }
            break;
        case 'h':
            *ret_status = fputs(help, stdout) < 0 || fflush(stdout) != 0 ? STATUS_FAILURE : 0;
            return -1;
        default: /* getopt said what */
            return -1;
        }
    }
    if (optind == argc)
        return 0;
    (void)fprintf(stderr, "numavisord: unexpected argument \"%s\"\n", argv[optind]);
    return -1;
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    (void)printf("numavisord: %s\n", line);
    (void)fflush(stdout);
}

/*
 * A process of its own serves from now on, before it makes anything that belongs to a process. This
 * one waits until it says through *@ret_said that it can be found, or ends.
 */
static int fork_off(int *ret_said, struct errctx *ec)
{
    int fds[2], status = 0;
    pid_t pid;
    char word;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return errctx_set_os(ec, errno, "go to the background");
    pid = fork();
    if (pid < 0)
        return errctx_set_os(ec, errno, "go to the background");
    if (pid > 0) {
        (void)close(fds[1]);
        if (read(fds[0], &word, 1) == 1)
            _exit(0);
        (void)waitpid(pid, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_FAILURE);
    }
    (void)close(fds[0]);
    *ret_said = fds[1];
    return 0;
}

/* It can be found. Lines have nobody to read them from now on. */
static void let_go(int said)
{
    CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        (void)dup2(null, fd);
    (void)write(said, "", 1);
    (void)close(said);
}

/* Each segment is a descriptor. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void block_signals(void)
{
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
}

static int serve(const struct options *opts, const char *path, struct errctx *ec)
{
    struct service *service = NULL;
    int said = -1, r = opts->foreground ? 0 : fork_off(&said, ec);

    if (r == 0)
        r = service_new(&(struct service_params){ .path = path, .limit_bytes = opts->limit_bytes,
                                                  .say = say },
                        &service, ec);
    if (r == 0) {
        (void)printf("numavisord: machines find it at %s\n", path);
        (void)fflush(stdout);
    }
    if (r == 0 && said >= 0)
        let_go(said);
    if (r == 0)
        r = privilege_drop(ec);
    if (r == 0)
        r = service_run(service, ec);
    service_free(service);
    return r;
}

int main(int argc, char **argv)
{
    struct options opts = {
        .limit_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) /
                       LIMIT_PART,
    };
    CLEANUP_CLOSE int dir_fd = -1;
    struct errctx ec = { 0 };
    char dir[256], path[320];
    int status, r = 0;

    if (parse(argc, argv, &opts, &status) < 0)
        return status;
    if (opts.socket == NULL) {
        r = control_dir_open(control_dir_path(dir, sizeof(dir)), true, &dir_fd, &ec);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, CONTROL_DIR_SERVICE);
    } else {
        (void)snprintf(path, sizeof(path), "%s", opts.socket);
    }
    block_signals();
    allow_descriptors();
    if (r == 0)
        r = serve(&opts, path, &ec);
    return r < 0 ? complain(STATUS_FAILURE, ec.msg) : 0;
}
