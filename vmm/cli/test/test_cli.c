/* SPDX-License-Identifier: Apache-2.0 */
/* Whole command lines: what they print and the status they end with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/test/cli_fixture.h"

static const struct {
    const char *words, *sentence;
} wrong_lines[] = {
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
    { "lab", "usage: numavisor lab -- COMMAND..." },
    { "lab --", "usage: numavisor lab -- COMMAND..." },
    { "lab --initrd i -- true", "--initrd: the lab brings its own" },
    { "lab --console none true", "--console: the lab listens to the serial console" },
    { "lab --pager on -- true", "--pager on: the lab's file server maps the guest's memory" },
    { "lab --vsock cid=3,socket=/s -- true", "--vsock: the lab uses the machine's only one" },
    { "lab --timeout 0 -- true", "--timeout: 0 seconds are no time" },
    { "lab --rw /nowhere -- true", "--rw /nowhere: No such file or directory" },
    { "lab --rw / -- true", "--rw /: name the folders that the command may change" },
    { "lab --env NV_NOT_THERE -- true", "--env NV_NOT_THERE: there is no such variable" },
    { "lab --env =x -- true", "--env: \"=x\" has no name" },
    { "lab --expect /nowhere/file -- true",
      "--expect: /nowhere/file: cannot be opened: No such file or directory" },
    { "lab --events /nowhere/file -- true",
      "--events /nowhere/file: cannot be opened: No such file or directory" },
    { "lab --at now -- true", "--at \"now\": \"now\" is not a time such as 90ns or 5ms" },
    { "lab --cpus 2 --at 1s@offline@cpu@2 -- true",
      "event \"at 1s offline cpu 2\": the machine has no CPU 2" },
    { "lab --topology hotplug-node --at 1s@hotplug@node@0@1G -- true",
      "event \"at 1s hotplug node 0 1G\": virtual node 0 has no room for memory to be plugged in "
      "(hotplug=)" },
    { "lab --topology hotplug-node --at 1s@unplug@node@2@100G -- true",
      "event \"at 1s unplug node 2 100G\": virtual node 2 has room for 2G, not for 100G" },
    { "lab --topology hotplug-node --at 1s@move@vnode@8@to@host@3 -- true",
      "event \"at 1s move vnode 8 to host 3\": the machine has no virtual node 8 with CPUs or "
      "memory" },
    { "conformance --initrd i", "--initrd: the guest's first program is a part of this one" },
    { "conformance --show --facts f", "--show, --facts and --initramfs exclude each other" },
    { "conformance --show --json",
      "--expect and --json have no effect where nothing is compared" },
    { "conformance --initramfs f --expect g",
      "--expect and --json have no effect where nothing is compared" },
    { "conformance --facts f --kernel k", "--kernel has no effect where no guest runs" },
    { "conformance --on-reset exit", "--on-reset has no effect: a guest that resets is over" },
    { "conformance --facts /nowhere/f",
      "--facts /nowhere/f: cannot be opened: No such file or directory" },
    { "conformance --console none",
      "--console: what the guest says comes by the serial console" },
    { "lab --junit /nowhere/file -- true", "--junit /nowhere/file: No such file or directory" },
    { "lab --rw /dev/null -- true", "--rw /dev/null is no folder" },
    { "lab --balance on -- true",
      "--balance on: the lab's file server maps the guest's memory, which stays where it is" },
    { "lab --on-reset exit -- true", "--on-reset: a guest that resets itself ends the lab" },
    { "ctl name",
      "usage: numavisor ctl NAME ACTION [KEY=VALUE...|cancel|off|advise|on|add|remove]" },
    { "ctl name paus", "ctl: paus is none of status, pause, resume, power, reset, stop, "
                       "stats, memory, ledger, move, balance, evict, balloon, grow, shrink, target, "
                       "cpu, slow; "
                       "did you mean pause?" },
    { "ctl name pause --stay", "ctl: --stay has no meaning for pause" },
    { "ctl name pause now", "ctl: unexpected argument \"now\"" },
    { "ctl name move --svg x.svg", "ctl: --svg has no meaning for move" },
    { "ctl name ledger --force", "ctl: --force has no meaning for ledger" },
    { "ctl name move --force", "ctl move: --force needs a move to make" },
    { "ctl name move --rate 1G/s", "ctl move: --rate needs a move to make" },
    { "ctl name move cancel --rate 1G/s", "ctl move: --rate needs a move to make" },
    { "ctl name balance maybe", "ctl balance: maybe is none of off, advise, on" },
    { "ctl name balance on now", "ctl: unexpected argument \"now\"" },
    { "ctl name balance --stay", "ctl: --stay has no meaning for balance" },
    { "replay", "usage: numavisor replay FILE" },
    { "ctl name move --stay", "ctl move: --stay needs a move to make or to cancel" },
    { "ctl name move vnode=1", "ctl move: both vnode=N and host=N are needed" },
    { "ctl name move vnode=1 vnode=2",
      "ctl move: vnode=2 is none of vnode=N, host=N, cancel" },
    { "ctl name move vnode=1 host=x", NULL },
    { "ctl name move vnode=1 host=2 --rate 1G", NULL },
    { "ctl name move vnode=1 host=2 --rate 0M/s", "--rate: from 1/s to 4194304T/s" },
    { "ctl name evict node=1", "ctl evict: node=N and by=SIZE are needed, once each" },
    { "ctl name evict node=1 node=2", "ctl evict: node=N and by=SIZE are needed, once each" },
    { "ctl name evict 1G", "ctl evict: 1G is none of node=N, by=SIZE" },
    { "ctl name evict node=1 by=0", "ctl evict: by: not a size from 1 to 8191P" },
    { "ctl name evict node=1 by=much", NULL },
    { "ctl name target node=1", "ctl target: node=N and size=SIZE are needed, once each" },
    { "ctl name target node=1 node=2", "ctl target: node=N and size=SIZE are needed, once each" },
    { "ctl name target 1G", "ctl target: 1G is none of node=N, size=SIZE, size=all" },
    { "ctl name target node=x size=1G", NULL },
    { "ctl name target node=1 size=much", NULL },
    { "ctl name evict --stay", "ctl: --stay has no meaning for evict" },
    { "plan --pager maybe", NULL },
    { "ctl name balloon size=1G", "ctl balloon: size=1G is not target=SIZE" },
    { "ctl name balloon target=1G now", "ctl balloon: now is not target=SIZE" },
    { "ctl name balloon target=much", NULL },
    { "ctl name grow node=1", "ctl grow: both node=N and by=SIZE are needed" },
    { "ctl name shrink node=1 node=2", "ctl shrink: node=2 is none of node=N, by=SIZE" },
    { "ctl name shrink node=x by=1G", NULL },
    { "ctl name grow node=1 by=0", "ctl grow: by: from 1 byte to 8191P" },
    { "ctl name cpu plug", "ctl cpu: plug is none of add, remove" },
    { "ctl name cpu add", "ctl cpu add: cpu=N or node=N is needed" },
    { "ctl name cpu add vcpu=1", "ctl cpu add: vcpu=1 is none of cpu=N, node=N" },
    { "ctl name cpu remove cpu=x", NULL },
    { "ctl name cpu remove cpu=1 --patience 0", "--patience: from 1 to 86400 seconds" },
    { "lab --node cpus=0-1,memory=1G --at 1s@hotplug@cpu@1 -- true",
      "event \"at 1s hotplug cpu 1\": CPU 1 cannot be plugged (hotplug-cpus=)" },
    { "plan --node cpus=0-1,memory=1G,hotplug-cpus=2",
      "--node 0: hotplug-cpus= names CPUs that are not among its cpus=" },
    { "plan --node cpus=0-1,memory=1G,hotplug-cpus=0-1",
      "--node 0: hotplug-cpus= names CPU 0, which the machine starts with" },
    { "plan --node cpus=0-1,hotplug-cpus=1 --node cpus=2,memory=1G",
      "hotplug-cpus= names CPU 1, and CPU 2 is there from the start: those that come later are "
      "the last" },
    { "ctl name balloon --stay", "ctl: --stay has no meaning for balloon" },
    { "ctl name balloon --patience 9", "ctl: --patience has no meaning for balloon" },
    { "ctl name shrink node=1 by=1G --patience 0", "--patience: from 1 to 86400 seconds" },
    { "run --kernel k --pager-budget 1%", "--pager-budget has no effect without --pager on" },
    { "run --kernel k --pager-store 1G", "--pager-store has no effect without --pager on" },
    { "run --kernel k --pager on --pager-store 100K", NULL },
    { "run --kernel k --pager-swap f", "--pager-swap has no effect without --pager on" },
    { "run --kernel k --golden f", "--golden has no effect without --pager on" },
    { "run --kernel k --domain web", "--domain has no effect without --pager on" },
    { "run --kernel k --pager on --domain-socket s",
      "--domain-socket has no effect without --domain" },
    { "run --kernel k --pager on --domain .web",
      "--domain .web: a domain's name has 1 to 63 letters, digits, dots, dashes and underscores, a "
      "letter or digit first" },
    { "golden", "usage: numavisor golden list | add IMAGE... | remove NAME | verify NAME" },
    { "golden polish", "golden: \"polish\" is none of add, list, remove, verify" },
    { "golden add", "golden add: say which image" },
    { "golden verify", "golden verify: say which one" },
    { "golden list all", "golden list: unexpected argument \"all\"" },
    { "golden verify one two", "golden verify: unexpected argument \"two\"" },
    { "golden verify one --as two", "golden: --as has no effect without add" },
    { "run --kernel k --balloon --prealloc",
      "--balloon gives memory back that --prealloc takes for good: leave one out" },
    { "ctl ../etc status", "ctl: \"../etc\" cannot be the name of a machine" },
    { "completion fish", "completion: only bash is known" },
    { "help fly", "help: there is no command fly" },
    { "run", "there is nothing to boot, say --kernel FILE" },
    { "run --kernel k --name a/b", NULL },
};

static void a_wrong_command_line_is_one_sentence_and_status_2(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong_lines); i++) {
        struct outcome o = run(wrong_lines[i].words);
        char want[256];

        assert_int_equal(o.status, CLI_USAGE);
        assert_string_equal(o.out, "");
        assert_memory_equal(o.err, "numavisor: ", 11);
        assert_ptr_equal(strchr(o.err, '\n'), o.err + strlen(o.err) - 1);
        (void)snprintf(want, sizeof(want), "numavisor: %s\n",
                       wrong_lines[i].sentence != NULL ? wrong_lines[i].sentence : "");
        if (wrong_lines[i].sentence != NULL)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_command_line_is_one_sentence_and_status_2),
        cmocka_unit_test(missing_standard_streams_do_no_harm),
        cmocka_unit_test(a_measurement_is_kept_and_shown_again),
        cmocka_unit_test(the_two_spellings_of_a_value_are_one),
        cmocka_unit_test(a_device_without_required_keys_needs_no_value),
    };

    return cmocka_run_group_tests_name("cli/cli", tests, NULL, NULL);
}
