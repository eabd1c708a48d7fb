/* `engine_filter PROGRAM [ARGUMENT...]`: executes PROGRAM behind what the default seccomp profile of a container engine
 * refuses to a container without CAP_SYS_ADMIN: clone3 with ENOSYS, since its flags are out of a filter's sight; namespaces,
 * mounts and keyrings with EPERM. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID and _NEWNET. */
#define NAMESPACES 0x7e020000

#define REFUSE(number, errno) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno)

int main(int count, char **arguments) {
  if (count < 2) return 2;
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      REFUSE(SYS_clone3, 38),
      REFUSE(SYS_mount, 1),
      REFUSE(SYS_umount2, 1),
      REFUSE(SYS_pivot_root, 1),
      REFUSE(SYS_setns, 1),
      REFUSE(SYS_unshare, 1),
      REFUSE(SYS_fsopen, 1),
      REFUSE(SYS_fsconfig, 1),
      REFUSE(SYS_fsmount, 1),
      REFUSE(SYS_fspick, 1),
      REFUSE(SYS_move_mount, 1),
      REFUSE(SYS_open_tree, 1),
      REFUSE(SYS_mount_setattr, 1),
      REFUSE(SYS_sethostname, 1),
      REFUSE(SYS_setdomainname, 1),
      REFUSE(SYS_keyctl, 1),
      REFUSE(SYS_add_key, 1),
      REFUSE(SYS_request_key, 1),
      REFUSE(SYS_bpf, 1),
      REFUSE(SYS_perf_event_open, 1),
      REFUSE(SYS_userfaultfd, 1),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
      /* The low half of the first argument, on a machine with the low bytes first. */
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof program / sizeof *program, program};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
    perror("PR_SET_SECCOMP");
    return 3;
  }
  execvp(arguments[1], arguments + 1);
  perror(arguments[1]);
  return 4;
}
