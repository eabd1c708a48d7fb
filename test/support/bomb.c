/*
 * A fork bomb that goes off for SECONDS and ends by itself: `bomb SECONDS KIND [stay]`. Its number is for RLIMIT_NPROC to bound;
 * every process of it exits at the same moment, which is counted from the start of the first.
 *
 *   deep      each process forks one child, waits for nobody, and forks again
 *   setsid    each in a session of its own
 *   orphans   each parent exits as soon as it has forked, so that its children change their parent all the time
 *   stopped   each stops itself after a while
 *   continue  each continues all others (SIGCONT) all the time
 *
 * The first process exits with 7 after 0.3 s, before the rest of it, or with `stay` at the end.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_for(long nanoseconds) {
  struct timespec time = {0, nanoseconds};
  nanosleep(&time, NULL);
}

static void bomb(const char *kind, double end) {
  int orphans = strcmp(kind, "orphans") == 0;
  if (strcmp(kind, "setsid") == 0 || orphans) setsid();
  /* Whoever is stopped, or spins elsewhere, ends all the same. */
  double left = end - now();
  if (left <= 0) _exit(0);
  alarm((unsigned)left + 1);
  while (now() < end) {
    pid_t child = fork();
    if (child == 0) {
      bomb(kind, end);
      _exit(0);
    }
    if (child > 0 && orphans) _exit(0);
    if (strcmp(kind, "continue") == 0) kill(-1, SIGCONT);
    if (strcmp(kind, "stopped") == 0) raise(SIGSTOP);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    /* At the limit there is nothing to win, and whoever looks on needs a processor too. */
    pause_for(child < 0 ? 2000000 : 100000);
  }
  _exit(0);
}

int main(int count, char **arguments) {
  if (count != 3 && count != 4) return 2;
  double end = now() + atof(arguments[1]);
  signal(SIGALRM, SIG_DFL);
  if (fork() == 0) bomb(arguments[2], end);
  do pause_for(300000000);
  while (count == 4 && now() < end);
  return 7;
}
