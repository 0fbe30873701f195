/* SPDX-License-Identifier: Apache-2.0 */
/* "conformance" without a guest: what is expected, held against what a console said. */
#include "vmm/cli/test/cli_fixture.h"

#include "vmm/lab/lab_wire.h"

static const char machine[] = "--cpus 2 --memory 256M --vnuma 2 --rng node=1";

struct fixture {
    char path[32];
    struct outcome expected;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char words[256];

    (void)snprintf(words, sizeof(words), "conformance %s --show", machine);
    f->expected = run(words);
    (void)snprintf(f->path, sizeof(f->path), "/tmp/nv-facts-XXXXXX");
    close(mkstemp(f->path));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    outcome_fini(&f->expected);
    (void)unlink(f->path);
    free(f);
    return 0;
}

/* As a console has them: between lines of the kernel's, one of them changed. */
static void write_console(const struct fixture *f, const char *from, const char *to, bool whole)
{
    FILE *out = fopen(f->path, "we");

    assert_non_null(out);
    (void)fputs("booting\r\n" LAB_FACTS_BEGIN "\r\n", out);
    for (const char *line = f->expected.out; *line != '\0';) {
        const size_t len = strcspn(line, "\n");

        if (from != NULL && len == strlen(from) && strncmp(line, from, len) == 0)
            (void)fprintf(out, LAB_FACTS_LINE "%s\r\n", to);
        else
            (void)fprintf(out, LAB_FACTS_LINE "%.*s\r\n", (int)len, line);
        line += len + (line[len] == '\n');
        if (from == NULL)
            (void)fputs("[    1.0] the kernel's\r\n", out);
    }
    if (whole)
        (void)fputs(LAB_FACTS_END "\r\n", out);
    assert_int_equal(fclose(out), 0);
}

static struct outcome compare(const struct fixture *f, const char *more)
{
    char words[256];

    (void)snprintf(words, sizeof(words), "conformance %s --facts %s%s", machine, f->path, more);
    return run(words);
}

static void what_is_expected_is_shown(void **state)
{
    const struct fixture *f = *state;

    assert_int_equal(f->expected.status, CLI_OK);
    assert_non_null(strstr(f->expected.out, "nodes 0-1\nnode0.cpus 0\nnode0.memory 131072\n"));
    assert_non_null(strstr(f->expected.out, "\npci.1044 1\n"));
    assert_string_equal(f->expected.err, "");
}

static void a_console_that_agrees_is_status_0(void **state)
{
    const struct fixture *f = *state;
    struct outcome o;

    write_console(f, NULL, NULL, true);
    o = compare(f, "");
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "facts are as expected\n"));
    assert_int_equal(strspn(o.out, "0123456789"), strcspn(o.out, " "));
    outcome_fini(&o);
}

static void each_difference_is_a_line(void **state)
{
    const struct fixture *f = *state;
    struct outcome o;

    write_console(f, "pci.1044 1", "pci.1044 0", true);
    o = compare(f, "");
    assert_int_equal(o.status, CLI_LAB_DIFFERS);
    assert_int_equal(strncmp(o.out, "pci.1044 is 0, expected 1\n", 26), 0);
    outcome_fini(&o);
    o = compare(f, " --json");
    assert_int_equal(o.status, CLI_LAB_DIFFERS);
    assert_non_null(strstr(o.out, "\"seen\": \"0\""));
    outcome_fini(&o);
}

static void a_console_that_is_cut_is_told(void **state)
{
    const struct fixture *f = *state;
    struct outcome o;

    write_console(f, NULL, NULL, false);
    o = compare(f, "");
    assert_int_equal(o.status, CLI_USAGE);
    assert_non_null(strstr(o.err, ": the end of the facts is missing\n"));
    outcome_fini(&o);
}

static void only_what_a_file_names_is_compared(void **state)
{
    const struct fixture *f = *state;
    char words[256];
    struct outcome o;
    FILE *out = fopen(f->path, "we");

    assert_non_null(out);
    (void)fputs("# of my server\nnodes 0-1\n", out);
    assert_int_equal(fclose(out), 0);
    (void)snprintf(words, sizeof(words), "conformance --expect %s --facts %s", f->path, f->path);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    assert_string_equal(o.out, "1 of 1 facts are as expected\n");
    outcome_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_expected_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(a_console_that_agrees_is_status_0, setup, teardown),
        cmocka_unit_test_setup_teardown(each_difference_is_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_console_that_is_cut_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_a_file_names_is_compared, setup, teardown),
    };
    return cmocka_run_group_tests_name("cli/conformance", tests, NULL, NULL);
}
