/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numavisor conformance: does a Linux guest see the machine that was described?
 *
 * The guest is a kernel and one static program, which needs nothing of its machine but a serial
 * port, so the same initramfs tells the same of a machine of another VMM (--initramfs, --facts).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/facts_expect.h"
#include "vmm/cli/print_json.h"
#include "vmm/lab/lab_initramfs.h"
#include "vmm/lab/lab_kernel.h"
#include "vmm/lab/lab_wire.h"
#include "vmm/machine/machine_arch.h"

enum { CONSOLE_MAX = 8 << 20, FACTS_TIMEOUT_S = 600 };

/* --- a guest ---------------------------------------------------------------------------------- */

static int describe(struct machine_config *config, int initramfs_fd, struct errctx *ec)
{
    CLEANUP_FREE char *said = config->cmdline;
    struct lab_kernel kernel;
    int r = lab_kernel_find("", config->kernel, false, &kernel, ec);

    config->cmdline = NULL;
    if (r < 0)
        return r;
    free(config->kernel);
    config->kernel = strdup(kernel.image);
    config->on_reset = ON_RESET_EXIT;
    if (config->kernel == NULL ||
        asprintf(&config->initrd, "/proc/self/fd/%d", initramfs_fd) < 0 ||
        asprintf(&config->cmdline, "%s quiet loglevel=1 panic=-1 %s",
                 config_linux_cmdline(config, machine_arch_serial_is_told()),
                 said != NULL ? said : "") < 0)
        return errctx_set(ec, ENOMEM, "no memory for the machine's description");
    return 0;
}

static void be_machine(struct cli_args *args, int console, pid_t parent)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int status;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent ||
        dup2(null, STDIN_FILENO) < 0 || dup2(console, STDOUT_FILENO) < 0)
        _exit(CLI_FAILURE);
    status = cmd_run.run(args);
    (void)fflush(NULL);
    _exit(status);
}

/* All that comes until the end of file, with a NUL behind it; false when time or room run out. */
static bool read_console(int fd, char *text)
{
    const uint64_t deadline = evloop_now_ns() + FACTS_TIMEOUT_S * 1000000000ull;
    size_t len = 0;

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        const uint64_t now = evloop_now_ns();
        ssize_t n;

        if (now >= deadline || len == CONSOLE_MAX)
            return false;
        if (poll(&p, 1, (int)((deadline - now) / 1000000 + 1)) <= 0)
            continue;
        n = read(fd, text + len, CONSOLE_MAX - len);
        if (n == 0)
            return true;
        if (n > 0)
            len += (size_t)n;
        else if (errno != EINTR)
            return false;
    }
}

/* Run the machine; what its console said is @text. Its status, or a negative errno. */
static int boot(struct cli_args *args, char *text, struct errctx *ec)
{
    const pid_t self = getpid();
    int console[2], status;
    bool whole;
    pid_t pid;

    if (pipe2(console, O_CLOEXEC) != 0)
        return errctx_set_os(ec, errno, "pipe");
    (void)fflush(NULL);
    (void)signal(SIGCHLD, SIG_DFL);
    pid = fork();
    if (pid == 0)
        be_machine(args, console[1], self);
    (void)close(console[1]);
    whole = pid > 0 && read_console(console[0], text);
    (void)close(console[0]);
    if (pid < 0)
        return errctx_set_os(ec, errno, "fork");
    if (!whole)
        (void)kill(pid, SIGKILL); /* its guard tidies up behind it */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!whole)
        return errctx_set(ec, ETIMEDOUT, "the guest does not come to an end");
    if (WIFSIGNALED(status))
        return errctx_set(ec, EIO, "the machine was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* --- facts ------------------------------------------------------------------------------------ */

/* Of a console, in place: what the lines between begin and end say. False when they are not there;
 * a text without a begin is one of facts as it is. */
static bool extract(char *text)
{
    const size_t mark = strlen(LAB_FACTS_LINE);
    char *from = strstr(text, LAB_FACTS_BEGIN), *to = text;

    if (from == NULL)
        return true;
    for (char *line = from, *next; line != NULL; line = next) {
        size_t len;

        next = strchr(line, '\n');
        len = next != NULL ? (size_t)(++next - line) : strlen(line);
        if (strncmp(line, LAB_FACTS_END, strlen(LAB_FACTS_END)) == 0) {
            *to = '\0';
            return true;
        }
        if (strncmp(line, LAB_FACTS_LINE, mark) != 0)
            continue; /* the kernel's */
        memmove(to, line + mark, len - mark);
        to += len - mark;
    }
    return false;
}

static void differs(void *ctx, const struct fact *expected, const char *seen)
{
    (void)json_array_append_new(ctx, json_pack("{ss ss ss*}", "fact", expected->name, "expected",
                                               expected->value, "seen", seen));
}

static int tell(const struct cli_args *args, const struct facts *expected, const struct facts *seen)
{
    json_t *list, *root;
    size_t n;
    int r;

    if (cli_args_get(args, "json") == NULL) {
        n = facts_expect_tell(expected, seen, stdout);
        (void)printf("%zu of %zu facts are as expected\n", expected->n - n, expected->n);
        return cli_flush(n > 0 ? CLI_LAB_DIFFERS : CLI_OK);
    }
    list = json_array();
    n = facts_compare(expected, seen, differs, list);
    root = json_pack("{sI so}", "facts", (json_int_t)expected->n, "differences", list);
    r = root != NULL && json_array_size(list) == n ? print_json(stdout, root) : -ENOMEM;
    json_decref(root);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory for the differences")
                 : cli_flush(n > 0 ? CLI_LAB_DIFFERS : CLI_OK);
}

/* What the guest sees, as it is told by a new one. */
static int ask_guest(struct cli_args *args, char *text)
{
    struct lab_modules none = { .n = 0 };
    CLEANUP_CLOSE int initramfs = -1;
    struct errctx ec = { 0 };
    int r;

    if (lab_initramfs_make(&none, true, &initramfs, &ec) < 0 ||
        describe(&args->config, initramfs, &ec) < 0)
        return cli_fail(CLI_LAB_HOST, &ec);
    r = boot(args, text, &ec);
    if (r < 0)
        return cli_fail(CLI_LAB_MACHINE, &ec);
    if (strstr(text, LAB_FACTS_BEGIN) != NULL && extract(text))
        return CLI_OK;
    if (r == CLI_FAILURE || r == CLI_USAGE)
        return r; /* it has said why */
    return cli_error(CLI_LAB_GUEST, "the guest did not say what it sees");
}

static int ask_file(const char *path, char *text)
{
    CLEANUP_FREE char *got = NULL;
    struct errctx ec = { 0 };
    size_t len;

    if (read_file(path, CONSOLE_MAX, &got, &len, &ec) < 0)
        return cli_error(CLI_USAGE, "--facts %.200s: %s", path, ec.msg);
    memcpy(text, got, strlen(got) + 1); /* a console's NULs end it */
    return extract(text) ? CLI_OK
                         : cli_error(CLI_USAGE, "%.200s: the end of the facts is missing", path);
}

static int compare(struct cli_args *args, const struct facts *expected)
{
    CLEANUP_FREE char *text = calloc(1, CONSOLE_MAX + 1);
    const char *file = cli_args_get(args, "facts");
    struct facts seen;
    struct errctx ec = { 0 };
    int status;

    if (text == NULL)
        return cli_error(CLI_FAILURE, "no memory for a console");
    status = file != NULL ? ask_file(file, text) : ask_guest(args, text);
    if (status != CLI_OK)
        return status;
    if (facts_parse(text, &seen, &ec) < 0)
        return cli_error(CLI_LAB_GUEST, "what the guest says makes no sense: %s", ec.msg);
    status = tell(args, expected, &seen);
    facts_fini(&seen);
    return status;
}

static int write_initramfs(const char *path)
{
    struct lab_modules none = { .n = 0 };
    CLEANUP_CLOSE int fd = -1;
    CLEANUP_FCLOSE FILE *out = NULL;
    struct errctx ec = { 0 };
    char chunk[65536];
    off_t at = 0;
    ssize_t n;

    if (lab_initramfs_make(&none, true, &fd, &ec) < 0)
        return cli_fail(CLI_FAILURE, &ec);
    out = fopen(path, "we");
    if (out == NULL)
        return cli_error(CLI_USAGE, "--initramfs %.200s: %s", path, strerror(errno));
    while ((n = pread(fd, chunk, sizeof(chunk), at)) > 0 &&
           fwrite(chunk, 1, (size_t)n, out) == (size_t)n)
        at += n;
    if (n != 0 || fflush(out) != 0 || ferror(out))
        return cli_error(CLI_FAILURE, "--initramfs %.200s: %s", path, strerror(errno));
    return CLI_OK;
}

static int check(const struct cli_args *args, struct errctx *ec)
{
    const struct machine_config *config = &args->config;
    const bool tells = cli_args_get(args, "show") != NULL || cli_args_get(args, "initramfs") != NULL;

    if ((cli_args_get(args, "show") != NULL) + (cli_args_get(args, "facts") != NULL) +
            (cli_args_get(args, "initramfs") != NULL) > 1)
        return errctx_set(ec, EINVAL, "--show, --facts and --initramfs exclude each other");
    if (tells && (cli_args_get(args, "expect") != NULL || cli_args_get(args, "json") != NULL))
        return errctx_set(ec, EINVAL,
                          "--expect and --json have no effect where nothing is compared");
    if ((tells || cli_args_get(args, "facts") != NULL) && config->kernel != NULL)
        return errctx_set(ec, EINVAL, "--kernel has no effect where no guest runs");
    if (config->on_reset != ON_RESET_RESTART)
        return errctx_set(ec, EINVAL, "--on-reset has no effect: a guest that resets is over");
    if (config->initrd != NULL)
        return errctx_set(ec, EINVAL, "--initrd: the guest's first program is a part of this one");
    if (config->console != CONSOLE_SERIAL)
        return errctx_set(ec, EINVAL, "--console: what the guest says comes by the serial console");
    if (config->cmdline != NULL && config->kernel == NULL)
        return errctx_set(ec, EINVAL, "--cmdline has no effect without --kernel");
    return config_check(config, false, ec);
}

static int run_conformance(struct cli_args *args)
{
    const char *initramfs = cli_args_get(args, "initramfs"), *file = cli_args_get(args, "expect");
    CLEANUP_FREE char *text = NULL;
    struct facts expected;
    struct errctx ec = { 0 };
    int r = check(args, &ec);

    if (r < 0)
        return cli_fail(CLI_USAGE, &ec);
    if (initramfs != NULL)
        return write_initramfs(initramfs);
    if (file != NULL) {
        r = facts_expect_read(file, &expected, &ec);
        if (r < 0)
            r = errctx_wrap(&ec, r, "--expect");
    } else {
        r = facts_expect_settle(&args->config, &ec);
        if (r == 0)
            r = facts_expect_write(&args->config, false, &text, &ec);
        if (r == 0 && cli_args_get(args, "show") != NULL) {
            (void)fputs(text, stdout);
            return cli_flush(CLI_OK);
        }
        if (r == 0)
            r = facts_parse(text, &expected, &ec);
    }
    if (r < 0)
        return cli_fail(r == -ENOMEM ? CLI_FAILURE : CLI_USAGE, &ec);
    r = compare(args, &expected);
    facts_fini(&expected);
    return r;
}

static const struct cli_option conformance_options[] = {
    { .name = "expect",
      .arg = "FILE",
      .is_file = true,
      .help = "compare with the facts in this file (default: those of the description)" },
    { .name = "facts",
      .arg = "FILE",
      .is_file = true,
      .help = "run no guest, compare what one said on a console that this file has" },
    { .name = "initramfs",
      .arg = "FILE",
      .is_file = true,
      .help = "run no guest, write the initramfs that says it, for a machine of another VMM" },
    { .name = "show", .help = "run no guest, print what is expected" },
    { .name = "json", .help = "print the differences as JSON" },
    { 0 },
};

const struct cli_command cmd_conformance = {
    .name = "conformance",
    .summary = "Check that a Linux guest sees every fact of the described machine.",
    .takes_config = true,
    .options = conformance_options,
    .run = run_conformance,
};
