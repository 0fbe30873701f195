/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outb PORT VALUE - write a byte to an I/O port, which Debian's cloud kernel has no /dev/port for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
    unsigned long port, value;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: outb PORT VALUE\n");
        return 2;
    }
    port = strtoul(argv[1], NULL, 0);
    value = strtoul(argv[2], NULL, 0);
    if (ioperm(port, 1, 1) < 0) {
        perror("outb: ioperm");
        return EXIT_FAILURE;
    }
    outb((unsigned char)value, (unsigned short)port);
    return 0;
}
