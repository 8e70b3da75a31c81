#include "dustin_bundle.h"

#include <stdio.h>

// Nobody defines them until 'dustin compile' makes an object of a model.
extern const unsigned char dustin_payload_start[];
extern const unsigned char dustin_payload_end[];

const void *dustin_payload(void) { return dustin_payload_start; }

size_t dustin_payload_bytes(void) { return (size_t)(dustin_payload_end - dustin_payload_start); }

static _Thread_local char message[4096];

void dustin_set_error(const char *text) { snprintf(message, sizeof message, "%s", text); }

const char *dustin_error(void) { return message; }

// The mark by which 'dustin compile' knows the object: `runnerMark` of DustinRunner.
const char *dustin_version(void) { return "DUSTIN RUNNER 0.1, format 1, runtime 3."; }
