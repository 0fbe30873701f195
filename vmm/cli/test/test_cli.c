/* SPDX-License-Identifier: Apache-2.0 */
/* Whole command lines: what they print and the status they end with. The manual, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/evloop.h"
#include "vmm/base/macros.h"
#include "vmm/cli/cli.h"
#include "vmm/machine/control.h"

enum { OUTPUT_MAX = 1 << 20, MAX_WORDS = 48 };

struct outcome {
    int status;
    char *out, *err; /* freed by outcome_fini() */
};

static char *read_back(int fd)
{
    char *text = calloc(1, OUTPUT_MAX);

    assert_non_null(text);
    assert_true(pread(fd, text, OUTPUT_MAX - 1, 0) >= 0);
    close(fd);
    return text;
}

static int scratch(void)
{
    int fd = memfd_create("output", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Run "plan --cpus 2" in a process of its own; "@" is a space within a word. */
static struct outcome run(const char *words)
{
    char *copy = strdup(words), *rest = NULL, *argv[MAX_WORDS] = { NULL };
    static char program[] = "numavisor";
    int out = scratch(), err = scratch(), argc = 1, status;
    pid_t pid;

    argv[0] = program;
    for (char *w = strtok_r(copy, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        for (char *at = strchr(w, '@'); at != NULL; at = strchr(at, '@'))
            *at = ' ';
        assert_true(argc < MAX_WORDS - 1);
        argv[argc++] = w;
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
            _exit(99);
        status = cli_main(argc, argv);
        (void)fflush(NULL);
        _exit(status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    free(copy);
    return (struct outcome){ WEXITSTATUS(status), read_back(out), read_back(err) };
}

static void outcome_fini(struct outcome *o)
{
    free(o->out);
    free(o->err);
}

static void a_wrong_command_line_is_one_sentence_and_status_2(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "", "say what to do (numavisor --help lists the commands)" },
        { "plam", "unknown command plam; did you mean plan? (numavisor --help lists them)" },
        { "plan --vnuam 2", "unknown option --vnuam; did you mean --vnuma?" },
        { "plan -x", "unknown option -x" },
        { "plan extra", "plan: unexpected argument \"extra\"" },
        { "plan --cpus", "--cpus needs a value" },
        { "plan --json=1", "--json takes no value" },
        { "plan --json --json", "--json is given twice" },
        { "plan --rng --rng", "--rng is given twice" },
        { "--version please", "--version: unexpected argument \"please\"" },
        { "plan --cpu-feature -bogus",
          "--cpu-feature -bogus: no feature of that name can be taken away" },
        { "run --kernel k --cpu-feature -bogus",
          "--cpu-feature -bogus: no feature of that name can be taken away" },
        { "plan --memory 4096T", NULL }, /* more than 52 address bits: on no processor */
        { "run --kernel k --memory 4096T", NULL },
        { "plan --node=", "--node: an empty text says nothing" },
        { "plan --host-xml a --host-synthetic b",
          "--host-xml and --host-synthetic name two hosts, say one" },
        { "plan --node cpus=0,host=99,memory=1G --host-synthetic node:1@pu:4", NULL },
        { "host --cpus 2", "--cpus has no meaning for host" },
        { "host --json --xml", "--json and --xml are two forms, say one" },
        { "host --measure --xml", "hwloc's XML has no place for what --measure finds" },
        { "host --measure --host-synthetic node:2@pu:4",
          "--measure measures this machine, not node:2 pu:4" },
        { "ctl name",
          "usage: numavisor ctl NAME ACTION [vnode=N host=N|cancel]" },
        { "ctl name paus", "ctl: paus is none of status, pause, resume, power, reset, stop, "
                           "stats, memory, ledger, move; did you mean pause?" },
        { "ctl name pause --stay", "ctl: --stay has no meaning for pause" },
        { "ctl name pause now", "ctl: unexpected argument \"now\"" },
        { "ctl name move --svg x.svg", "ctl: --svg has no meaning for move" },
        { "ctl name ledger --force", "ctl: --force has no meaning for ledger" },
        { "ctl name move --force", "ctl move: --force needs a move to make" },
        { "ctl name move --rate 1G/s", "ctl move: --rate needs a move to make" },
        { "ctl name move cancel --rate 1G/s", "ctl move: --rate needs a move to make" },
        { "ctl name move --stay", "ctl move: --stay needs a move to make or to cancel" },
        { "ctl name move vnode=1", "ctl move: both vnode=N and host=N are needed" },
        { "ctl name move vnode=1 vnode=2",
          "ctl move: vnode=2 is none of vnode=N, host=N, cancel" },
        { "ctl name move vnode=1 host=x", NULL },
        { "ctl name move vnode=1 host=2 --rate 1G", NULL },
        { "ctl name move vnode=1 host=2 --rate 0M/s", "--rate: from 1/s to 4194304T/s" },
        { "ctl ../etc status", "ctl: \"../etc\" cannot be the name of a machine" },
        { "completion fish", "completion: only bash is known" },
        { "help fly", "help: there is no command fly" },
        { "run", "there is nothing to boot, say --kernel FILE" },
        { "run --kernel k --name a/b", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct outcome o = run(rows[i].words);
        char want[256];

        assert_int_equal(o.status, CLI_USAGE);
        assert_string_equal(o.out, "");
        assert_memory_equal(o.err, "numavisor: ", 11);
        assert_ptr_equal(strchr(o.err, '\n'), o.err + strlen(o.err) - 1);
        (void)snprintf(want, sizeof(want), "numavisor: %s\n",
                       rows[i].sentence != NULL ? rows[i].sentence : "");
        if (rows[i].sentence != NULL)
            assert_string_equal(o.err, want);
        outcome_fini(&o);
    }
}

static void missing_standard_streams_do_no_harm(void **state)
{
    char path[] = "/tmp/nv-streams-XXXXXX", first[16] = "";
    static char program[] = "numavisor", version[] = "--version";
    char *argv[] = { program, version, NULL };
    int fd = mkstemp(path), status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        status = cli_main(2, argv);
        _exit(fcntl(STDOUT_FILENO, F_GETFD) < 0 || open(path, O_WRONLY) <= 2 ? 98 : status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), CLI_OK);
    assert_int_equal(read(fd, first, sizeof(first)), 0); /* the version went nowhere */
    close(fd);
    unlink(path);
}

static void a_measurement_is_kept_and_shown_again(void **state)
{
    char dir[] = "/tmp/test_cli_cache.XXXXXX", *kept, *end;
    struct outcome o;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("XDG_CACHE_HOME", dir, 1), 0);
    o = run("host --measure --json");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"latency_ps\""));
    assert_non_null(strstr(o.err, "measured "));
    kept = strstr(o.err, dir);
    assert_non_null(kept);
    kept = strdup(kept);
    outcome_fini(&o);
    end = strchr(kept, '\n');
    assert_non_null(end);
    *end = '\0';

    o = run("host");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\nMeasured on "));
    assert_string_equal(o.err, "");
    outcome_fini(&o);

    assert_int_equal(truncate(kept, 10), 0);
    o = run("plan --cpus 1 --memory 64M"); /* goes on without it */
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.err, "numavisor: an earlier measurement is not used: "));
    assert_non_null(strstr(o.err, "not a measurement: no JSON in line"));
    outcome_fini(&o);
    assert_int_equal(unlink(kept), 0);
    *strrchr(kept, '/') = '\0';
    assert_int_equal(rmdir(kept), 0);
    assert_int_equal(rmdir(dir), 0);
    free(kept);
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
}

static void the_two_spellings_of_a_value_are_one(void **state)
{
    struct outcome a = run("plan --cpus 4 --memory 1G --host-synthetic node:2@pu:4 --json");
    struct outcome b = run("plan --json --memory=1G --host-synthetic=node:2@pu:4 --cpus=4");

    (void)state;
    assert_int_equal(a.status, CLI_OK);
    assert_string_equal(a.out, b.out);
    outcome_fini(&a);
    outcome_fini(&b);
}

static void a_device_without_required_keys_needs_no_value(void **state)
{
    struct outcome o = run("plan --rng --vnuma 2 --cpus 2 --json --host-synthetic node:1@pu:4");

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"type\": \"rng\""));
    assert_non_null(strstr(o.out, "\"vnuma\": 2"));
    outcome_fini(&o);
}

/* On the host for which it was made, and on others: the guest's caches are its own. */
static void a_saved_plan_prints_itself(void **state)
{
    static const char *const hosts[] = {
        "node:2@l3:1@l2:2@l1:1@pu:2",
        "node:1@pu:8",
        "node:2@l4:1@l3:1(size=16777216)@l2:2(size=131072)@l1:2@pu:2",
    };
    char path[] = "/tmp/nv-plan-XXXXXX", words[192];
    struct outcome a = run("plan --node cpus=0-1,memory=128M --node cpus=2,memory=64M "
                           "--node memory=128M,initiator=1 --distance 0-1=13 --json "
                           "--host-synthetic node:2@l3:1@l2:2@l1:1@pu:2");
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(a.status, CLI_OK);
    assert_int_equal(write(fd, a.out, strlen(a.out)), strlen(a.out));
    close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct outcome b;

        (void)snprintf(words, sizeof(words), "plan --json --host-synthetic %s --config %s",
                       hosts[i], path);
        b = run(words);
        assert_int_equal(b.status, CLI_OK);
        assert_string_equal(a.out, b.out);
        outcome_fini(&b);
    }
    outcome_fini(&a);
    unlink(path);
}

static void plan_explains_places(void **state)
{
    static const char words[] = "plan --host-synthetic "
                                "pack:2@numa:2(memory=8GB)@l3:1(size=33554432)@core:4@pu:1 "
                                "--cpus 8 --memory 2G --vnuma 2 --explain";
    char more[320], path[] = "/tmp/nv-plan-XXXXXX";
    struct outcome o = run(words), again;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "Places that --pin would choose, cost in CPUs"));
    assert_non_null(strstr(o.out, "node 1 on host node 1"));
    assert_non_null(strstr(o.out, "No other places cost less: proved."));
    outcome_fini(&o);

    (void)snprintf(more, sizeof(more), "%s --pin llc --objective numa --json", words);
    o = run(more);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"applied\": true"));
    assert_non_null(strstr(o.out, "\"stranded\": 0.0"));
    assert_non_null(strstr(o.out, "\"proved\": true"));
    assert_non_null(strstr(o.out, "\"host_cpus\": \"4-7\""));

    /* What is saved is planned again to the byte. */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, o.out, strlen(o.out)), strlen(o.out));
    close(fd);
    (void)snprintf(more, sizeof(more), "plan --explain --json --config %s --host-synthetic "
                   "pack:2@numa:2(memory=8GB)@l3:1(size=33554432)@core:4@pu:1", path);
    again = run(more);
    assert_string_equal(again.out, o.out);
    outcome_fini(&again);
    outcome_fini(&o);
    unlink(path);
}

static void plan_sizes_nodes_from_the_host(void **state)
{
    static const char host[] = "--host-synthetic pack:2@numa:2(memory=8GB)@core:4@pu:2";
    char words[320], path[] = "/tmp/nv-plan-XXXXXX";
    struct outcome o, again;
    int fd = mkstemp(path);

    (void)state;
    (void)snprintf(words, sizeof(words), "plan %s --cpus 6 --memory 2G --vnuma auto --explain", host);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "--vnuma auto: 2 nodes: 2 by CPUs"));
    assert_non_null(strstr(o.out, "  by memory     1  for 2 GiB"));
    assert_non_null(strstr(o.out, "Places, cost in CPUs"));
    outcome_fini(&o);

    /* A saved plan says the number, so that it is the same guest anywhere. */
    (void)snprintf(words, sizeof(words), "plan %s --cpus 6 --memory 2G --vnuma auto --json", host);
    o = run(words);
    assert_non_null(strstr(o.out, "\"vnuma\": 2"));
    assert_non_null(strstr(o.out, "\"pin\": \"node\""));
    assert_non_null(strstr(o.out, "\"by_cpus\": 2"));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, o.out, strlen(o.out)), strlen(o.out));
    close(fd);
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "plan --host-synthetic node:1(memory=64GB)@pu:16 --config %s",
                   path);
    again = run(words);
    assert_int_equal(again.status, CLI_OK);
    assert_non_null(strstr(again.out, "Guest of 2 nodes, 6 CPUs"));
    outcome_fini(&again);
    unlink(path);
}

static void plan_refuses_what_cannot_be_reserved(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "--cpus 2 --cpu-reserve 2.5",
          "--cpu-reserve 2.5: the guest's 2 virtual CPUs cannot use as much" },
        { "--cpus 6 --cpu-reserve 550%",
          "--cpu-reserve: host node 0 has 2 CPUs, and 2.75 would be reserved" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char words[256];
        struct outcome o;

        (void)snprintf(words, sizeof(words),
                       "plan --host-synthetic numa:2(memory=8GB)@core:2@pu:1 %s", rows[i].words);
        o = run(words);
        assert_int_equal(o.status, CLI_USAGE);
        assert_non_null(strstr(o.err, rows[i].sentence));
        outcome_fini(&o);
    }
}

static void plan_draws_and_writes_tables(void **state)
{
    static const char *const tables[] = { "RSDP", "XSDT", "DSDT", "SRAT", "SLIT" };
    char dir[] = "/tmp/nv-plan-XXXXXX", words[192], path[128];
    struct outcome o;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(words, sizeof(words),
                   "plan --vnuma 2 --cpus 4 --memory 1G --host-synthetic node:1@pu:4 "
                   "--svg %s/plan.svg --acpi %s/acpi",
                   dir, dir);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    (void)snprintf(path, sizeof(path), "%s/plan.svg", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 100);
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        (void)snprintf(path, sizeof(path), "%s/acpi/%s.dat", dir, tables[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size >= 36);
    }
    outcome_fini(&o);

    o = run("plan --host-synthetic node:1@pu:4 --svg /nowhere/plan.svg");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: --svg: /nowhere/plan.svg: No such file or directory\n");
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "rm -r %s", dir);
    assert_int_equal(system(words), 0);
}

static void help_names_every_command_and_option(void **state)
{
    struct outcome all = run("--help");

    (void)state;
    assert_int_equal(all.status, CLI_OK);
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++) {
        char words[64], option[64];
        struct outcome o;

        assert_non_null(strstr(all.out, (*c)->name));
        for (const struct cli_command *const *d = cli_commands(); d != c; d++)
            assert_string_not_equal((*d)->name, (*c)->name);
        (void)snprintf(words, sizeof(words), "%s --help", (*c)->name);
        o = run(words);
        assert_int_equal(o.status, CLI_OK);
        assert_non_null(strstr(o.out, (*c)->summary));
        for (const char *line = o.out; *line != '\0'; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= 100);
        assert_null(strstr(o.out, "alltogether")); /* words that end a full line stay apart */
        for (size_t i = 0; (*c)->takes_config && i < config_options_count(); i++) {
            (void)snprintf(option, sizeof(option), "\n  --%s ", config_options_get(i).name);
            assert_non_null(strstr(o.out, option));
        }
        for (const struct cli_option *own = (*c)->options; own != NULL && own->name != NULL;
             own++) {
            (void)snprintf(option, sizeof(option), "\n  --%s ", own->name);
            assert_non_null(strstr(o.out, option));
        }
        outcome_fini(&o);
    }
    outcome_fini(&all);
}

/* What bash makes of the script at @path after @line has been typed, with two machines running. */
static void assert_completes(const char *path, const char *line, const char *want)
{
    char command[512];

    (void)snprintf(command, sizeof(command),
                   "bash -c 'numavisor() { printf \"%%s\\n\" \"NAME STATE PID\" \"db paused 1\" "
                   "\"web running 2\"; }; . %s; COMP_WORDS=(numavisor %s); "
                   "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _numavisor numavisor; "
                   "test \"${COMPREPLY[*]}\" = \"%s\"'",
                   path, line, want);
    if (system(command) != 0)
        fail_msg("\"%s\" is not completed to \"%s\"", line, want);
}

static void completion_is_bash_and_knows_every_word(void **state)
{
    char path[] = "/tmp/nv-completion-XXXXXX", words[192];
    struct outcome o = run("completion bash");
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++)
        assert_non_null(strstr(o.out, (*c)->name));
    for (size_t i = 0; i < config_options_count(); i++) {
        (void)snprintf(words, sizeof(words), " --%s", config_options_get(i).name);
        assert_non_null(strstr(o.out, words));
    }
    assert_int_equal(write(fd, o.out, strlen(o.out)), strlen(o.out));
    close(fd);
    (void)snprintf(words, sizeof(words), "bash -n %s", path);
    assert_int_equal(system(words), 0);
    assert_completes(path, "ru", "run");
    assert_completes(path, "help pl", "plan");
    assert_completes(path, "help \"\"",
                     "--help run plan host check ctl list completion help");
    assert_completes(path, "ctl \"\"", "--help --json --rate --stay --force --svg db web");
    assert_completes(path, "ctl --json w", "web");
    assert_completes(path, "ctl web re", "resume reset");
    assert_completes(path, "completion b", "bash");
    assert_completes(path, "run --on-reset e", "exit");
    outcome_fini(&o);
    unlink(path);
}

static void every_word_is_in_the_manual(void **state)
{
    char *text = calloc(1, OUTPUT_MAX), want[128];
    FILE *f = fopen("docs/man/numavisor.1", "re");

    (void)state;
    assert_non_null(text);
    assert_non_null(f); /* tests run in the tree's root */
    assert_true(fread(text, 1, OUTPUT_MAX - 1, f) > 0);
    (void)fclose(f);
    for (const struct cli_command *const *c = cli_commands(); *c != NULL; c++) {
        (void)snprintf(want, sizeof(want), "\n.It Cm %s\n", (*c)->name);
        assert_non_null(strstr(text, want));
        for (const struct cli_option *o = (*c)->options; o != NULL && o->name != NULL; o++) {
            (void)snprintf(want, sizeof(want), "Fl -%s", o->name);
            assert_non_null(strstr(text, want));
        }
    }
    for (size_t i = 0; i < config_options_count(); i++) {
        struct config_option o = config_options_get(i);

        (void)snprintf(want, sizeof(want), "\n.It Fl -%s", o.name);
        assert_non_null(strstr(text, want));
        for (const struct device_key *k = o.device != NULL ? o.device->keys : NULL;
             k != NULL && k->name != NULL; k++) {
            (void)snprintf(want, sizeof(want), "\n.It Cm %s", k->name);
            assert_non_null(strstr(text, want));
        }
    }
    free(text);
}

static void the_manual_is_clean(void **state)
{
    (void)state;
    if (system("command -v mandoc >/dev/null") != 0)
        skip();
    assert_int_equal(system("mandoc -T lint -W warning docs/man/numavisor.1 >&2"), 0);
}

/* --- ctl and list ------------------------------------------------------------------------------
 */

static json_t *fake_query(void *ctx)
{
    (void)ctx;
    return json_pack("{sssis[{sisI}]}", "state", "running", "pid", 4711, "nodes", "id", 0, "memory",
                     (json_int_t)1 << 30);
}

static int fake_memory(void *ctx, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    *ret_json = json_pack("{s[{sis[{sIsssssssIs[{sisI}{sisI}]}{sIsssI}]}]}", "nodes", "id", 0,
                          "backings", "memory", (json_int_t)8 << 30, "pages", "thp", "policy",
                          "preferred", "host", "1", "present", (json_int_t)4 << 20, "where", "host",
                          1, "pages_2m", (json_int_t)1, "host", 2, "pages_4k", (json_int_t)512,
                          "memory", (json_int_t)1 << 30, "pages", "2M", "reserved",
                          (json_int_t)1 << 30);
    return 0;
}

static json_t *fake_stats(void *ctx)
{
    (void)ctx;
    return json_pack("{s[{sis{sisi}}]s{sisi}}", "vcpus", "id", 0, "kvm", "exits", 7, "halts", 0,
                     "kvm", "pages", 0, "flushes", 3);
}

static int fake_ledger(void *ctx, json_t **ret_json, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    *ret_json = json_loads(
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 67108864, \"at_home\": 67108864},"
        "  {\"home\": \"3\", \"resident\": 67108864, \"at_home\": 50331648, \"forced\": true},"
        "  {\"home\": \"\", \"resident\": 0, \"at_home\": 0}],"
        " \"told\": [[10, 20, 20], [20, 10, 20], [20, 20, 10]],"
        " \"real\": [[10, 40, 0], [40, 10, 0], [0, 0, 0]]}",
        0, NULL);
    return 0;
}

enum { WRONG_LEDGERS = 4 };

/* A different one each time; @ctx counts, on the machine's thread alone. */
static int wrong_ledger(void *ctx, json_t **ret_json, struct errctx *ec)
{
    static const char *const answers[WRONG_LEDGERS] = {
        "{}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 1, \"at_home\": 2}],"
        " \"told\": [[10]], \"real\": [[10]]}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 2, \"at_home\": 2}],"
        " \"told\": [[10, 20]], \"real\": [[10]]}",
        "{\"nodes\": [{\"home\": \"0\", \"resident\": 2, \"at_home\": 2}],"
        " \"told\": [[10]], \"real\": [[-10]]}",
    };
    unsigned *n = ctx;

    (void)ec;
    *ret_json = json_loads(answers[*n], 0, NULL);
    *n = (*n + 1) % WRONG_LEDGERS;
    return 0;
}

/* A move that is over at once. */
static int fake_move(void *ctx, const struct control_move *move, struct errctx *ec)
{
    (void)ctx;
    return move->force ? 0 : errctx_set(ec, 1, "that would break a promise");
}

static int fake_move_cancel(void *ctx, bool stay, struct errctx *ec)
{
    (void)ctx;
    (void)ec;
    (void)stay;
    return 0;
}

static json_t *fake_move_status(void *ctx)
{
    (void)ctx;
    return json_loads("{\"state\": \"half-way\", \"vnode\": 1, \"host\": 3, \"memory\": 8388608,"
                      " \"moved\": 4194304, \"split\": 2097152, \"why\": \"no\\u001broom\"}",
                      0, NULL);
}

static int fake_action(void *ctx, struct errctx *ec)
{
    (void)ctx;
    return errctx_set(ec, 1, "it has no power button");
}

static void fake_stop(void *ctx)
{
    (void)ctx;
}

static const struct control_ops fake_ops = {
    .status = fake_query,
    .stats = fake_stats,
    .memory = fake_memory,
    .ledger = fake_ledger,
    .move = fake_move,
    .move_cancel = fake_move_cancel,
    .move_status = fake_move_status,
    .pause = fake_action,
    .resume = fake_action,
    .power = fake_action,
    .reset = fake_action,
    .stop = fake_stop,
};

static void *run_loop(void *arg)
{
    (void)evloop_run(arg, NULL);
    return NULL;
}

static void ctl_and_list_speak_to_a_machine(void **state)
{
    struct control_params params = { .name = "web", .ops = &fake_ops };
    char dir[] = "/tmp/nv-run-XXXXXX", sub[64];
    struct control *control;
    struct evloop *loop;
    pthread_t thread;
    struct outcome o;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
    o = run("list");
    assert_string_equal(o.out, "no machine is running\n");
    outcome_fini(&o);

    assert_int_equal(evloop_new(&loop, NULL), 0);
    assert_int_equal(control_new(&params, loop, &control, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    o = run("list");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "web                      running    4711\n"));
    outcome_fini(&o);
    o = run("ctl web status");
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out, "state                           running\n"
                               "pid                             4711\n"
                               "nodes\n"
                               "  id 0  memory 1 GiB\n");
    outcome_fini(&o);
    o = run("ctl web status --json");
    assert_non_null(strstr(o.out, "\"memory\": 1073741824"));
    outcome_fini(&o);
    o = run("ctl web memory");
    assert_string_equal(
        o.out,
        "node      memory  pages  policy               host       present    reserved    on host"
        "      4 KiB      2 MiB      1 GiB\n"
        "   0       8 GiB  thp    preferred            1            4 MiB           -          1"
        "          0          1          0\n"
        "                                                                                      2"
        "        512          0          0\n"
        "   0       1 GiB  2M     -                    any              -       1 GiB\n");
    outcome_fini(&o);
    o = run("ctl web stats"); /* zeros would hide the others, and are in the JSON form */
    assert_string_equal(o.out, "vcpus\n"
                               "  id                            0\n"
                               "  kvm\n"
                               "    exits                       7\n"
                               "kvm\n"
                               "  flushes                       3\n");
    outcome_fini(&o);
    o = run("ctl web stats --json");
    assert_non_null(strstr(o.out, "\"pages\": 0"));
    assert_non_null(strstr(o.out, "\"halts\": 0"));
    outcome_fini(&o);
    o = run("ctl web power");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: web: it has no power button\n");
    outcome_fini(&o);
    o = run("ctl web stop");
    assert_string_equal(o.out, "web: stopped\n");
    outcome_fini(&o);

    evloop_stop(loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    control_free(control);
    evloop_free(loop);
    o = run("ctl web status");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: no machine named web is running\n");
    outcome_fini(&o);
    (void)snprintf(sub, sizeof(sub), "%s/numavisor", dir);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* A machine of one name in a folder of its own, served by a thread. */
struct served {
    char dir[32];
    struct control *control;
    struct evloop *loop;
    pthread_t thread;
};

static void serve(struct served *s, const struct control_ops *ops, void *ctx)
{
    const struct control_params params = { .name = "web", .ops = ops, .ctx = ctx };

    (void)strcpy(s->dir, "/tmp/nv-run-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", s->dir, 1), 0);
    assert_int_equal(evloop_new(&s->loop, NULL), 0);
    assert_int_equal(control_new(&params, s->loop, &s->control, NULL), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run_loop, s->loop), 0);
}

static void serve_end(struct served *s)
{
    char sub[64];

    evloop_stop(s->loop);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    control_free(s->control);
    evloop_free(s->loop);
    (void)snprintf(sub, sizeof(sub), "%s/numavisor", s->dir);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(s->dir), 0);
}

static void a_move_is_told_in_sentences(void **state)
{
    struct served s;
    struct outcome o;

    (void)state;
    serve(&s, &fake_ops, NULL);
    o = run("ctl web move vnode=1 host=3");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: web: that would break a promise\n");
    outcome_fini(&o);
    o = run("ctl web move host=3 vnode=1 --force --rate 1M/s --stay");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.out, "web: virtual node 1 stays half-way, 4 MiB of it on host node 3\n"
                               "web: 2 MiB of huge pages have become small ones\n");
    assert_string_equal(o.err, "numavisor: web: no.room\n");
    outcome_fini(&o);
    o = run("ctl web move cancel --stay");
    assert_int_equal(o.status, CLI_OK); /* it was not to arrive */
    outcome_fini(&o);
    o = run("ctl web move --json");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"state\": \"half-way\""));
    outcome_fini(&o);
    serve_end(&s);
}

static void the_ledger_is_judged_and_drawn(void **state)
{
    struct control_ops wrong = fake_ops;
    char words[96], path[64];
    struct served s;
    struct outcome o;
    unsigned n = 0;

    (void)state;
    serve(&s, &fake_ops, NULL);
    o = run("ctl web ledger");
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out,
                        "node  home        resident    at home  to node  told  real\n"
                        "   0  0             64 MiB   100.00 %        1    20    40  broken\n"
                        "   1  3             64 MiB    75.00 %        0    20    40  broken  forced\n"
                        "   2  any                -          -        -     -     -\n"
                        "\n"
                        "broken: from node 0 to node 1, told 20, real 40\n"
                        "broken: from node 1 to node 0, told 20, real 40\n"
                        "rank inversions: 0\n");
    outcome_fini(&o);
    (void)snprintf(path, sizeof(path), "%s/l.svg", s.dir);
    (void)snprintf(words, sizeof(words), "ctl web ledger --json --svg %s", path);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"at_home\": 50331648"));
    outcome_fini(&o);
    assert_int_equal(unlink(path), 0);
    o = run("ctl web ledger --svg /nowhere/l.svg");
    assert_int_equal(o.status, CLI_FAILURE);
    outcome_fini(&o);
    serve_end(&s);

    wrong.ledger = wrong_ledger;
    serve(&s, &wrong, &n);
    for (int i = 0; i < WRONG_LEDGERS; i++) {
        o = run("ctl web ledger");
        assert_int_equal(o.status, CLI_FAILURE);
        assert_string_equal(o.err, "numavisor: the machine's ledger makes no sense\n");
        outcome_fini(&o);
    }
    serve_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_command_line_is_one_sentence_and_status_2),
        cmocka_unit_test(missing_standard_streams_do_no_harm),
        cmocka_unit_test(a_measurement_is_kept_and_shown_again),
        cmocka_unit_test(the_two_spellings_of_a_value_are_one),
        cmocka_unit_test(a_device_without_required_keys_needs_no_value),
        cmocka_unit_test(a_saved_plan_prints_itself),
        cmocka_unit_test(plan_explains_places),
        cmocka_unit_test(plan_sizes_nodes_from_the_host),
        cmocka_unit_test(plan_refuses_what_cannot_be_reserved),
        cmocka_unit_test(plan_draws_and_writes_tables),
        cmocka_unit_test(help_names_every_command_and_option),
        cmocka_unit_test(completion_is_bash_and_knows_every_word),
        cmocka_unit_test(every_word_is_in_the_manual),
        cmocka_unit_test(the_manual_is_clean),
        cmocka_unit_test(ctl_and_list_speak_to_a_machine),
        cmocka_unit_test(a_move_is_told_in_sentences),
        cmocka_unit_test(the_ledger_is_judged_and_drawn),
    };
    return cmocka_run_group_tests_name("cli/cli", tests, NULL, NULL);
}
