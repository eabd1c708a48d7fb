/* A program that makes system calls and nothing else: no C library, which would make some of its own before main.
 *
 *   probe CALL...      CALL is n:NUMBER,ARG,...   the native call; prints "n:NUMBER=RESULT"
 *                              x:NUMBER,ARG,...   the same number as an x32 call (x86_64)
 *                              i:NUMBER,ARG,...   through int 0x80, as i386's call (x86_64)
 *                              r:                 what the register of a call's sixth argument held at the start
 *                              e:                 execve of itself, without arguments; prints "e:=RESULT" if it fails
 *                              m:NUMBER           the native calls 0 to NUMBER-1, but for those that end or block a
 *                                                 process that may make them; prints those that are not ENODATA
 */
typedef long word;

#if defined(__x86_64__)
#define WRITE 1
#define EXECVE 59
#define EXIT 60
#define EXIT_GROUP 231
/* Breakpoints of the kernel's own, exempt from filters: they kill whoever makes them. */
#define EXEMPT(n) ((n) == 335 || (n) == 336)
static word call(word n, word *a) {
  word r;
  register word r10 __asm__("r10") = a[3];
  register word r8 __asm__("r8") = a[4];
  register word r9 __asm__("r9") = a[5];
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return r;
}
static word call_i386(word n, word *a) {
  int r;
  __asm__ volatile("int $0x80" : "=a"(r) : "a"((int)n), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                   : "r8", "r9", "r10", "r11", "memory");
  return r;
}
static word call_x32(word n, word *a) { return call(n | 0x40000000, a); }
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n mov %r9,%rsi\n and $-16,%rsp\n call start\n");
#elif defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)
/* Both have the numbers of asm-generic/unistd.h. */
#define WRITE 64
#define EXECVE 221
#define EXIT 93
#define EXIT_GROUP 94
#define EXEMPT(n) 0
#ifdef __riscv
#define TRAP "ecall"
#define NUMBER "a7"
#define ARGUMENT(n) "a" #n
__asm__(".globl _start\n_start:\n .option push\n .option norelax\n la gp,__global_pointer$\n .option pop\n"
        " mv a0,sp\n mv a1,a5\n andi sp,sp,-16\n call start\n");
#else
#define TRAP "svc #0"
#define NUMBER "x8"
#define ARGUMENT(n) "x" #n
__asm__(".globl _start\n_start:\n mov x29,#0\n mov x0,sp\n mov x1,x5\n bl start\n");
#endif
static word call(word n, word *a) {
  register word number __asm__(NUMBER) = n;
  register word r0 __asm__(ARGUMENT(0)) = a[0];
  register word r1 __asm__(ARGUMENT(1)) = a[1];
  register word r2 __asm__(ARGUMENT(2)) = a[2];
  register word r3 __asm__(ARGUMENT(3)) = a[3];
  register word r4 __asm__(ARGUMENT(4)) = a[4];
  register word r5 __asm__(ARGUMENT(5)) = a[5];
  __asm__ volatile(TRAP : "+r"(r0) : "r"(number), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) : "memory");
  return r0;
}
#elif defined(__ARM_EABI__)
#define WRITE 4
#define EXECVE 11
#define EXIT 1
#define EXIT_GROUP 248
#define EXEMPT(n) 0
/* r7 may be Thumb's frame pointer, which no variable can be. */
static word call(word n, word *a) {
  register word r0 __asm__("r0") = a[0];
  register word r1 __asm__("r1") = a[1];
  register word r2 __asm__("r2") = a[2];
  register word r3 __asm__("r3") = a[3];
  register word r4 __asm__("r4") = a[4];
  register word r5 __asm__("r5") = a[5];
  __asm__ volatile("push {r7}\n mov r7,%1\n svc #0\n pop {r7}"
                   : "+r"(r0) : "r"(n), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) : "memory");
  return r0;
}
__asm__(".syntax unified\n.arm\n.globl _start\n.type _start,%function\n_start:\n mov r0,sp\n mov r1,r5\n"
        " bic r2,r0,#7\n mov sp,r2\n blx start\n");
#endif

#ifndef __x86_64__
static word call_i386(word n, word *a) { return (void)n, (void)a, -38; }
static word call_x32(word n, word *a) { return (void)n, (void)a, -38; }
#endif

#define ENODATA 61

static char out[64];
static int length;

static void put(char c) {
  if (length < (int)sizeof out) out[length++] = c;
}
static void put_number(word n) {
  char digits[20];
  int count = 0;
  unsigned long u = n < 0 ? -(unsigned long)n : (unsigned long)n;
  if (n < 0) put('-');
  do digits[count++] = '0' + u % 10; while (u /= 10);
  while (count) put(digits[--count]);
}
static void flush(void) {
  word a[6] = {1, (word)out, length, 0, 0, 0};
  put('\n');
  a[2] = length;
  call(WRITE, a);
  length = 0;
}
static void report(char kind, word n, int with_number, word result) {
  put(kind);
  put(':');
  if (with_number) put_number(n);
  put('=');
  put_number(result);
  flush();
}
static word number(const char **text) {
  word n = 0, sign = 1;
  if (**text == '-') sign = -1, ++*text;
  while (**text >= '0' && **text <= '9') n = n * 10 + (*(*text)++ - '0');
  return sign * n;
}

__attribute__((used)) void start(word *stack, word sixth) {
  int argc = (int)stack[0];
  char **argv = (char **)(stack + 1);
  word a[6];
  for (int i = 1; i < argc; i++) {
    const char *text = argv[i];
    char kind = text[0];
    text += 2;
    word n = number(&text);
    for (int arg = 0; arg < 6; arg++) {
      a[arg] = 0;
      if (*text == ',') text++, a[arg] = number(&text);
    }
    if (kind == 'n') report(kind, n, 1, call(n, a));
    if (kind == 'x') report(kind, n, 1, call_x32(n, a));
    if (kind == 'i') report(kind, n, 1, call_i386(n, a));
    if (kind == 'r') report(kind, 0, 0, sixth);
    if (kind == 'e') {
      char *none[] = {argv[0], 0};
      word exec[6] = {(word)argv[0], (word)none, (word)(none + 1), 0, 0, 0};
      report(kind, 0, 0, call(EXECVE, exec));
    }
    if (kind == 'm') {
      for (word each = 0; each < n; each++) {
        if (each == WRITE || each == EXIT_GROUP || each == EXIT || EXEMPT(each)) continue;
        word result = call(each, a);
        if (result != -ENODATA) report(kind, each, 1, result);
      }
    }
  }
  word none[6] = {0, 0, 0, 0, 0, 0};
  call(EXIT_GROUP, none);
  call(EXIT, none);
  __builtin_trap();
}
