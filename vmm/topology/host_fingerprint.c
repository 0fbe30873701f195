/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/host_fingerprint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/idset.h"
#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

/* FNV-1a, 64 bits, over the text and the zero behind it, so that parts do not run together. */
static uint64_t hash(uint64_t h, const char *text)
{
    for (;; text++) {
        h = (h ^ (uint8_t)*text) * 0x100000001b3ull;
        if (*text == '\0')
            return h;
    }
}

static uint64_t hash_file(uint64_t h, const char *root, const char *name)
{
    char text[4096];

    return hash(h, kernel_file_text(text, sizeof(text), root, "%s", name) ? text : "?");
}

/* The processor's name, the same on all lines. */
static uint64_t hash_model(uint64_t h, const char *root)
{
    char path[KERNEL_FILE_PATH_MAX], line[512];
    CLEANUP_FCLOSE FILE *f = NULL;

    if (!kernel_file_path(path, root, "/proc/cpuinfo"))
        return h;
    f = fopen(path, "re");
    for (int i = 0; i < 64 && f != NULL && fgets(line, sizeof(line), f) != NULL; i++)
        if (strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0)
            return hash(h, line);
    return h;
}

void host_fingerprint(const char *kernel_root, char ret[static HOST_FINGERPRINT_BYTES])
{
    static const char *const files[] = {
        "/sys/class/dmi/id/sys_vendor",  "/sys/class/dmi/id/product_name",
        "/sys/class/dmi/id/board_name",  "/sys/class/dmi/id/bios_version",
        "/sys/devices/system/node/online", "/sys/devices/system/node/has_cpu",
    };
    uint64_t h = 0xcbf29ce484222325ull;
    struct idset nodes = { 0 };
    char name[96];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        h = hash_file(h, kernel_root, files[i]);
    h = hash_model(h, kernel_root);
    (void)kernel_file_set(&nodes, kernel_root, "/sys/devices/system/node/online");
    IDSET_FOREACH(id, &nodes) {
        (void)snprintf(name, sizeof(name), "/sys/devices/system/node/node%u/distance", id);
        h = hash_file(h, kernel_root, name);
    }
    (void)snprintf(ret, HOST_FINGERPRINT_BYTES, "%016" PRIx64, h);
}
