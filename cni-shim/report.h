// What the shim itself says on stdout: CNI errors and its built-in VERSION answer (CNI spec 1.1, section 5).
#ifndef WEFT_REPORT_H
#define WEFT_REPORT_H

#include <stddef.h>

enum cni_code {
  CNI_INVALID_ENVIRONMENT = 4,
  CNI_IO = 5,
  CNI_INVALID_CONFIG = 7,
  CNI_TRY_AGAIN = 11,
  CNI_NOT_AVAILABLE = 50
};

/** Speaks the cniVersion of the network configuration from now on, where it names a supported one; else the newest. */
void report_in_version_of(const unsigned char *config, size_t length);

/** Prints a CNI error. `details` is an errno, 0 for none. Returns the exit status, 1. */
__attribute__((format(printf, 3, 4))) int report_error(enum cni_code code, int details, const char *format, ...);

/** Prints the built-in VERSION answer. Returns the exit status. */
int report_versions(void);

/** Writes everything. False on failure. */
int write_fully(int fd, const void *bytes, size_t length);

#endif
