/// The files of a bundle that are the same for all models.
enum BundleTexts {
  /// `Sources/CBundle/include/dustin.h`, letter by letter: a test compares them.
  static let header = #"""
    // A model, with its draft if it was compiled with one, for programs in C: 'dustin compile --emit=bundle' writes this file,
    // the object that holds the code, the weights, and a program that uses them.
    //
    //   dustin_model *model = dustin_open("model.weights", 0);
    //   dustin_settings settings = dustin_default_settings();
    //   int64_t count = dustin_generate(model, "Once upon a time", 16, &settings, print, NULL);
    //   dustin_close(model);
    //
    // A model serves one call at a time; several may be open. Nothing here ends the process: what fails says so, and
    // dustin_error() tells why.
    #ifndef DUSTIN_H
    #define DUSTIN_H

    #include <stddef.h>
    #include <stdint.h>

    #ifdef __cplusplus
    extern "C" {
    #endif

    typedef struct dustin_model dustin_model;

    // As the options of 'dustin run'.
    typedef struct dustin_settings {
      int64_t max_new_tokens;  // 128; 0 only reads the prompt
      int64_t draft_max;       // 4; tokens that the draft proposes a round, 0: none
      float temperature;       // 0: the most probable token
      int64_t top_k;           // 0: all
      float top_p;             // 1: all
      float min_p;             // 0: all
      uint64_t seed;
      int32_t ignore_eos;      // not 0: goes on behind the tokens that end a text
      int32_t exact;           // not 0: with a preset, dense passes decide
    } dustin_settings;

    // New tokens, and their text in whole characters of UTF-8, which ends with no NUL; both may be empty. Another result than
    // 0 stops the run.
    typedef int (*dustin_callback)(
        void *context, const int32_t *tokens, size_t token_count, const char *text, size_t text_bytes);

    // Opens the model of this program.
    //   weights   the file that was written with the object
    //   threads   0: one for each core that the process may use
    // Null after an error.
    dustin_model *dustin_open(const char *weights, int32_t threads);

    dustin_settings dustin_default_settings(void);

    // Continues a text, or tokens. `settings` may be null, and so may `callback`.
    // Returns the number of new tokens, or -1 after an error.
    int64_t dustin_generate(
        dustin_model *model, const char *prompt, size_t prompt_bytes, const dustin_settings *settings,
        dustin_callback callback, void *context);
    int64_t dustin_generate_tokens(
        dustin_model *model, const int32_t *prompt, size_t prompt_count, const dustin_settings *settings,
        dustin_callback callback, void *context);

    // Null is taken too.
    void dustin_close(dustin_model *model);

    // Why this thread's last call failed; empty when none did.
    const char *dustin_error(void);

    // What the object was made with.
    const char *dustin_version(void);

    #ifdef __cplusplus
    }
    #endif
    #endif

    """#

  /// How a program uses it.
  static let main = #"""
    // Goes on writing what its arguments begin: ./app Once upon a time
    #include "dustin.h"

    #include <stdio.h>
    #include <string.h>

    static int print(void *context, const int32_t *tokens, size_t token_count, const char *text, size_t text_bytes) {
      (void)context, (void)tokens, (void)token_count;
      fwrite(text, 1, text_bytes, stdout);
      return fflush(stdout);
    }

    int main(int argc, char **argv) {
      char prompt[4096] = "Once upon a time";
      for (int i = 1; i < argc; i++) {
        if (i == 1) prompt[0] = 0;
        if (strlen(prompt) + strlen(argv[i]) + 2 > sizeof prompt) break;
        if (i > 1) strcat(prompt, " ");
        strcat(prompt, argv[i]);
      }

      dustin_model *model = dustin_open("model.weights", 0);
      if (!model) {
        fprintf(stderr, "%s\n", dustin_error());
        return 1;
      }
      dustin_settings settings = dustin_default_settings();
      settings.max_new_tokens = 64;
      int64_t count = dustin_generate(model, prompt, strlen(prompt), &settings, print, NULL);
      if (count < 0) fprintf(stderr, "%s\n", dustin_error());
      else printf("\n");
      dustin_close(model);
      return count < 0;
    }

    """#

  static let makefile = #"""
    app: main.c dustin.h model.o
    	cc -O2 -o app main.c model.o -lm

    """#
}
