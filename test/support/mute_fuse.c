// A FUSE file system that never answers: mounted on the folder named by the first argument until standard input ends.
// Prints a line once it is there. fuse(4): the kernel's first request is FUSE_INIT, and all others wait for its answer.
// With a second argument it answers that one, and reads the others without an answer, with a line for each: from then on
// no signal ends the process that waits.
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

static int answer_init(int fd)
{
    char request[FUSE_MIN_READ_BUFFER];
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } answer = {{sizeof answer, 0, 0}, {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096}};
    if (read(fd, request, sizeof request) < 0)
        return -1;
    answer.header.unique = ((struct fuse_in_header *)request)->unique;
    return write(fd, &answer, sizeof answer) == sizeof answer ? 0 : -1;
}

static void swallow(int fd)
{
    char request[FUSE_MIN_READ_BUFFER], byte;
    struct pollfd fds[] = {{0, POLLIN, 0}, {fd, POLLIN, 0}};
    while (poll(fds, 2, -1) > 0) {
        if (fds[0].revents && read(0, &byte, 1) <= 0)
            return;
        if (fds[1].revents) {
            if (read(fd, request, sizeof request) < 0)
                return;
            puts("swallowed");
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    char data[64], byte;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (argc < 2 || fd < 0)
        return 1;
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    if (mount("mute", argv[1], "fuse.mute", 0, data) != 0)
        return 2;
    if (argc > 2 && answer_init(fd) < 0)
        return 3;
    puts("mounted");
    fflush(stdout);
    if (argc > 2)
        swallow(fd);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
