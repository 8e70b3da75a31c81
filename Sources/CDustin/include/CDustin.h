// The ABI between emitted code and the runtime: what a step's code reads. 64-bit, little-endian.
#pragma once
#include <stdint.h>
#include "dustin_process.h"

#include "dustin_cpu.h"

#define DUSTIN_ABI_VERSION 3

// Keys lie in blocks of 16 positions, are read in groups of 64, and the softmax state is kept per chunk of 1024.
enum { DUSTIN_BLOCK = 16, DUSTIN_GROUP = 64, DUSTIN_CHUNK = 1024 };

// One sequence's share of a step. Its rows are rows row0 … row0+rows-1 of the step and take the positions
// length … length+rows-1 of its cache.
typedef struct dustin_sequence {
  uint8_t *values;   // the sequence's signals and sets; layout: Program.SequenceValue
  uint8_t *cache;    // the sequence's KV memory, zeroed when it was made; layout: Program.CacheRegion
  int64_t capacity;  // positions that the cache can hold; a multiple of DUSTIN_GROUP
  int32_t row0;
  int32_t rows;
  int32_t length;    // committed positions before the step
  int32_t scored;    // positions that signals are made of: `length`, or what was committed when a round began
} dustin_sequence;

// One step: all that emitted code is given. Threads 0 … threads-1 all call the entry with the same step.
typedef struct dustin_step {
  uint8_t *arena;                    // activations; offsets come from the call table; 64-byte aligned
  const uint8_t *weights;            // packed weights; 64-byte aligned
  uint8_t *partials;                 // scratch for split attention: a state per (row, query head, chunk)
  const int64_t *table;              // the function's call table
  const dustin_sequence *sequences;
  int64_t table_count;               // int64 words in the table
  int32_t sequence_count;
  int32_t rows;                      // sum of all sequences' rows, 1 … the function's bound of T
  int32_t threads;
  int32_t reserved;
  void (*wait)(void);                // called now and then by a thread that spins at a barrier
  uint8_t *thread_scratch;           // threads * scratch_bytes, 64-byte aligned
  int64_t scratch_bytes;
  // barrier state, on lines of their own
  uint8_t pad0[64];
  int64_t arrived;                   // threads that reached the current barrier
  uint8_t pad1[56];
  int64_t phase;                     // barriers passed
  uint8_t pad2[56];
} dustin_step;

// The entry of a program: runs the table for one thread.
typedef void (*dustin_entry)(dustin_step *step, int64_t thread);

// ---- Plug-ins: dynamic libraries with passes and presets, which `dustin --load` takes ----

// Version of what follows. It stands in the name of the entry, so that a plug-in for another version is known as such.
#define DUSTIN_PLUGIN_VERSION 1

// What a plug-in says of itself. The tool calls `add` once the rest agrees with its own.
typedef struct dustin_plugin {
  const char *compiler;       // the compiler that built the plug-in: dustin_compiler()
  const void *identity;       // the class Module of the DustinIR that the plug-in sees: PluginHost.identity
  void (*add)(void *host);    // registers the passes: PluginHost.register(…, at: host)
} dustin_plugin;

// The one symbol of a plug-in, `dustin_plugin_1`; it fills the struct in.
typedef void (*dustin_plugin_entry)(dustin_plugin *plugin);

// Each side's own: the compiler that reads this header says who it is.
static inline const char *dustin_compiler(void) { return __VERSION__; }
