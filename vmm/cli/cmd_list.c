/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor list`: this user's running machines, found by their control sockets. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/ctl_client.h"
#include "vmm/cli/print_json.h"
#include "vmm/machine/control_dir.h"

enum { LIST_TIMEOUT_MS = 1000 };

/* "web.sock" -> "web" in @buf; false for files that are no machine's socket. */
static bool machine_name(const char *file, char *buf, size_t size)
{
    const char *suffix = strrchr(file, '.');

    if (suffix == NULL || strcmp(suffix, ".sock") != 0 || (size_t)(suffix - file) >= size)
        return false;
    memcpy(buf, file, (size_t)(suffix - file));
    buf[suffix - file] = '\0';
    return config_name_ok(buf);
}

/* What is known of one machine; one that does not answer is in the list all the same. */
static json_t *describe(const char *name)
{
    struct errctx ec = { 0 };
    json_t *status, *entry = json_pack("{ss}", "name", name);

    if (ctl_client_ask(NULL, name, "status", LIST_TIMEOUT_MS, &status, &ec) == 0) {
        (void)json_object_set_new(entry, "status", status);
    } else {
        (void)json_object_set_new(entry, "error", json_string(ec.msg));
    }
    return entry;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all live machines, sorted; freed by the caller, each and all. */
static size_t collect(int dir_fd, DIR *dir, char ***ret_names)
{
    char **names = NULL, name[65];
    const struct dirent *entry;
    size_t n = 0;

    while ((entry = readdir(dir)) != NULL) {
        char **grown;

        if (!machine_name(entry->d_name, name, sizeof(name)) || !control_dir_is_live(dir_fd, name))
            continue;
        grown = realloc(names, (n + 1) * sizeof(*names));
        if (grown == NULL)
            break;
        names = grown;
        names[n] = strdup(name);
        if (names[n] == NULL)
            break;
        n++;
    }
    if (n > 0)
        qsort(names, n, sizeof(*names), by_name);
    *ret_names = names;
    return n;
}

static void print_table(const json_t *list)
{
    if (json_array_size(list) == 0) {
        (void)printf("no machine is running\n");
        return;
    }
    (void)printf("%-24s %-10s %s\n", "NAME", "STATE", "PID");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *status = json_object_get(entry, "status");
        const char *state = json_string_value(json_object_get(status, "state"));
        json_int_t pid = json_integer_value(json_object_get(status, "pid"));

        (void)printf("%-24s %-10s ", json_string_value(json_object_get(entry, "name")),
                     status == NULL  ? "silent"
                     : state != NULL ? state
                                     : "-");
        if (pid > 0)
            (void)printf("%" JSON_INTEGER_FORMAT, pid);
        else
            (void)printf("-");
        (void)printf("\n");
    }
}

static int list_folder(const struct cli_args *args, int dir_fd, DIR *dir)
{
    char **names;
    size_t n = collect(dir_fd, dir, &names);
    json_t *list = json_array();
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, describe(names[i]));
        free(names[i]);
    }
    free(names);
    if (cli_args_get(args, "json") != NULL)
        r = print_json(stdout, list);
    else
        print_table(list);
    json_decref(list);
    return r < 0 ? cli_error(CLI_FAILURE, "no memory to print the list") : cli_flush(CLI_OK);
}

static int run_list(struct cli_args *args)
{
    struct errctx ec = { 0 };
    char path[256];
    int fd, status, r = control_dir_open(control_dir_path(path, sizeof(path)), false, &fd, &ec);
    DIR *dir;

    if (r == -ENOENT) { /* no machine ever ran */
        (void)printf("%s\n", cli_args_get(args, "json") != NULL ? "[]" : "no machine is running");
        return cli_flush(CLI_OK);
    }
    if (r < 0)
        return cli_fail(CLI_FAILURE, &ec);
    dir = fdopendir(fd);
    if (dir == NULL) {
        (void)close(fd);
        return cli_error(CLI_FAILURE, "read %s: %s", path, strerror(errno));
    }
    status = list_folder(args, dirfd(dir), dir);
    (void)closedir(dir);
    return status;
}

static const struct cli_option list_options[] = {
    { .name = "json", .help = "print the list as JSON" },
    { 0 },
};

const struct cli_command cmd_list = {
    .name = "list",
    .summary = "List this user's running machines.",
    .options = list_options,
    .run = run_list,
};
