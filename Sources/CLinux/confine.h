// Confines a process and all that it starts: Landlock (landlock(7)) for files, TCP and signals, seccomp(2) for connections and for calls
// that reach other processes, a namespace for System V objects.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Older headers lack what newer kernels know: the numbers are those of linux/landlock.h.
struct firn_landlock_ruleset { uint64_t files, network, scoped; };
struct firn_landlock_path { uint64_t access; int32_t parent; } __attribute__((packed));

#ifndef O_PATH
#define O_PATH __O_PATH
#endif

#define FIRN_LANDLOCK_CREATE 444
#define FIRN_LANDLOCK_ADD 445
#define FIRN_LANDLOCK_RESTRICT 446

// Which version of Landlock the kernel has; 0 for none.
static inline int firn_landlock_version(void) {
  long version = syscall(FIRN_LANDLOCK_CREATE, NULL, 0, 1);
  return version > 0 ? (int)version : 0;
}

// All rights to files that a version knows.
static inline uint64_t firn_landlock_files(int version) {
  return version >= 5 ? 0xFFFF : version >= 3 ? 0x7FFF : version >= 2 ? 0x3FFF : 0x1FFF;
}

// A set of rules that allows nothing yet: no files, and where the kernel can say so no TCP, no signals to others and no abstract
// sockets of others. Returns its descriptor, or -1.
static inline int firn_landlock_create(void) {
  int version = firn_landlock_version();
  if (version == 0) return -1;
  struct firn_landlock_ruleset rules = {.files = firn_landlock_files(version)};
  size_t size = sizeof rules.files;
  if (version >= 4) {
    rules.network = 3;
    size += sizeof rules.network;
  }
  if (version >= 6) {
    rules.scoped = 3;
    size += sizeof rules.scoped;
  }
  return (int)syscall(FIRN_LANDLOCK_CREATE, &rules, size, 0);
}

// Allows what lies beneath a path: to be read and run, and with `writes` everything. Returns 0, or -1.
static inline int firn_landlock_allow(int rules, const char *path, int writes) {
  int parent = open(path, O_PATH | O_CLOEXEC);
  if (parent < 0) return -1;
  struct firn_landlock_path rule = {.parent = parent};
  // EXECUTE, READ_FILE, READ_DIR. Of a file that is no folder only the rights to files may be named.
  rule.access = writes ? firn_landlock_files(firn_landlock_version()) : 0xD;
  long result = syscall(FIRN_LANDLOCK_ADD, rules, 1, &rule, 0);
  if (result != 0 && errno == EINVAL) {
    rule.access = (writes ? 0x2 : 0) | 0x5;
    result = syscall(FIRN_LANDLOCK_ADD, rules, 1, &rule, 0);
  }
  int saved = errno;
  close(parent);
  errno = saved;
  return result == 0 ? 0 : -1;
}

#if defined(__x86_64__)
#define FIRN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FIRN_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

// From now on this process can open no connection, whatever the kind of socket, send nothing to an address, and change nothing about other
// processes: EPERM. Sockets that it listens on work. With `connects` it may connect.
static inline int firn_filter_calls(int connects) {
#define FIRN_REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define FIRN_REFUSE_CALL(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), FIRN_REFUSE
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      // Programs of another architecture have other numbers.
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIRN_ARCHITECTURE, 1, 0), FIRN_REFUSE,
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
      // x32 calls.
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), FIRN_REFUSE,
#endif
      FIRN_REFUSE_CALL(connects ? 0xFFFFFFFF : __NR_connect), FIRN_REFUSE_CALL(__NR_sendmsg), FIRN_REFUSE_CALL(__NR_sendmmsg),
      FIRN_REFUSE_CALL(425 /* io_uring_setup */), FIRN_REFUSE_CALL(__NR_ptrace), FIRN_REFUSE_CALL(__NR_process_vm_readv),
      FIRN_REFUSE_CALL(__NR_process_vm_writev),
      // Limits, priorities and processors of other processes; keys; System V queues and semaphores; further namespaces.
      FIRN_REFUSE_CALL(__NR_setpriority), FIRN_REFUSE_CALL(__NR_sched_setaffinity), FIRN_REFUSE_CALL(__NR_sched_setscheduler),
      FIRN_REFUSE_CALL(__NR_sched_setparam), FIRN_REFUSE_CALL(__NR_sched_setattr), FIRN_REFUSE_CALL(__NR_ioprio_set),
      FIRN_REFUSE_CALL(__NR_keyctl), FIRN_REFUSE_CALL(__NR_add_key), FIRN_REFUSE_CALL(__NR_request_key), FIRN_REFUSE_CALL(__NR_msgget),
      FIRN_REFUSE_CALL(__NR_msgctl), FIRN_REFUSE_CALL(__NR_msgsnd), FIRN_REFUSE_CALL(__NR_msgrcv), FIRN_REFUSE_CALL(__NR_semget),
      FIRN_REFUSE_CALL(__NR_semctl), FIRN_REFUSE_CALL(__NR_semop), FIRN_REFUSE_CALL(__NR_semtimedop), FIRN_REFUSE_CALL(__NR_unshare),
      FIRN_REFUSE_CALL(__NR_setns),
      // clone3 hides its flags; without it, libraries use clone.
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 435 /* clone3 */, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7E020000 /* CLONE_NEW* */, 0, 1), FIRN_REFUSE,
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      // Its own limits only.
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_prlimit64, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), FIRN_REFUSE,
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sendto, 0, 3),
      // Its address, the lower half and the upper.
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), FIRN_REFUSE,
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

// What a process that is about to start may do.
struct firn_confinement {
  // Of firn_landlock_create.
  int rules;
  int connects;
};

static inline int firn_write_text(const char *path, const char *text, size_t count) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t written = write(file, text, count);
  close(file);
  return written == (ssize_t)count ? 0 : -1;
}

// Writes `0`, a space, `0`, a space and `1` with a number in place of each 0. Returns the length.
static inline size_t firn_identity_map(char *text, unsigned number) {
  char digits[12];
  size_t count = 0, length = 0;
  do { digits[count++] = (char)('0' + number % 10); } while ((number /= 10) != 0);
  for (int twice = 0; twice < 2; twice++) {
    for (size_t index = count; index > 0; index--) text[length++] = digits[index - 1];
    text[length++] = ' ';
  }
  text[length++] = '1';
  return length;
}

// Gives this process System V objects of its own (ipc_namespaces(7)), so that it reaches none of its user's other processes. A user who is
// not root needs a user namespace for that, which some systems refuse: then this does nothing.
static inline void firn_separate_ipc(void) {
  const int ipc = 0x08000000, user = 0x10000000;
  unsigned uid = geteuid(), gid = getegid();
  if (uid == 0) {
    syscall(__NR_unshare, ipc);
    return;
  }
  if (syscall(__NR_unshare, user | ipc) != 0) return;
  char text[32];
  firn_write_text("/proc/self/setgroups", "deny", 4);
  firn_write_text("/proc/self/gid_map", text, firn_identity_map(text, gid));
  firn_write_text("/proc/self/uid_map", text, firn_identity_map(text, uid));
}

// Takes the rights away. Only async-signal-safe calls are made. Returns 0, or -1.
static inline int firn_confine(const struct firn_confinement *confinement) {
  firn_separate_ipc();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  if (syscall(FIRN_LANDLOCK_RESTRICT, confinement->rules, 0) != 0) return -1;
  return firn_filter_calls(confinement->connects);
}
