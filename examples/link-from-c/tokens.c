// Continues token ids, prints what comes, and stops after ten tokens; then shows that errors are texts.
#include "dustin.h"

#include <stdio.h>

static int print(void *context, const int32_t *tokens, size_t token_count, const char *text, size_t text_bytes) {
  int *left = context;
  for (size_t i = 0; i < token_count; i++) printf("%d ", tokens[i]);
  printf("(%.*s)\n", (int)text_bytes, text);
  *left -= (int)token_count;
  return *left <= 0;
}

int main(void) {
  dustin_model *model = dustin_open("model.weights", 0);
  if (!model) return fprintf(stderr, "%s\n", dustin_error()), 1;

  const int32_t prompt[] = {12, 13, 14, 15};
  dustin_settings settings = dustin_default_settings();
  settings.temperature = 0.8f;
  settings.seed = 7;
  int left = 10;
  int64_t count = dustin_generate_tokens(model, prompt, 4, &settings, print, &left);
  if (count < 0) return fprintf(stderr, "%s\n", dustin_error()), 1;
  printf("%lld tokens, stopped by the program\n", (long long)count);

  const int32_t wrong[] = {1 << 20};
  if (dustin_generate_tokens(model, wrong, 1, &settings, print, &left) != -1) return 1;
  printf("%s\n", dustin_error());
  dustin_close(model);
  return 0;
}
