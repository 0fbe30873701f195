/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: whatever they hold is refused with a sentence, or is within its bounds and leads
 * nowhere out of the folder. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "vmm/suite/suite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct suite_test t = { .name = NULL };
    struct errctx ec = { 0 };
    char *kernel = NULL;
    const int r = suite_manifest_read((const char *)data, size, &t, &kernel, &ec);

    assert(r == 0 || ec.msg[0] != '\0');
    if (r == 0) {
        json_t *rest = json_loads(t.config, 0, NULL);

        assert(json_is_object(rest)); /* for --config */
        assert(json_object_get(rest, "kernel") == NULL && json_object_get(rest, "env") == NULL);
        json_decref(rest);
        assert(t.timeout_s <= SUITE_TIMEOUT_MAX_S && t.code <= SUITE_CODE_MAX);
        assert(kernel == NULL || (kernel[0] != '\0' && strchr(kernel, '/') == NULL));
        assert(t.skip == NULL || strchr(t.skip, '\n') == NULL);
        for (const char *line = t.env; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1)
            assert(strchr(line, '\n') != NULL && line[0] != '=' &&
                   memchr(line, '=', (size_t)(strchr(line, '\n') - line)) != NULL);
    }
    free(kernel);
    suite_test_fini(&t);
    return 0;
}
