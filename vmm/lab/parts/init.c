/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init - first program of a lab's guest, static, alone in the initramfs with the modules it loads.
 *
 * Joins the host's root, which it gets by virtio-fs, with a layer in memory, moves there, runs the
 * command that it is told and says how it ended. Nothing is left to clean up: the machine ends.
 * A failure before that is said on the control connection where there is one, and on the kernel's
 * console, and ends the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "vmm/lab/lab_wire.h"
#include "vmm/lab/parts/agent.h"
#include "vmm/lab/parts/facts.h"
#include "vmm/lab/parts/send.h"

enum {
    CHUNK = 65536,
    MODULES_MAX = 256,
    MODULE_COMPRESSED = 4 /* MODULE_INIT_COMPRESSED_FILE, 5.17 */
};

static int control = -1; /* one program, one connection: where even a failure goes */

static void switch_off(void)
{
    sync();
    (void)reboot(RB_POWER_OFF);
    for (;;)
        (void)pause();
}

static void end(uint32_t kind, uint32_t value, const char *text)
{
    struct lab_result result = { .magic = LAB_MAGIC, .kind = kind, .value = value };
    unsigned char byte;

    (void)snprintf(result.text, sizeof(result.text), "%s", text);
    sync(); /* shared folders have everything before anybody hears of the end */
    if (control >= 0) {
        send_all(control, &result, sizeof(result));
        while (read(control, &byte, 1) == 1 && byte != 0) /* until all has arrived */
            continue;
    }
    switch_off();
}

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *fmt, ...)
{
    const int error = errno;
    char text[LAB_TEXT], whole[LAB_TEXT + 64];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)snprintf(whole, sizeof(whole), "%s: %s", text, strerror(error));
    (void)dprintf(STDERR_FILENO, "lab: %s\n", whole);
    end(LAB_NO_GUEST, 0, whole);
    abort();
}

/* --- the ground ------------------------------------------------------------------------------- */

static bool is_elf(int fd)
{
    char magic[4] = "";

    return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && memcmp(magic, "\177ELF", 4) == 0;
}

/* /modules/000.ko and so on, in the order of loading. */
static void load_modules(void)
{
    for (int i = 0; i < MODULES_MAX; i++) {
        char path[32];
        int fd;

        (void)snprintf(path, sizeof(path), "/modules/%03d.ko", i);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        if (syscall(SYS_finit_module, fd, "", is_elf(fd) ? 0 : MODULE_COMPRESSED) != 0 &&
            errno != EEXIST)
            fail("module %d does not load", i);
        (void)close(fd);
        (void)unlink(path);
    }
}

static void mount_or_fail(const char *what, const char *type, const char *where,
                          unsigned long flags, const char *options)
{
    if (mount(what, where, type, flags, options) != 0)
        fail("mount %s at %s", what, where);
}

/* What may be missing from a kernel. */
static void mount_if(const char *type, const char *where, const char *options)
{
    (void)mkdir(where, 0755);
    (void)mount(type, where, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, options);
}

static void make_root(void)
{
    static const char *const folders[] = { "/lower", "/layer", "/root" };

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (mkdir(folders[i], 0755) != 0 && errno != EEXIST)
            fail("make %s", folders[i]);
    mount_or_fail("lab-root", "virtiofs", "/lower", MS_RDONLY, NULL);
    mount_or_fail("layer", "tmpfs", "/layer", 0, "size=100%,mode=0755");
    if (mkdir("/layer/up", 0755) != 0 || mkdir("/layer/work", 0755) != 0)
        fail("make the layer's folders");
    mount_or_fail("lab", "overlay", "/root", 0,
                  "lowerdir=/lower,upperdir=/layer/up,workdir=/layer/work");
}

/* The host's own, which show through, are another machine's. */
static void mount_kernel(void)
{
    mount_or_fail("proc", "proc", "/proc", 0, NULL);
    mount_or_fail("sysfs", "sysfs", "/sys", 0, NULL);
    mount_or_fail("dev", "devtmpfs", "/dev", 0, NULL);
    mount_if("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
    (void)mkdir("/dev/shm", 01777);
    (void)mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_if("cgroup2", "/sys/fs/cgroup", NULL);
    mount_if("debugfs", "/sys/kernel/debug", NULL);
    mount_if("tracefs", "/sys/kernel/tracing", NULL);
    (void)symlink("/proc/self/fd", "/dev/fd");
    (void)symlink("/proc/self/fd/0", "/dev/stdin");
    (void)symlink("/proc/self/fd/1", "/dev/stdout");
    (void)symlink("/proc/self/fd/2", "/dev/stderr");
}

/* Many a program talks to itself. */
static void raise_loopback(void)
{
    struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    (void)ioctl(fd, SIOCSIFFLAGS, &lo);
    (void)close(fd);
}

static void enter_root(void)
{
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
        chdir("/") != 0)
        fail("move to the new root");
    mount_kernel();
}

/* --- what to run ------------------------------------------------------------------------------ */

struct order {
    struct lab_order head;
    gid_t *groups;
    char *folder, **args, **env, **shares;
};

static int dial(unsigned port)
{
    const struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port
    };
    const int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&host, sizeof(host)) != 0)
        fail("connect to port %u of the host", port);
    return fd;
}

static void receive(void *data, size_t len)
{
    char *at = data;

    while (len > 0) {
        const ssize_t n = read(control, at, len);

        if (n == 0)
            errno = EPIPE;
        if (n == 0 || (n < 0 && errno != EINTR))
            fail("read what to run");
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static char **take_strings(char **at, const char *end_of_all, uint32_t n)
{
    char **list = calloc((size_t)n + 1, sizeof(*list));

    if (list == NULL)
        fail("take what to run");
    for (uint32_t i = 0; i < n; i++) {
        if (*at >= end_of_all) {
            errno = EPROTO;
            fail("take what to run");
        }
        list[i] = *at;
        *at += strlen(*at) + 1;
    }
    return list;
}

static void take_order(struct order *o)
{
    char *strings, *at, *past;

    receive(&o->head, sizeof(o->head));
    if (o->head.magic != LAB_MAGIC || o->head.n_groups > LAB_GROUPS_MAX ||
        o->head.strings_bytes > LAB_STRINGS_MAX || o->head.strings_bytes == 0) {
        errno = EPROTO;
        fail("take what to run");
    }
    o->groups = calloc((size_t)o->head.n_groups + 1, sizeof(*o->groups));
    strings = calloc(1, (size_t)o->head.strings_bytes + 1);
    if (o->groups == NULL || strings == NULL)
        fail("take what to run");
    receive(o->groups, o->head.n_groups * sizeof(*o->groups));
    receive(strings, o->head.strings_bytes);
    at = strings;
    past = strings + o->head.strings_bytes;
    o->folder = *take_strings(&at, past, 1);
    o->args = take_strings(&at, past, o->head.n_args);
    o->env = take_strings(&at, past, o->head.n_env);
    o->shares = take_strings(&at, past, o->head.n_shares);
}

static void send_facts(void)
{
    FILE *out = fdopen(dial(LAB_FACTS), "w");

    if (out == NULL)
        fail("a stream for facts");
    facts_write("/sys", "/proc", out);
    (void)fclose(out);
}

/* The kernel writes to a serial console in the midst of our lines: it has to be quiet
 * (loglevel=1). */
static void print_facts(void)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)mkdir("/proc", 0755);
    (void)mkdir("/sys", 0755);
    mount_or_fail("proc", "proc", "/proc", 0, NULL);
    mount_or_fail("sysfs", "sysfs", "/sys", 0, NULL);
    if (out == NULL)
        fail("memory for facts");
    facts_write("/sys", "/proc", out);
    if (fclose(out) != 0)
        fail("memory for facts");
    (void)dprintf(STDOUT_FILENO, "\n" LAB_FACTS_BEGIN "\n");
    for (char *line = text, *next; (next = strchr(line, '\n')) != NULL; line = next) {
        *next++ = '\0';
        (void)dprintf(STDOUT_FILENO, LAB_FACTS_LINE "%s\n", line);
    }
    (void)dprintf(STDOUT_FILENO, LAB_FACTS_END "\n");
    (void)tcdrain(STDOUT_FILENO);
    switch_off();
}

static void mount_shares(const struct order *o)
{
    for (uint32_t i = 0; i < o->head.n_shares; i++) {
        char tag[32];

        (void)snprintf(tag, sizeof(tag), "lab-rw%u", i);
        mount_or_fail(tag, "virtiofs", o->shares[i], 0, NULL);
    }
}

/* --- streams: a process carries each ---------------------------------------------------------- */

/* The host's bytes into the command's standard input. */
static void carry_in(int from, int to)
{
    static char chunk[CHUNK];
    ssize_t n;

    (void)signal(SIGPIPE, SIG_IGN);
    while ((n = read(from, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR)) {
        ssize_t done = 0;

        while (n > 0 && done < n) {
            const ssize_t m = write(to, chunk + done, (size_t)(n - done));

            if (m < 0 && errno != EINTR)
                _exit(0); /* the command has closed it */
            done += m > 0 ? m : 0;
        }
    }
    _exit(0);
}

/* The command's bytes to the host: until all writers are gone, or, once the command has ended
 * (@over reads end of file), what was there then: others may keep the pipe, and write, for ever. */
static void carry_out(int from, int to, int over)
{
    static char chunk[CHUNK];
    int left = -1; /* what is still to come of what was there; -1: the command runs */

    while (left != 0) {
        struct pollfd p[2] = { { .fd = from, .events = POLLIN }, { .fd = left < 0 ? over : -1 } };
        ssize_t n;

        if (poll(p, 2, left < 0 ? -1 : 0) == 0)
            break;
        if (p[1].revents != 0 && (ioctl(from, FIONREAD, &left) != 0 || left == 0))
            break;
        if (p[0].revents == 0)
            continue;
        n = read(from, chunk, left >= 0 && left < CHUNK ? (size_t)left : CHUNK);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            break;
        if (n > 0)
            send_all(to, chunk, (size_t)n);
        if (n > 0 && left > 0)
            left -= (int)n;
    }
    (void)shutdown(to, SHUT_WR);
    _exit(0);
}

struct streams {
    int over;    /* its end of file says that the command has ended */
    int command[3];
    pid_t out[2];
};

static void start_streams(struct streams *s)
{
    int dialled[3], over[2], pipes[3][2];

    if (pipe2(over, O_CLOEXEC) != 0)
        fail("pipe");
    for (int i = 0; i < 3; i++) {
        dialled[i] = dial((unsigned)(LAB_STDIN + i));
        if (pipe2(pipes[i], O_CLOEXEC) != 0)
            fail("pipe");
        s->command[i] = pipes[i][i == 0 ? 0 : 1];
    }
    for (int i = 0; i < 3; i++) {
        const pid_t child = fork();

        if (child < 0)
            fail("fork");
        if (child == 0) {
            /* Only what is its own, so that each end of file is one. */
            for (int k = 0; k < 3; k++) {
                (void)close(s->command[k]);
                if (k != i) {
                    (void)close(dialled[k]);
                    (void)close(pipes[k][k == 0 ? 1 : 0]);
                }
            }
            (void)close(over[1]);
            if (i == 0)
                carry_in(dialled[0], pipes[0][1]);
            carry_out(pipes[i][0], dialled[i], over[0]);
        }
        if (i > 0)
            s->out[i - 1] = child;
    }
    for (int i = 0; i < 3; i++) {
        (void)close(dialled[i]);
        (void)close(pipes[i][i == 0 ? 1 : 0]);
    }
    (void)close(over[0]);
    s->over = over[1];
}

/* --- the command ------------------------------------------------------------------------------ */

/* Why there is no command. */
struct failure {
    int error; /* 0: there is one */
    bool in_folder;
};

/* In the command's process; says by @report, which a successful execve closes, what went wrong. */
static void become(const struct order *o, const struct streams *s, int report)
{
    struct failure failure = { 0 };

    for (int i = 0; i < 3; i++)
        if (dup2(s->command[i], i) < 0)
            goto failed;
    (void)setsid();
    if (setgroups(o->head.n_groups, o->groups) != 0 || setgid(o->head.gid) != 0 ||
        setuid(o->head.uid) != 0)
        goto failed;
    if (chdir(o->folder) != 0) {
        failure.in_folder = true;
        goto failed;
    }
    environ = o->env;
    (void)execvp(o->args[0], o->args);
failed:
    failure.error = errno;
    (void)!write(report, &failure, sizeof(failure));
    _exit(127);
}

static pid_t start_command(const struct order *o, const struct streams *s,
                           struct failure *ret_failure)
{
    int report[2];
    pid_t child;

    *ret_failure = (struct failure){ 0 };
    if (pipe2(report, O_CLOEXEC) != 0)
        fail("pipe");
    child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        become(o, s, report[1]);
    (void)close(report[1]);
    (void)!read(report[0], ret_failure, sizeof(*ret_failure));
    (void)close(report[0]);
    for (int i = 0; i < 3; i++)
        (void)close(s->command[i]);
    return child;
}

/* Signals that the host passes on, until the command ends. Its status. */
static int await_command(pid_t command)
{
    sigset_t set;
    int status;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    for (;;) {
        struct pollfd p = { .fd = control, .events = POLLIN };
        const struct timespec forever = { .tv_sec = 1 << 20 };
        sigset_t none;
        pid_t gone;

        while ((gone = waitpid(-1, &status, WNOHANG)) > 0)
            if (gone == command)
                return status;
        (void)sigemptyset(&none);
        if (ppoll(&p, 1, &forever, &none) > 0) { /* SIGCHLD is blocked but here */
            unsigned char byte = 0;

            if (read(control, &byte, 1) != 1 || byte == 0)
                switch_off(); /* nobody waits for it any more */
            (void)kill(-command, byte);
        }
    }
}

/* A process of its own, which has none of the command's streams. Returns what it is to be told by
 * that the command has begun, and, by its end, that it has ended; -1: nobody asked for it. */
static int start_agent(const struct order *o, const struct streams *s)
{
    int begun[2], host;
    pid_t child;

    if (!o->head.wants_events)
        return -1;
    host = dial(LAB_EVENTS);
    if (pipe2(begun, O_CLOEXEC) != 0)
        fail("pipe");
    child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        for (int i = 0; i < 3; i++)
            (void)close(s->command[i]);
        (void)close(s->over);
        (void)close(control);
        (void)close(begun[1]);
        (void)signal(SIGPIPE, SIG_IGN);
        agent_serve(host, begun[0]);
        _exit(0);
    }
    (void)close(host);
    (void)close(begun[0]);
    return begun[1];
}

static void nothing(int signal_number)
{
    (void)signal_number;
}

static void run(const struct order *o)
{
    struct streams s;
    sigset_t child;
    pid_t command;
    struct failure failure;
    int status, agent;

    (void)signal(SIGCHLD, nothing);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    start_streams(&s);
    agent = start_agent(o, &s);
    command = start_command(o, &s, &failure);
    if (agent >= 0 && failure.error == 0)
        send_all(agent, "", 1);
    (void)sigprocmask(SIG_BLOCK, &child, NULL);
    status = failure.error != 0 ? 0 : await_command(command);
    (void)close(s.over);
    if (agent >= 0)
        (void)close(agent);
    for (int i = 0; i < 2; i++)
        while (waitpid(s.out[i], NULL, 0) < 0 && errno == EINTR)
            continue;
    errno = failure.error;
    if (failure.in_folder)
        fail("enter %s", o->folder);
    if (failure.error == ENOENT)
        end(LAB_NOT_FOUND, 0, "");
    else if (failure.error != 0)
        end(LAB_NOT_RUN, (uint32_t)failure.error, "");
    else if (WIFSIGNALED(status))
        end(LAB_SIGNALLED, (uint32_t)WTERMSIG(status), "");
    else
        end(LAB_EXITED, (uint32_t)WEXITSTATUS(status), "");
}

int main(void)
{
    struct order order = { 0 };

    (void)umask(022);
    (void)signal(SIGPIPE, SIG_IGN);
    load_modules();
    if (access("/" LAB_FACTS_ONLY, F_OK) == 0)
        print_facts();
    control = dial(LAB_CONTROL);
    take_order(&order);
    make_root();
    enter_root();
    mount_shares(&order);
    raise_loopback();
    if (order.head.wants_facts)
        send_facts();
    (void)signal(SIGPIPE, SIG_DFL);
    run(&order);
    return 0;
}
