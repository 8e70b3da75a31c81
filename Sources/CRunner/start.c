#include "CRunner.h"

#include <stdlib.h>
#include <unistd.h>

static int count;
static char **arguments;

// Before everything else; glibc gives such functions what main gets.
//
// Swift's runtime looks for its crash reporter before main and ends the process when it does not find out where it is
// itself, for which it needs /proc. Where there is none, as in an empty chroot, it is told a place to look at instead:
// nothing is there, and crashes are reported without a back trace.
__attribute__((constructor(101))) static void dustin_start(int argc, char **argv) {
  count = argc;
  arguments = argv;
  char byte;
  if (readlink("/proc/self/exe", &byte, 1) < 0) setenv("SWIFT_BACKTRACE", "enable=no,swift-backtrace=/", 0);
}

const char *dustin_argument(int index) { return index >= 0 && index < count ? arguments[index] : 0; }
