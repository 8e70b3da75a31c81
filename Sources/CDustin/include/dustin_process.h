// What the kernel told this process when it started.
#pragma once
#include <sys/auxv.h>

// The path that the program was started by, where there is no /proc to ask; null when the kernel does not tell.
static inline const char *dustin_started_as(void) { return (const char *)getauxval(AT_EXECFN); }
