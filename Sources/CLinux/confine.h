// Confines a process and all that it starts: Landlock (landlock(7)) for files, TCP and signals, seccomp(2) for connections.
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

// From now on this process can open no connection, whatever the kind of socket, and send nothing to an address: EPERM. Sockets
// that it listens on work. With `connects` it may connect.
static inline int firn_forbid_connections(int connects) {
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

// Takes the rights away. Only async-signal-safe calls are made. Returns 0, or -1.
static inline int firn_confine(const struct firn_confinement *confinement) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  if (syscall(FIRN_LANDLOCK_RESTRICT, confinement->rules, 0) != 0) return -1;
  return firn_forbid_connections(confinement->connects);
}
