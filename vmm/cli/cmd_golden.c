/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor golden`: files of pages that many guests have, for run --golden. */
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/cli/commands.h"
#include "vmm/machine/golden_library.h"

static void print_info(const char *name, const struct golden_info *info)
{
    char of[32], in[32];

    (void)printf("%-24s %10llu %10s %10s\n", name, (unsigned long long)info->pages,
                 units_format_human(info->image_bytes, of, sizeof(of)),
                 units_format_human(info->file_bytes, in, sizeof(in)));
}

static void print_head(void)
{
    (void)printf("%-24s %10s %10s %10s\n", "NAME", "PAGES", "IMAGES", "FILE");
}

/* debian-12.raw of some folder is debian-12. */
static const char *name_of(const char *image, char *buf, size_t size)
{
    const char *slash = strrchr(image, '/');
    char *dot;

    (void)snprintf(buf, size, "%s", slash != NULL ? slash + 1 : image);
    dot = strrchr(buf, '.');
    if (dot != NULL && dot != buf)
        *dot = '\0';
    return buf;
}

static int add(const struct cli_args *args)
{
    const char *as = cli_args_get(args, "as");
    struct golden_info info;
    struct errctx ec = { 0 };
    char name[128];

    if (as == NULL)
        as = name_of(args->operands[1], name, sizeof(name));
    if (golden_library_add(as, args->operands + 1, args->n_operands - 1, &info, &ec) < 0)
        return cli_error(CLI_FAILURE, "golden add: %s", ec.msg);
    print_head();
    print_info(as, &info);
    return cli_flush(CLI_OK);
}

static void list_one(void *ctx, const char *name, int r, const struct golden_info *info,
                     const struct errctx *ec)
{
    bool *any_bad = ctx;

    if (r == 0) {
        print_info(name, info);
        return;
    }
    *any_bad = true;
    (void)cli_error(CLI_FAILURE, "%s", ec->msg);
}

static int list(void)
{
    struct errctx ec = { 0 };
    bool any_bad = false;

    print_head();
    if (golden_library_list(list_one, &any_bad, &ec) < 0)
        return cli_error(CLI_FAILURE, "golden list: %s", ec.msg);
    return cli_flush(any_bad ? CLI_FAILURE : CLI_OK);
}

static int verify(const char *name)
{
    struct golden_info info;
    struct errctx ec = { 0 };

    if (golden_library_verify(name, &info, &ec) < 0)
        return cli_error(CLI_FAILURE, "golden verify: %s", ec.msg);
    if (info.damaged > 0)
        return cli_error(CLI_FAILURE, "golden verify: %s: %llu of %llu pages are damaged", name,
                         (unsigned long long)info.damaged, (unsigned long long)info.pages);
    (void)printf("%s: all of %llu pages are as they were\n", name, (unsigned long long)info.pages);
    return cli_flush(CLI_OK);
}

static int drop(const char *name)
{
    struct errctx ec = { 0 };

    return golden_library_remove(name, &ec) < 0
               ? cli_error(CLI_FAILURE, "golden remove: %s", ec.msg)
               : CLI_OK;
}

static int run_golden(struct cli_args *args)
{
    const char *action = args->operands[0];
    const bool adds = strcmp(action, "add") == 0;

    if (!adds && cli_args_get(args, "as") != NULL)
        return cli_error(CLI_USAGE, "golden: --as has no effect without add");
    if (strcmp(action, "list") == 0)
        return args->n_operands == 1
                   ? list()
                   : cli_error(CLI_USAGE, "golden list: unexpected argument \"%.40s\"",
                               args->operands[1]);
    if (!adds && strcmp(action, "verify") != 0 && strcmp(action, "remove") != 0)
        return cli_error(CLI_USAGE, "golden: \"%.40s\" is none of add, list, remove, verify",
                         action);
    if (args->n_operands < 2)
        return cli_error(CLI_USAGE, "golden %s: say which %s", action, adds ? "image" : "one");
    if (adds)
        return add(args);
    if (args->n_operands > 2)
        return cli_error(CLI_USAGE, "golden %s: unexpected argument \"%.40s\"", action,
                         args->operands[2]);
    return action[0] == 'v' ? verify(args->operands[1]) : drop(args->operands[1]);
}

static const struct cli_option golden_options[] = {
    { .name = "as", .arg = "NAME|FILE", .help = "add: its name (default: the first image's)",
      .is_file = true },
    { 0 },
};

const struct cli_command cmd_golden = {
    .name = "golden",
    .summary = "Make and check golden files: pages of images that guests need not keep.",
    .operands = "list | add IMAGE... | remove NAME | verify NAME",
    .words = "list add remove verify",
    .min_operands = 1,
    .max_operands = CLI_MAX_OPERANDS,
    .options = golden_options,
    .run = run_golden,
};
