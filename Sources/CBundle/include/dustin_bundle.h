// What the Swift side of the bundle needs of C.
#pragma once
#include "dustin.h"

// The application without its weights, which 'dustin compile' puts into the object.
const void *dustin_payload(void);
size_t dustin_payload_bytes(void);

// What dustin_error returns on this thread; cut at 4,095 bytes.
void dustin_set_error(const char *message);
