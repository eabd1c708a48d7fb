/* `refuse NUMBER ERRNO PROGRAM [ARGUMENT...]`: executes PROGRAM, whose system call NUMBER answers ERRNO from then on. With
 * `stub` as its only argument it is a workload that calls write, read and exit_group alone: it writes a line, reads to the
 * end of its standard input, and exits. Without the C library's start, which calls more. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <asm/unistd.h>
#include <stddef.h>

static long call(long number, long a, long b, long c, long d, long e) {
#if defined(__x86_64__)
  long answer;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(answer)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return answer;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#elif defined(__riscv)
  register long a7 __asm__("a7") = number;
  register long a0 __asm__("a0") = a;
  register long a1 __asm__("a1") = b;
  register long a2 __asm__("a2") = c;
  register long a3 __asm__("a3") = d;
  register long a4 __asm__("a4") = e;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4) : "memory");
  return a0;
#elif defined(__ARM_EABI__)
  /* r7 may be Thumb's frame pointer, which no variable can be. */
  register long r0 __asm__("r0") = a;
  register long r1 __asm__("r1") = b;
  register long r2 __asm__("r2") = c;
  register long r3 __asm__("r3") = d;
  register long r4 __asm__("r4") = e;
  __asm__ volatile("push {r7}\n mov r7,%1\n svc #0\n pop {r7}"
                   : "+r"(r0)
                   : "r"(number), "r"(r1), "r"(r2), "r"(r3), "r"(r4)
                   : "memory");
  return r0;
#else
#error "no system calls for this architecture here"
#endif
}

static unsigned number_of(const char *text) {
  unsigned number = 0;
  while (*text >= '0' && *text <= '9') number = 10 * number + (unsigned)(*text++ - '0');
  return number;
}

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

static void stub(void) {
  char byte;
  call(__NR_write, 1, (long)"up\n", 3, 0, 0);
  while (call(__NR_read, 0, (long)&byte, 1, 0, 0) > 0) {
  }
  call(__NR_exit_group, 0, 0, 0, 0, 0);
}

__attribute__((used)) void start(long *stack) {
  long count = stack[0];
  char **arguments = (char **)(stack + 1);
  char **environment = arguments + count + 1;
  if (count == 2 && equal(arguments[1], "stub")) stub();
  if (count < 4) call(__NR_exit_group, 2, 0, 0, 0, 0);
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(arguments[1]), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | number_of(arguments[2])),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof program / sizeof *program, program};
  if (call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&filter, 0, 0) < 0)
    call(__NR_exit_group, 3, 0, 0, 0, 0);
  call(__NR_execve, (long)arguments[3], (long)(arguments + 3), (long)environment, 0, 0);
  call(__NR_exit_group, 4, 0, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n mov x0, sp\n bl start\n");
#elif defined(__riscv)
__asm__(".globl _start\n_start:\n .option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n"
        " mv a0, sp\n andi sp, sp, -16\n call start\n");
#elif defined(__ARM_EABI__)
__asm__(".syntax unified\n.arm\n.globl _start\n.type _start, %function\n_start:\n mov r0, sp\n bic r2, r0, #7\n"
        " mov sp, r2\n blx start\n");
#endif
