/* A disk and a clock that fail on demand: loaded before libc (LD_PRELOAD), steered by numbers in a shared file.
   Only files whose path contains $FAULTS_NAME are concerned. See faults.rs for what each number means. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KINDS, COUNTDOWN, ACTION, STAYS, SEEN, FIRED, HOLD, FREE, CLOCK_STEP, FIELDS };
enum { WRITES = 1, SYNCS = 2, READS = 4 };
enum { FAIL_IO = 1, FAIL_SPACE, CUT_SHORT, KILL };

static volatile int64_t *control;
static const char *name;

#define NEXT(function) \
    static __typeof__(&function) next; \
    if (!next) next = (__typeof__(&function))dlsym(RTLD_NEXT, #function)

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_CONTROL");
    name = getenv("FAULTS_NAME");
    if (!path || !name) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *at = mmap(NULL, FIELDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) abort();
    close(fd);
    control = at;
}

static int64_t get(int field) { return __atomic_load_n(&control[field], __ATOMIC_SEQ_CST); }
static int64_t add(int field, int64_t by) { return __atomic_add_fetch(&control[field], by, __ATOMIC_SEQ_CST); }

static int concerns(int fd) {
    if (!control) return 0;
    if (!get(KINDS) && get(FREE) < 0 && !get(HOLD)) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, name) != NULL;
}

/* What a call of this kind does now: 0 is nothing special. */
static int64_t action(int kind) {
    if (!(get(KINDS) & kind)) return 0;
    add(SEEN, 1);
    int64_t left = add(COUNTDOWN, -1);
    if (left > 0 || (left < 0 && !get(STAYS))) return 0;
    add(FIRED, 1);
    int64_t what = get(ACTION);
    if (what == KILL) raise(SIGKILL);
    return what;
}

static int fails(int64_t what) {
    if (what == FAIL_IO) errno = EIO;
    else if (what == FAIL_SPACE) errno = ENOSPC;
    else return 0;
    return 1;
}

/* How much of a write the disk has room for; takes that room. */
static ssize_t room(int fd, off_t offset, size_t count) {
    struct stat stat;
    if (get(FREE) < 0 || fstat(fd, &stat)) return count;
    off_t growth = offset + (off_t)count - stat.st_size;
    if (growth <= 0) return count;
    int64_t left = add(FREE, -growth);
    if (left >= 0) return count;
    int64_t missing = -left;
    if (missing > growth) missing = growth;
    add(FREE, missing);
    return (ssize_t)count - missing;
}

/* How much of a write may go on; an offset below 0 is where the file stands. */
static ssize_t writable(int fd, off_t offset, size_t count) {
    if (!concerns(fd)) return count;
    if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
    int64_t what = action(WRITES);
    if (fails(what)) return -1;
    if (what == CUT_SHORT && count > 1) return count / 2;
    ssize_t fits = room(fd, offset, count);
    if (fits > 0 || count == 0) return fits;
    add(FIRED, 1);
    errno = ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    NEXT(write);
    ssize_t fits = writable(fd, -1, count);
    return fits < 0 ? -1 : next(fd, bytes, fits);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    NEXT(pwrite);
    ssize_t fits = writable(fd, offset, count);
    return fits < 0 ? -1 : next(fd, bytes, fits, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }

static int cannot_read(int fd) { return concerns(fd) && fails(action(READS)); }

ssize_t read(int fd, void *bytes, size_t count) {
    NEXT(read);
    return cannot_read(fd) ? -1 : next(fd, bytes, count);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t offset) {
    NEXT(pread);
    return cannot_read(fd) ? -1 : next(fd, bytes, count, offset);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) { return pread(fd, bytes, count, offset); }

static int cannot_sync(int fd) {
    if (!concerns(fd)) return 0;
    while (get(HOLD)) usleep(1000);
    return fails(action(SYNCS));
}

int fsync(int fd) {
    NEXT(fsync);
    return cannot_sync(fd) ? -1 : next(fd);
}

int fdatasync(int fd) {
    NEXT(fdatasync);
    return cannot_sync(fd) ? -1 : next(fd);
}

int ftruncate(int fd, off_t length) {
    NEXT(ftruncate);
    struct stat stat;
    if (concerns(fd) && get(FREE) >= 0 && !fstat(fd, &stat) && stat.st_size > length) add(FREE, stat.st_size - length);
    return next(fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int statvfs(const char *restrict path, struct statvfs *restrict stat) {
    NEXT(statvfs);
    int done = next(path, stat);
    if (!done && control && get(FREE) >= 0) stat->f_bavail = get(FREE) / stat->f_frsize;
    return done;
}

int statvfs64(const char *restrict path, struct statvfs64 *restrict stat) {
    return statvfs(path, (struct statvfs *)stat);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = syscall(SYS_clock_gettime, clock, time);
    if (!done && control && clock == CLOCK_REALTIME) time->tv_sec += get(CLOCK_STEP);
    return done;
}
