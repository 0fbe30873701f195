/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counters - inside the emulated host: start, stop and read the access counter, set the delay.
 *
 * The counter's page is the memory of QEMU's shared-memory device, mapped through sysfs. A change
 * is written there and announced by an instruction that the plugin watches for; it is in force
 * when this program ends. Reading stops nothing.
 */
#include "guest-tests/rig/accesses.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_NO_COUNTER = 125,
    EXIT_NO_COMMAND = 127,
    KNOCKS = 3000,
    KNOCK_US = 10000,
    MAX_DELAY_NS = 1000000,
};

static const char usage_text[] =
    "usage: counters start [--guests] | stop | read | delay [--users] NS\n"
    "       counters run [--guests] [-o FILE] COMMAND...\n"
    "\n"
    "Counts memory accesses of the emulated host by CPU and physical node (guest-tests/rig/run\n"
    "--count-accesses).\n"
    "\n"
    "  start       set all counts to zero and count; with --guests only what guests inside do,\n"
    "              which leaves the host its speed\n"
    "  stop        count no more; the counts stay\n"
    "  read        print them as JSON, whether counting or not\n"
    "  run         start, run COMMAND, stop, print (to FILE); the exit status is COMMAND's\n"
    "  delay NS    from now on every access takes NS nanoseconds longer for each unit by which "
    "the\n"
    "              distance from the CPU's node to the memory's node exceeds 10; 0 ends that;\n"
    "              with --users only what programs do, which leaves the kernels their speed\n";

static const char *const kind_names[ACCESSES_KINDS] = {
    [ACCESSES_HOST_USER] = "host_user",
    [ACCESSES_HOST_KERNEL] = "host_kernel",
    [ACCESSES_GUEST_USER] = "guest_user",
    [ACCESSES_GUEST_KERNEL] = "guest_kernel",
};

static int usage(void)
{
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static bool file_says(const char *dir, const char *name, const char *want)
{
    char path[256], text[16] = "";
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    if (fgets(text, sizeof(text), f) == NULL)
        text[0] = '\0';
    fclose(f);
    return strncmp(text, want, strlen(want)) == 0;
}

static struct accesses *map_device(const char *dir)
{
    char path[256];
    void *page;
    int fd;

    snprintf(path, sizeof(path), "%s/resource2", dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    page = mmap(NULL, ACCESSES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return NULL;
    if (((struct accesses *)page)->magic == ACCESSES_MAGIC)
        return page;
    munmap(page, ACCESSES_BYTES);
    return NULL;
}

static struct accesses *find_page(void)
{
    struct accesses *p = NULL;
    glob_t found;
    size_t i;

    if (glob("/sys/bus/pci/devices/*", 0, NULL, &found) != 0)
        return NULL;
    for (i = 0; i < found.gl_pathc && p == NULL; i++)
        if (file_says(found.gl_pathv[i], "vendor", "0x1af4") &&
            file_says(found.gl_pathv[i], "device", "0x1110"))
            p = map_device(found.gl_pathv[i]);
    globfree(&found);
    return p;
}

static void knock(void)
{
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00\n\t"
                     ".long %c0"
                     :
                     : "i"(ACCESSES_KNOCK)
                     : "memory");
}

/* Ask for @wanted and wait until it is in force. 0, or -1 when nobody answers. */
static int ask(struct accesses *p, uint64_t wanted)
{
    uint64_t asked = __atomic_load_n(&p->done, __ATOMIC_ACQUIRE) + 1;
    int i;

    p->wanted = wanted;
    __atomic_store_n(&p->asked, asked, __ATOMIC_RELEASE);
    for (i = 0; i < KNOCKS; i++) {
        knock();
        if (__atomic_load_n(&p->done, __ATOMIC_ACQUIRE) == asked)
            return 0;
        usleep(KNOCK_US);
    }
    fprintf(stderr, "counters: the plugin does not answer\n");
    return -1;
}

static uint64_t count(const struct accesses *p, uint64_t cpu, int kind, uint64_t node)
{
    return __atomic_load_n(&p->count[cpu][kind][node], __ATOMIC_RELAXED);
}

static void print_cpu(FILE *f, const struct accesses *p, uint64_t cpu)
{
    uint64_t node, elsewhere = 0;
    int kind = p->active & ACCESSES_GUESTS ? ACCESSES_GUEST_USER : ACCESSES_HOST_USER;

    fprintf(f, "  {\"cpu\": %" PRIu64 ", \"node\": %" PRIu64, cpu, p->cpu_node[cpu]);
    for (; kind < ACCESSES_KINDS; kind++) {
        fprintf(f, ", \"%s\": [", kind_names[kind]);
        for (node = 0; node < p->n_nodes; node++)
            fprintf(f, "%s%" PRIu64, node ? ", " : "", count(p, cpu, kind, node));
        fprintf(f, "]");
        elsewhere += count(p, cpu, kind, p->n_nodes);
    }
    fprintf(f, ", \"elsewhere\": %" PRIu64 "}%s\n", elsewhere, cpu + 1 < p->n_cpus ? "," : "");
}

/* Accesses to the nodes' memory by kinds @first and @first + 1, and the share that was local. */
static void print_share(FILE *f, const struct accesses *p, const char *name, int first)
{
    uint64_t cpu, node, all = 0, local = 0;

    for (cpu = 0; cpu < p->n_cpus; cpu++)
        for (node = 0; node < p->n_nodes; node++) {
            uint64_t n = count(p, cpu, first, node) + count(p, cpu, first + 1, node);

            all += n;
            local += node == p->cpu_node[cpu] ? n : 0;
        }
    fprintf(f, " \"%s\": {\"accesses\": %" PRIu64 ", \"local\": %" PRIu64, name, all, local);
    if (all != 0)
        fprintf(f, ", \"local_share\": %.6f},\n", (double)local / (double)all);
    else
        fprintf(f, ", \"local_share\": null},\n");
}

static int print_all(const struct accesses *p, const char *path)
{
    FILE *f = path ? fopen(path, "we") : stdout;
    uint64_t cpu;
    bool bad;

    if (f == NULL) {
        perror(path);
        return -1;
    }
    fprintf(f, "{\"counting\": %s, \"delay_ns\": %" PRIu64 ",\n",
            p->active & ACCESSES_COUNT ? "true" : "false", p->delay_ns);
    print_share(f, p, "guest", ACCESSES_GUEST_USER);
    if (!(p->active & ACCESSES_GUESTS))
        print_share(f, p, "host", ACCESSES_HOST_USER);
    fprintf(f, " \"cpus\": [\n");
    for (cpu = 0; cpu < p->n_cpus; cpu++)
        print_cpu(f, p, cpu);
    fprintf(f, "]}\n");
    bad = ferror(f) != 0;
    if ((path ? fclose(f) : fflush(f)) != 0 || bad) {
        perror(path ? path : "standard output");
        return -1;
    }
    return 0;
}

/* Options of start and run: what to count, and for run where to print (NULL: no such option). */
static char **options(const struct accesses *p, char **argv, uint64_t *ret_wanted,
                      const char **ret_path)
{
    *ret_wanted = ACCESSES_COUNT | ACCESSES_ZERO | (p->active & ACCESSES_DELAY_USERS);
    for (; argv[0] != NULL && argv[0][0] == '-'; argv++) {
        if (strcmp(argv[0], "--guests") == 0) {
            *ret_wanted |= ACCESSES_GUESTS;
        } else if (ret_path != NULL && strcmp(argv[0], "-o") == 0 && argv[1] != NULL) {
            *ret_path = *++argv;
        } else {
            break;
        }
    }
    if (ret_path != NULL && argv[0] != NULL && strcmp(argv[0], "--") == 0)
        argv++;
    return argv;
}

/* What was counted stays known. */
static int stop(struct accesses *p)
{
    return ask(p, p->active & (ACCESSES_GUESTS | ACCESSES_DELAY_USERS));
}

static int start(struct accesses *p, char **argv)
{
    uint64_t wanted;

    if (*options(p, argv, &wanted, NULL) != NULL)
        return usage();
    return ask(p, wanted) < 0 ? EXIT_NO_COUNTER : 0;
}

static int run(struct accesses *p, char **argv)
{
    const char *path = NULL;
    uint64_t wanted;
    int status;
    pid_t child;

    argv = options(p, argv, &wanted, &path);
    if (argv[0] == NULL || argv[0][0] == '-')
        return usage();
    if (ask(p, wanted) < 0)
        return EXIT_NO_COUNTER;
    child = fork();
    if (child == 0) {
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(EXIT_NO_COMMAND);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("counters");
        return EXIT_NO_COUNTER;
    }
    if (stop(p) < 0 || print_all(p, path) < 0)
        return EXIT_NO_COUNTER;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int set_delay(struct accesses *p, char **argv)
{
    const bool users = argv[0] != NULL && strcmp(argv[0], "--users") == 0;
    const char *text = argv[users];
    char *end;
    unsigned long ns;

    if (text == NULL || argv[users + 1] != NULL)
        return usage();
    errno = 0;
    ns = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || ns > MAX_DELAY_NS) {
        fprintf(stderr, "counters: delay %s: not a number of nanoseconds from 0 to %d\n", text,
                MAX_DELAY_NS);
        return EXIT_USAGE;
    }
    p->delay_ns = ns;
    return ask(p, (p->active & ~(uint64_t)ACCESSES_DELAY_USERS) |
                      (users ? ACCESSES_DELAY_USERS : 0)) < 0
               ? EXIT_NO_COUNTER
               : 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    struct accesses *p;

    if (strcmp(what, "--help") == 0)
        return fputs(usage_text, stdout) < 0;
    p = find_page();
    if (p == NULL) {
        fprintf(stderr, "counters: nobody counts here: needs root in a host started by "
                        "guest-tests/rig/run --count-accesses\n");
        return EXIT_NO_COUNTER;
    }
    if (strcmp(what, "run") == 0)
        return run(p, argv + 2);
    if (strcmp(what, "delay") == 0)
        return set_delay(p, argv + 2);
    if (strcmp(what, "start") == 0)
        return start(p, argv + 2);
    if (argc == 2 && strcmp(what, "stop") == 0)
        return stop(p) < 0 ? EXIT_NO_COUNTER : 0;
    if (argc == 2 && strcmp(what, "read") == 0)
        return print_all(p, NULL) < 0 ? EXIT_NO_COUNTER : 0;
    return usage();
}
