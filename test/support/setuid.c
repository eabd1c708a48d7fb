/*
 * A set-user-ID program: becomes root for good where it is started so, tells it by a line, and waits to be ended, for no
 * longer than SECONDS: `setuid SECONDS [plain]`. With `plain` it stays what the file made it.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count < 2) return 2;
  alarm((unsigned)atoi(arguments[1]));
  if (count == 2 && setresuid(0, 0, 0) != 0) return 3;
  if (write(1, "up\n", 3) != 3) return 4;
  for (;;) pause();
}
