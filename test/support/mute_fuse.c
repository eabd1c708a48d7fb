// A FUSE file system that never answers: mounted on the folder named by the first argument until standard input ends.
// Prints a line once it is there. fuse(4): the kernel's first request is FUSE_INIT, and all others wait for its answer.
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char data[64], byte;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (argc != 2 || fd < 0)
        return 1;
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    if (mount("mute", argv[1], "fuse.mute", 0, data) != 0)
        return 2;
    puts("mounted");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
