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
