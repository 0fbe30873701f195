/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, and the tests of a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/suite/suite.h"

static void manifests_say_what_is_the_suites_and_the_rest_is_the_machines(void **state)
{
    const char *text =
        "{\"cpus\": 4, \"memory\": \"1G\", \"kernel\": \"a.elf\", \"timeout\": 20, "
        "\"expect\": 91, \"env\": {\"A\": \"1\", \"B\": \"x = y\"}, \"on_reset\": \"restart\"}";
    struct suite_test t = { .name = strdup("a") };
    char *kernel = NULL;

    (void)state;
    assert_int_equal(suite_manifest_read(text, strlen(text), &t, &kernel, NULL), 0);
    assert_string_equal(kernel, "a.elf");
    assert_string_equal(t.config, "{\"cpus\":4,\"memory\":\"1G\",\"on_reset\":\"restart\"}");
    assert_string_equal(t.env, "A=1\nB=x = y\n");
    assert_int_equal(t.timeout_s, 20);
    assert_int_equal(t.expect, SUITE_END_CODE);
    assert_int_equal(t.code, 91);
    assert_true(t.says_on_reset);
    assert_null(t.skip);
    free(kernel);
    suite_test_fini(&t);
}

static void manifests_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } row[] = {
        { "", "line 1: '[' or '{' expected near end of file" },
        { "[]", "an object is wanted" },
        { "{\"cpus\":1,\"cpus\":2}", "line 1: duplicate object key near '\"cpus\"'" },
        { "{\"kernel\":1}", "kernel: the name of a file in the folder is wanted" },
        { "{\"kernel\":\"../x\"}", "kernel: the name of a file in the folder is wanted" },
        { "{\"kernel\":\"\"}", "kernel: the name of a file in the folder is wanted" },
        { "{\"timeout\":0}", "timeout: 1 to 86400 seconds are wanted" },
        { "{\"timeout\":86401}", "timeout: 1 to 86400 seconds are wanted" },
        { "{\"timeout\":1.5}", "timeout: 1 to 86400 seconds are wanted" },
        { "{\"expect\":92}", "expect: 0 to 91, \"power-off\" or \"reset\" is wanted" },
        { "{\"expect\":-1}", "expect: 0 to 91, \"power-off\" or \"reset\" is wanted" },
        { "{\"expect\":\"off\"}", "expect: 0 to 91, \"power-off\" or \"reset\" is wanted" },
        { "{\"env\":[]}", "env: an object of texts is wanted" },
        { "{\"env\":{\"A\":1}}", "env: A: a text in one line is wanted" },
        { "{\"env\":{\"A\":\"b\\nC=d\"}}", "env: A: a text in one line is wanted" },
        { "{\"env\":{\"A=B\":\"c\"}}", "env: A=B: a text in one line is wanted" },
        { "{\"env\":{\"\":\"c\"}}", "env: : a text in one line is wanted" },
        { "{\"env\":{},\"initrd\":\"x\"}",
          "env and initrd exclude each other: an image has one module" },
        { "{\"skip\":true}", "skip: a reason in one line is wanted" },
        { "{\"skip\":\"a\\nok 1\"}", "skip: a reason in one line is wanted" },
        { "{\"name\":\"x\"}", "name: the file's is the test's" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct suite_test t = { .name = NULL };
        struct errctx ec = { 0 };
        char *kernel = NULL;

        assert_int_equal(suite_manifest_read(row[i].text, strlen(row[i].text), &t, &kernel, &ec),
                         -EINVAL);
        assert_string_equal(ec.msg, row[i].why);
        free(kernel);
        suite_test_fini(&t);
    }
}

/* --- folders -------------------------------------------------------------------------------------
 */

#define ELF "\177ELF and so on"

static bool is_elf(const void *head, size_t len)
{
    assert_in_range(len, 1, SUITE_HEAD);
    return len >= 4 && memcmp(head, ELF, 4) == 0;
}

static const struct suite_kind elf = { "ELF file", is_elf };

struct folder {
    char path[32];
};

static void put(const struct folder *f, const char *name, const char *text)
{
    char path[128];
    FILE *out;

    (void)snprintf(path, sizeof(path), "%s/%s", f->path, name);
    out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static struct folder make_folder(void)
{
    struct folder f = { "/tmp/nv-suite-XXXXXX" };

    assert_non_null(mkdtemp(f.path));
    return f;
}

static void remove_folder(const struct folder *f)
{
    char words[64];

    (void)snprintf(words, sizeof(words), "rm -r %s", f->path);
    assert_int_equal(system(words), 0);
}

/* "name=image ..." */
static void assert_tests(const struct folder *f, const char *want)
{
    struct suite s = { 0 };
    struct errctx ec = { 0 };
    char text[512] = "";
    size_t len = 0;

    if (suite_find(f->path, &elf, &s, &ec) < 0)
        fail_msg("%s", ec.msg);
    for (size_t i = 0; i < s.n; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%s", i > 0 ? " " : "",
                                s.tests[i].name, s.tests[i].image);
    assert_string_equal(text, want);
    suite_fini(&s);
}

static void assert_refused(const struct folder *f, int code, const char *want)
{
    struct suite s = { .n = 77 };
    struct errctx ec = { 0 };

    assert_int_equal(suite_find(f->path, &elf, &s, &ec), code);
    assert_string_equal(ec.msg, want);
    assert_int_equal(s.n, 77);
}

static void tests_are_manifests_and_elf_files_without_one(void **state)
{
    struct folder f = make_folder();
    char path[128];

    (void)state;
    assert_tests(&f, "");
    put(&f, "smp.elf", ELF);
    put(&f, "apic.elf", ELF);
    put(&f, "apic.json", "{\"cpus\": 2}");
    put(&f, "notes.txt", "text");
    put(&f, "short", "\177E");
    put(&f, ".hidden.elf", ELF);
    put(&f, "bare", ELF);
    (void)snprintf(path, sizeof(path), "%s/folder.elf", f.path);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/pipe.elf", f.path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody waits for it */
    (void)snprintf(path, sizeof(path), "%s/pipe.json", f.path);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)snprintf(path, sizeof(path), "%s/folder.json", f.path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_tests(&f, "apic=apic.elf bare=bare smp=smp.elf");
    /* Several manifests about one image, which is then no test by itself. */
    put(&f, "smp4.json", "{\"kernel\": \"smp.elf\", \"cpus\": 4}");
    put(&f, "smp8.json", "{\"kernel\": \"smp.elf\", \"cpus\": 8}");
    assert_tests(&f, "apic=apic.elf bare=bare smp4=smp.elf smp8=smp.elf");
    remove_folder(&f);
}

static void what_is_not_clear_is_refused(void **state)
{
    struct folder f = make_folder();

    (void)state;
    put(&f, "a.json", "{}");
    assert_refused(&f, -EINVAL, "a.json: there is no ELF file a or a.*");
    put(&f, "a.txt", "text");
    assert_refused(&f, -EINVAL, "a.json: there is no ELF file a or a.*");
    put(&f, "a.elf", ELF);
    assert_tests(&f, "a=a.elf");
    put(&f, "a.flat", ELF);
    assert_refused(&f, -EINVAL, "a.json: it may be about a.elf or a.flat: \"kernel\" must say");
    put(&f, "a.json", "{\"kernel\": \"a.flat\"}");
    assert_refused(&f, -EINVAL,
                   "a.elf and a.flat would both be called a: a manifest must tell them apart");
    put(&f, "a.json", "{\"kernel\": \"a.bin\"}");
    assert_refused(&f, -EINVAL, "a.json: there is no ELF file a.bin");
    put(&f, "a.json", "{");
    assert_refused(&f, -EINVAL, "a.json: line 1: string or '}' expected near end of file");
    remove_folder(&f);
    assert_int_equal(suite_find("/nowhere/at/all", &elf, &(struct suite){ 0 }, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests_say_what_is_the_suites_and_the_rest_is_the_machines),
        cmocka_unit_test(manifests_that_make_no_sense_are_refused),
        cmocka_unit_test(tests_are_manifests_and_elf_files_without_one),
        cmocka_unit_test(what_is_not_clear_is_refused),
    };

    return cmocka_run_group_tests_name("suite/find", tests, NULL, NULL);
}
