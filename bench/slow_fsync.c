/* A store whose fsync takes 3 ms longer: gcc -shared -fPIC -o slow_fsync.so slow_fsync.c -ldl; LD_PRELOAD it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static int slower(const char *name, int fd) {
    struct timespec pause = {0, 3000000};
    nanosleep(&pause, 0);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}

int fsync(int fd) { return slower("fsync", fd); }
int fdatasync(int fd) { return slower("fdatasync", fd); }
