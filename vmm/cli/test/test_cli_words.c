/* SPDX-License-Identifier: Apache-2.0 */
/* Help, completion and the manual know the same words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/cli.h"
#include "vmm/cli/test/cli_fixture.h"
#include "vmm/config/config_json.h"

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
                     "--help run lab suite plan host check ctl list topology conformance replay "
                     "golden completion help");
    assert_completes(path, "golden v", "verify");
    assert_completes(path, "ctl \"\"", "--help --json --rate --stay --force --patience --svg db web");
    assert_completes(path, "ctl --json w", "web");
    assert_completes(path, "ctl web re", "resume reset");
    assert_completes(path, "ctl web --json move c", "cancel");
    assert_completes(path, "ctl web move vnode = 1 h", "host=");
    assert_completes(path, "ctl web move vnode =", "");
    assert_completes(path, "ctl web pause h", "");
    assert_completes(path, "ctl web balance o", "off on");
    assert_completes(path, "ctl web balance a", "advise");
    assert_completes(path, "completion b", "bash");
    assert_completes(path, "run --on-reset e", "exit");
    assert_completes(path, "plan --topology w", "web"); /* as if it were a preset */
    assert_completes(path, "lab --topology REA", "README.md");
    assert_completes(path, "run --topology hos", "host");
    assert_completes(path, "run --on-reset = e", "exit"); /* as bash splits --on-reset=e */
    assert_completes(path, "run --on-reset =", "restart exit");
    assert_completes(path, "ctl --rate 5M/s web mo", "move");
    assert_completes(path, "ctl --rate = 5M/s web mo", "move");
    assert_completes(path, "ctl --rate 5M/s w", "web");
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

/* Is @word in @text, with nothing but blanks around it? */
static bool has_word(const char *text, const char *word)
{
    const size_t len = strlen(word);

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        if (strchr(" \n", at[-1]) != NULL && strchr(" \n", at[len]) != NULL)
            return true;
    return false;
}

static void every_member_of_a_description_is_in_the_manual(void **state)
{
    char *text = calloc(1, OUTPUT_MAX), *files;
    FILE *f = fopen("docs/man/numavisor.1", "re");

    (void)state;
    assert_non_null(text);
    assert_non_null(f);
    assert_true(fread(text, 1, OUTPUT_MAX - 1, f) > 0);
    (void)fclose(f);
    files = strstr(text, "\nA description file holds");
    assert_non_null(files);
    for (size_t i = 0; config_json_field(i) != NULL; i++)
        if (!has_word(files, config_json_field(i)))
            fail_msg("\"%s\" is not in the manual's list of members", config_json_field(i));
    free(text);
}

static void the_manual_is_clean(void **state)
{
    (void)state;
    if (system("command -v mandoc >/dev/null") != 0)
        skip();
    assert_int_equal(system("mandoc -T lint -W warning docs/man/numavisor.1 >&2"), 0);
    assert_int_equal(system("mandoc -T lint -W warning docs/man/numavisord.8 >&2"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_names_every_command_and_option),
        cmocka_unit_test(completion_is_bash_and_knows_every_word),
        cmocka_unit_test(every_word_is_in_the_manual),
        cmocka_unit_test(every_member_of_a_description_is_in_the_manual),
        cmocka_unit_test(the_manual_is_clean),
    };

    return cmocka_run_group_tests_name("cli/cli_words", tests, NULL, NULL);
}
