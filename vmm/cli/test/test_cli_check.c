/* SPDX-License-Identifier: Apache-2.0 */
/* What `check` prints of a finding, as a table and as JSON: which way pages that are lost are kept
 * from the guest, by kernels with and without UFFDIO_POISON. */
// LDFLAGS: -Wl,--wrap=uffd_open_all
#include "vmm/cli/test/cli_fixture.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#include "memory/pager/uffd.h"

int __wrap_uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec);

static bool can_poison; /* the kernel that is played */

int __wrap_uffd_open_all(int *ret_fd, struct uffd_can *ret_can, struct errctx *ec)
{
    (void)ec;
    *ret_can = (struct uffd_can){ .poison = can_poison };
    *ret_fd = dup(STDERR_FILENO);
    return *ret_fd < 0 ? -errno : 0;
}

/* One member of the finding with that name; "" where there is none. The caller frees it. */
static char *member(const char *json, const char *name, const char *key)
{
    json_t *all = json_loads(json, 0, NULL), *finding;
    const char *found = "";
    char *copy;
    size_t i;

    assert_non_null(all);
    json_array_foreach(json_object_get(all, "findings"), i, finding)
        if (strcmp(json_string_value(json_object_get(finding, "name")), name) == 0)
            found = json_string_value(json_object_get(finding, key));
    copy = strdup(found);
    assert_non_null(copy);
    json_decref(all);
    return copy;
}

static void must_tell(const char *row, const char *verdict, const char *way)
{
    struct outcome table = run("check"), json = run("check --json");
    char *of_json = member(json.out, "lost-pages", "verdict");
    char *what = member(json.out, "lost-pages", "what");

    if (strstr(table.out, row) == NULL)
        fail_msg("no \"%s\" in: %s", row, table.out);
    assert_string_equal(of_json, verdict);
    assert_memory_equal(what, way, strlen(way));
    assert_int_equal(table.status, json.status);
    free(of_json);
    free(what);
    outcome_fini(&table);
    outcome_fini(&json);
}

static void the_way_of_lost_pages_is_in_the_table_and_in_json(void **state)
{
    (void)state;
    can_poison = true;
    must_tell("\nok       lost-pages    poison: ", "ok", "poison: ");
    can_poison = false;
    must_tell("\nlimited  lost-pages    closed pages: ", "limited", "closed pages: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_of_lost_pages_is_in_the_table_and_in_json),
    };

    return cmocka_run_group_tests_name("cli/check", tests, NULL, NULL);
}
