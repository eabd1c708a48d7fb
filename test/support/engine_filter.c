/* `engine_filter PROFILE PROGRAM [ARGUMENT...]`: executes PROGRAM behind the filter that the file PROFILE describes, a line
 * `NUMBER ANSWER ERRNO` for each system call. ANSWER is `allow`, `refuse`, or a condition under which the call is refused with
 * ERRNO: `clone`, `personality`, `socket`. A call that the file does not name answers ENOSYS. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID and _NEWNET. */
#define NAMESPACES 0x7e020000

/* The low half of an argument, on a machine with the low bytes first. */
#define ARGUMENT(number) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[number]))
#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)

static struct sock_filter program[BPF_MAXINSNS];
static unsigned short length;

static void add(const struct sock_filter *instructions, unsigned char count, unsigned number) {
  if (length + count + 2 > BPF_MAXINSNS) exit(5);
  program[length++] = (struct sock_filter)IS(number, 0, count);
  memcpy(program + length, instructions, count * sizeof *instructions);
  length += count;
}

#define ADD(number, ...)                                                        \
  do {                                                                          \
    struct sock_filter instructions[] = {__VA_ARGS__};                          \
    add(instructions, sizeof instructions / sizeof *instructions, number);      \
  } while (0)

int main(int count, char **arguments) {
  if (count < 3) return 2;
  FILE *profile = fopen(arguments[1], "r");
  if (!profile) {
    perror(arguments[1]);
    return 2;
  }
  unsigned number, errno_value;
  char condition[16];
  const unsigned allow = SECCOMP_RET_ALLOW;
  program[length++] = (struct sock_filter)NUMBER;
  while (fscanf(profile, "%u %15s %u", &number, condition, &errno_value) == 3) {
    const unsigned refuse = SECCOMP_RET_ERRNO | errno_value;
    if (!strcmp(condition, "clone"))
      ADD(number, ARGUMENT(0), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1), RETURN(refuse), RETURN(allow));
    else if (!strcmp(condition, "personality"))
      ADD(number, ARGUMENT(0), IS(0, 4, 0), IS(8, 3, 0), IS(0x20000, 2, 0), IS(0x20008, 1, 0), IS(0xffffffff, 0, 1),
          RETURN(allow), RETURN(refuse));
    else if (!strcmp(condition, "socket"))
      ADD(number, ARGUMENT(0), IS(16, 0, 3), ARGUMENT(2), IS(9, 0, 1), RETURN(refuse), RETURN(allow));
    else if (!strcmp(condition, "refuse"))
      ADD(number, RETURN(refuse));
    else if (!strcmp(condition, "allow"))
      ADD(number, RETURN(allow));
    else
      return 2;
  }
  fclose(profile);
  program[length++] = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | 38);
  struct sock_fprog filter = {length, program};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
    perror("PR_SET_SECCOMP");
    return 3;
  }
  execvp(arguments[2], arguments + 2);
  perror(arguments[2]);
  return 4;
}
