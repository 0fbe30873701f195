/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events carried out against an agent that is a process of ours: what it does, lies about, and how it
 * ends. Events of the machine's need one: guest-tests/lab has them.
 */
#include "vmm/cli/test/cli_fixture.h"

#include <errno.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "vmm/base/macros.h"
#include "vmm/cli/lab_director.h"
#include "vmm/lab/lab_wire.h"

#define FACTS(cpus, node1)                                                                \
    "nodes 0-1\ncpus " cpus "\nnode0.cpus 0-1\nnode0.memory 1024\nnode1.cpus " node1 "\n" \
    "node1.memory 1024\n"

static const char all[] = FACTS("0-3", "2-3"), less[] = FACTS("0-2", "2");

/* What the agent says, one after the other; then it ends. */
struct answer {
    uint32_t error;
    const char *facts;
    enum lab_ask_kind to; /* what it should have been asked */
};

static int listen_here(char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(path, sizeof(sun.sun_path), "/tmp/nv-director-%d", getpid());
    (void)unlink(path);
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void be_agent(const char *path, const struct answer *answers, size_t n)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) != 0)
        _exit(1);
    for (size_t i = 0; i < n; i++) {
        struct lab_told told = { .magic = LAB_MAGIC, .error = answers[i].error };
        struct lab_ask ask;

        if (i > 0 && (recv(fd, &ask, sizeof(ask), MSG_WAITALL) != (ssize_t)sizeof(ask) ||
                      ask.magic != LAB_MAGIC || ask.kind != answers[i].to))
            _exit(2);
        told.bytes = (uint32_t)strlen(answers[i].facts);
        if (send(fd, &told, sizeof(told), 0) != (ssize_t)sizeof(told) ||
            send(fd, answers[i].facts, told.bytes, 0) != (ssize_t)told.bytes)
            _exit(3);
    }
    _exit(0);
}

/* What became of an "offline cpu 3", and what was told on standard error. */
static struct lab_record direct(const struct answer *answers, size_t n, char *err, size_t max)
{
    struct facts_view *planned = calloc(1, sizeof(*planned));
    struct lab_events *events = calloc(1, sizeof(*events));
    struct lab_record record = { 0 };
    struct lab_script script = { .events = events, .planned = planned, .records_fd = scratch() };
    const int said = scratch();
    char path[108];
    const int fd = listen_here(path);
    struct facts facts;
    pid_t agent, director;
    int status;

    assert_int_equal(facts_parse(all, &facts, NULL), 0);
    assert_int_equal(facts_view_of(&facts, planned, NULL), 0);
    facts_fini(&facts);
    assert_int_equal(lab_events_add(events, "10ms offline cpu 3", NULL), 0);
    agent = fork();
    if (agent == 0)
        be_agent(path, answers, n);
    director = fork();
    if (director == 0) {
        (void)dup2(said, STDERR_FILENO);
        lab_direct(&script, fd);
        _exit(0);
    }
    assert_int_equal(waitpid(director, &status, 0), director);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    assert_int_equal(status, 0);
    (void)!pread(script.records_fd, &record, sizeof(record), 0);
    memset(err, 0, max);
    assert_true(pread(said, err, max - 1, 0) >= 0);
    (void)unlink(path);
    (void)close(fd);
    (void)close(said);
    (void)close(script.records_fd);
    free(planned);
    free(events);
    return record;
}

static void an_event_is_done_when_the_guest_sees_it(void **state)
{
    static const struct answer late[] = {
        { 0, all, LAB_ASK_LOOK },    { 0, all, LAB_ASK_LOOK },  { 0, all, LAB_ASK_OFFLINE },
        { 0, all, LAB_ASK_LOOK },    { 0, less, LAB_ASK_LOOK },
    };
    struct lab_record record;
    char err[512];

    (void)state;
    record = direct(late, ARRAY_SIZE(late), err, sizeof(err));
    assert_int_equal(record.state, LAB_EVENT_DONE);
    assert_string_equal(record.text, "node 1 has CPUs 2 now");
    assert_string_equal(err, "numavisor: event \"at 10ms offline cpu 3\": node 1 has CPUs 2 now\n");
}

static void what_goes_wrong_is_told(void **state)
{
    static const struct {
        struct answer answers[4];
        size_t n;
        const char *says;
    } rows[] = {
        { { { 0, all, LAB_ASK_LOOK }, { 0, all, LAB_ASK_LOOK }, { ENOENT, all, LAB_ASK_OFFLINE } },
          3, "the guest's kernel has no switch for CPU 3" },
        { { { 0, all, LAB_ASK_LOOK }, { 0, all, LAB_ASK_LOOK }, { EBUSY, all, LAB_ASK_OFFLINE } },
          3, "the guest's kernel: Device or resource busy" },
        { { { 0, all, LAB_ASK_LOOK }, { 0, "nodes 0", LAB_ASK_LOOK } },
          2, "what the guest sees makes no sense: cpus: there is no such fact" },
        { { { 0, all, LAB_ASK_LOOK }, { 0, "nodes", LAB_ASK_LOOK } }, 2, NULL },
        { { { 0, all, LAB_ASK_LOOK }, { 0, all, LAB_ASK_LOOK }, { 0, all, LAB_ASK_OFFLINE } },
          3, "the command ended before it was over" },
    };
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct lab_record record = direct(rows[i].answers, rows[i].n, err, sizeof(err));

        assert_int_equal(record.state, LAB_EVENT_FAILED);
        if (rows[i].says != NULL)
            assert_string_equal(record.text, rows[i].says);
        assert_non_null(strstr(err, "event \"at 10ms offline cpu 3\": failed: "));
    }
}

static void a_command_that_has_ended_has_no_events(void **state)
{
    static const struct answer hello = { 0, all, LAB_ASK_LOOK };
    struct lab_record record;
    char err[512];

    (void)state;
    record = direct(&hello, 1, err, sizeof(err));
    assert_int_equal(record.state, LAB_NOT_REACHED);
    assert_string_equal(err, "");
    record = direct(&hello, 0, err, sizeof(err)); /* it was none */
    assert_int_equal(record.state, LAB_NOT_REACHED);
    assert_string_equal(err, "");
}

/* A machine's control socket, for one request, whose answer is @reply. */
static void be_machine(int listen_fd, const char *reply)
{
    const int fd = accept(listen_fd, NULL, NULL);
    char line[256] = "";
    json_t *request;
    const char *command = NULL;
    int on = 0;

    for (size_t n = 0; n + 1 < sizeof(line) && strchr(line, '\n') == NULL; n++)
        if (fd < 0 || recv(fd, line + n, 1, 0) != 1)
            _exit(1);
    request = json_loads(line, 0, NULL);
    if (json_unpack(request, "{s:s, s:b}", "command", &command, "on", &on) != 0 ||
        strcmp(command, "slow") != 0 || on == 0)
        _exit(3);
    json_decref(request);
    _exit(send(fd, reply, strlen(reply), 0) == (ssize_t)strlen(reply) ? 0 : 2);
}

static void direct_slow(const char *reply, char *err, size_t max)
{
    static const struct answer begun = { 0, all, LAB_ASK_LOOK };
    struct lab_events *events = calloc(1, sizeof(*events));
    const struct lab_script script = { .events = events, .machine = "slow-test", .slow = true,
                                       .records_fd = -1 };
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    const int said = scratch(), control = socket(AF_UNIX, SOCK_STREAM, 0);
    char path[108], dir[64];
    const int fd = listen_here(path);
    pid_t agent, machine, director;
    int status;

    (void)snprintf(dir, sizeof(dir), "/tmp/nv-run-%d", getpid());
    (void)mkdir(dir, 0700);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/numavisor", dir);
    (void)mkdir(sun.sun_path, 0700);
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/numavisor/slow-test.sock", dir);
    assert_int_equal(bind(control, (const struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(control, 1), 0);
    machine = fork();
    if (machine == 0)
        be_machine(control, reply);
    agent = fork();
    if (agent == 0)
        be_agent(path, &begun, 1);
    director = fork();
    if (director == 0) {
        (void)dup2(said, STDERR_FILENO);
        lab_direct(&script, fd);
        _exit(0);
    }
    assert_int_equal(waitpid(director, &status, 0), director);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    assert_int_equal(waitpid(machine, &status, 0), machine);
    assert_int_equal(status, 0);
    memset(err, 0, max);
    assert_true(pread(said, err, max - 1, 0) >= 0);
    (void)unlink(path);
    (void)unlink(sun.sun_path);
    (void)snprintf(path, sizeof(path), "%s/numavisor", dir);
    (void)rmdir(path);
    (void)rmdir(dir);
    (void)unsetenv("XDG_RUNTIME_DIR");
    (void)close(control);
    (void)close(fd);
    (void)close(said);
    free(events);
}

static void slow_nodes_are_slow_from_the_commands_start(void **state)
{
    char err[512];

    (void)state;
    direct_slow("{\"ok\":true,\"result\":{}}\n", err, sizeof(err));
    assert_string_equal(err, "");
    direct_slow("{\"ok\":false,\"error\":\"no such nodes\"}\n", err, sizeof(err));
    assert_string_equal(err, "numavisor: --slow: slow-test: no such nodes\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_done_when_the_guest_sees_it),
        cmocka_unit_test(what_goes_wrong_is_told),
        cmocka_unit_test(a_command_that_has_ended_has_no_events),
        cmocka_unit_test(slow_nodes_are_slow_from_the_commands_start),
    };

    return cmocka_run_group_tests_name("cli/lab_director", tests, NULL, NULL);
}
