// What Swift can't call itself: variadic functions, macros, and fork.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <malloc.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "confine.h"

// Declared by the headers for _GNU_SOURCE only, which the Swift module of the C library is built without.
#ifndef F_SETPIPE_SZ
#define F_SETPIPE_SZ 1031
#endif
#ifndef O_DIRECT
#define O_DIRECT __O_DIRECT
#endif
extern int fallocate(int, int, off_t, off_t);
extern int memfd_create(const char *, unsigned int);
extern int pipe2(int[2], int);

static inline int firn_open(const char *path, int flags, mode_t mode) {
  return open(path, flags | O_CLOEXEC, mode);
}

static inline int firn_punch_hole(int fd, off_t offset, off_t length) {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

// From here on writes to the file go around the page cache, or through it. Returns 0 where that can be had.
static inline int firn_set_direct(int fd, int direct) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -1;
  return fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

static inline int firn_terminal_columns(int fd) {
  struct winsize size;
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// A file in memory that nobody else sees. Returns its descriptor, or -1.
static inline int firn_memory_file(void) { return memfd_create("firn", MFD_CLOEXEC); }

// Returns 0, or -1 with EWOULDBLOCK where another process has it.
static inline int firn_try_lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }

static inline int firn_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

// Processes of ours whose parents have ended become children of this one, and not of process 1.
static inline int firn_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

static inline int firn_is_ignored(int number) {
  struct sigaction action;
  return sigaction(number, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN;
}

// As fork(2), with all signals blocked in the child.
static inline pid_t firn_fork(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t child = fork();
  if (child != 0) {
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
  }
  return child;
}

// Starts a process that ends the group of `leader` if this process is killed: what was
// stopped would stay so. A byte written to `*leash` lets it end. Returns its process id, or -errno.
static inline pid_t firn_watch_over(pid_t leader, int *leash) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
  pid_t watcher = firn_fork();
  if (watcher == 0) {
    setsid();
    // What is open here would be held open: locks, and pipes whose end others wait for.
    long last = sysconf(_SC_OPEN_MAX);
    if (last < 0 || last > 65536) last = 65536;
    for (int fd = 0; fd < last; fd++) {
      if (fd != ends[0]) close(fd);
    }
    char byte;
    ssize_t got;
    while ((got = read(ends[0], &byte, 1)) < 0 && errno == EINTR) {}
    if (got == 0) {
      kill(-leader, SIGTERM);
      kill(-leader, SIGCONT);
      for (int tenth = 0; tenth < 100 && kill(-leader, 0) == 0; tenth++) nanosleep(&(struct timespec){0, 100000000}, NULL);
      kill(-leader, SIGKILL);
    }
    _exit(0);
  }
  int saved = errno;
  close(ends[0]);
  if (watcher < 0) {
    close(ends[1]);
    return -saved;
  }
  *leash = ends[1];
  return watcher;
}

// Starts a program as the leader of a process group of its own. With `bound` it gets SIGTERM when the calling
// *thread* ends (prctl(2), PR_SET_PDEATHSIG), so that no kill of ours leaves it behind. Files it makes have the
// modes that `mask` leaves. With `confinement` it can do no more than that allows. Between fork and exec only async-signal-safe calls are made.
// Returns the process id, or -errno.
static inline pid_t firn_spawn(const char *path, char *const arguments[], char *const environment[],
                               int input, int output, int error, mode_t mask, int bound, const struct firn_confinement *confinement) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return -errno;
  pid_t parent = getpid();
  pid_t child = firn_fork();
  if (child == 0) {
    setpgid(0, 0);
    if (bound) prctl(PR_SET_PDEATHSIG, SIGTERM);
    int failure = 0;
    if (getppid() != parent) _exit(127);
    for (int number = 1; number < 65; number++) {
      if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(mask);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(error, 2) < 0) failure = errno;
    if (!failure && confinement && firn_confine(confinement) != 0) failure = errno;
    if (!failure) {
      execve(path, arguments, environment);
      failure = errno;
    }
    ssize_t ignored = write(report[1], &failure, sizeof failure);
    (void)ignored;
    _exit(127);
  }
  int saved = errno;
  close(report[1]);
  if (child < 0) {
    close(report[0]);
    return -saved;
  }
  setpgid(child, child);
  int failure = 0;
  ssize_t got = read(report[0], &failure, sizeof failure);
  close(report[0]);
  if (got == (ssize_t)sizeof failure) {
    int status;
    waitpid(child, &status, 0);
    return -failure;
  }
  return child;
}

// Memory that was freed is used again instead of given back and asked for anew, page by page.
static inline void firn_keep_memory(void) {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

static inline int firn_exit_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
static inline int firn_exited(int status) { return WIFEXITED(status) || WIFSIGNALED(status); }

// Converts text. Returns the number of bytes written, or -1 if part of it can't be converted.
static inline ssize_t firn_convert(const char *from, const char *to, const unsigned char *text, size_t count, unsigned char *result, size_t room) {
  iconv_t converter = iconv_open(to, from);
  if (converter == (iconv_t)-1) return -1;
  char *in = (char *)text, *out = (char *)result;
  size_t left = count, space = room;
  size_t bad = iconv(converter, &in, &left, &out, &space);
  if (bad != (size_t)-1) bad = iconv(converter, NULL, NULL, &out, &space);
  iconv_close(converter);
  return bad == (size_t)-1 ? -1 : (ssize_t)(room - space);
}
