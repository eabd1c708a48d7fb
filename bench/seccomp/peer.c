/* The peers' side of bench/seccomp: libseccomp's programs, and the measuring of anybody's.
 *
 *   peer version                                  libseccomp's version
 *   peer build LEVEL FILE ARGS NAME...            an allow-list that answers EPERM to the rest, written to FILE;
 *                                                 prints the nanoseconds it took. LEVEL 1 is the default, 2 optimised.
 *                                                 ARGS is 1 if the first NAME is allowed only with a first argument of 0.
 *   peer measure FILE ROUNDS NUMBER...            nanoseconds of each of these calls under FILE ("-": no filter)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
  fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* CPU time of this process: what others do on the machine counts less. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void build(int level, const char *file, int args, char **names, int count) {
  enum { ROUNDS = 30 };
  double best = 1e18;
  for (int round = 0; round < ROUNDS; round++) {
    int fd = memfd_create("bpf", 0);
    double start = now();
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx || seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, level)) fail("init");
    for (int i = 0; i < count; i++) {
      int nr = seccomp_syscall_resolve_name(names[i]);
      if (nr < 0) fail(names[i]);
      int bad = i == 0 && args ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A0(SCMP_CMP_EQ, 0))
                               : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
      if (bad) { errno = -bad; fail(names[i]); }
    }
    if (seccomp_export_bpf(ctx, fd)) fail("export");
    seccomp_release(ctx);
    double took = now() - start;
    if (took < best) best = took;
    if (round == ROUNDS - 1) {
      static char bytes[1 << 16];
      lseek(fd, 0, SEEK_SET);
      ssize_t n = read(fd, bytes, sizeof bytes);
      int out = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (n <= 0 || out < 0 || write(out, bytes, n) != n) fail(file);
    }
    close(fd);
  }
  printf("%.0f\n", best);
}

static void measure(const char *file, long rounds, char **numbers, int count) {
  if (strcmp(file, "-")) {
    static struct sock_filter program[4096];
    int fd = open(file, O_RDONLY);
    ssize_t n = read(fd, program, sizeof program);
    if (n <= 0) fail(file);
    struct sock_fprog prog = {.len = n / sizeof *program, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)) fail("seccomp");
  }
  double best = 1e18;
  for (int pass = 0; pass < 60; pass++) {
    double start = now();
    for (int i = 0; i < count; i++) {
      long nr = atol(numbers[i]);
      for (long n = 0; n < rounds; n++) syscall(nr, 0, 0, 0, 0, 0, 0);
    }
    double took = (now() - start) / ((double)rounds * count);
    if (took < best) best = took;
  }
  char text[32];
  int n = snprintf(text, sizeof text, "%.1f\n", best);
  if (write(1, text, n) != n) _exit(1);
  _exit(0);
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "version")) {
    const struct scmp_version *v = seccomp_version();
    printf("%u.%u.%u\n", v->major, v->minor, v->micro);
  } else if (argc > 5 && !strcmp(argv[1], "build")) {
    build(atoi(argv[2]), argv[3], atoi(argv[4]), argv + 5, argc - 5);
  } else if (argc > 4 && !strcmp(argv[1], "measure")) {
    measure(argv[2], atol(argv[3]), argv + 4, argc - 4);
  } else {
    fprintf(stderr, "usage: see the top of peer.c\n");
    return 2;
  }
  return 0;
}
