"""System calls that sandboxed code may make, by number.

Written `name:x86_64:aarch64`; an empty number means that the machine has no such call. Numbers are those of Linux's
`unistd_64.h` and `asm-generic/unistd.h`. What is in none of the lists fails with EPERM.
"""

from __future__ import annotations

_ALLOWED = """
read:0:63 write:1:64 open:2: openat:257:56 close:3:57 stat:4: fstat:5:80 lstat:6: newfstatat:262:79
statx:332:291 poll:7: ppoll:271:73 lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214 mremap:25:216
madvise:28:233 msync:26:227 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136
rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 restart_syscall:219:128 pread64:17:67
pwrite64:18:68 readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286 pwritev2:328:287 access:21:
faccessat:269:48 faccessat2:439:439 pipe:22: pipe2:293:59 select:23: pselect6:270:72 sched_yield:24:124
sched_getaffinity:204:123 sched_getparam:143:121 sched_getscheduler:145:120 sched_get_priority_max:146:125
sched_get_priority_min:147:126 dup:32:23 dup2:33: dup3:292:24 nanosleep:35:101 clock_nanosleep:230:115
getitimer:36:102 setitimer:38:103 alarm:37: pause:34: getpid:39:172 getppid:110:173 gettid:186:178
sendfile:40:71 copy_file_range:326:285 recvfrom:45:207 shutdown:48:210 exit:60:93 exit_group:231:94 uname:63:160
flock:73:32 fsync:74:82 fdatasync:75:83 ftruncate:77:46 fallocate:285:47 fadvise64:221:223 getdents:78:
getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82: renameat:264:38 renameat2:316:276
rmdir:84: unlink:87: unlinkat:263:35 readlink:89: readlinkat:267:78
gettimeofday:96:169 time:201: times:100:153 getrlimit:97:163 getrusage:98:165 sysinfo:99:179 getuid:102:174
geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150 getgroups:115:158
getpgrp:111: getpgid:121:155 getsid:124:156 getpriority:140:141 capget:125:90 arch_prctl:158: futex:202:98
futex_waitv:449:449 set_tid_address:218:96 set_robust_list:273:99 get_robust_list:274:100 rseq:334:293
clock_gettime:228:113 clock_getres:229:114 epoll_create:213: epoll_create1:291:20 epoll_ctl:233:21
epoll_wait:232: epoll_pwait:281:22 eventfd:284: eventfd2:290:19 timerfd_create:283:85 timerfd_settime:286:86
timerfd_gettime:287:87 getrandom:318:278 membarrier:324:283 getcpu:309:168 statfs:137:43 fstatfs:138:44
close_range:436:436 wait4:61:260 waitid:247:95
"""
"""Files, memory, time, threads of the process itself, and waiting: where a file may be is Landlock's matter."""
_LIMITED = """
clone:56:220 clone3:435:435 kill:62:129 tgkill:234:131 fcntl:72:25 ioctl:16:29 prctl:157:167 prlimit64:302:261
socketpair:53:199 sendto:44:206 truncate:76:45 mkdir:83: mkdirat:258:34
"""
"""Allowed for some arguments only; `lockdown.py` says for which."""
_KILLED = """
ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 mount:165:40 umount2:166:39 pivot_root:155:41
chroot:161:51 unshare:272:97 setns:308:268 bpf:321:280 perf_event_open:298:241 keyctl:250:219 add_key:248:217
request_key:249:218 io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427 kexec_load:246:104
kexec_file_load:320:294 init_module:175:105 finit_module:313:273 delete_module:176:106 userfaultfd:323:282
reboot:169:142 swapon:167:224 swapoff:168:225 open_by_handle_at:304:265 name_to_handle_at:303:264
pidfd_open:434:434 pidfd_getfd:438:438 pidfd_send_signal:424:424 process_madvise:440:440 open_tree:428:428
move_mount:429:429 fsopen:430:430 fsconfig:431:431 fsmount:432:432 fspick:433:433 mount_setattr:442:442
iopl:172: ioperm:173: modify_ldt:154: settimeofday:164:170 clock_settime:227:112 adjtimex:159:171
clock_adjtime:305:266 acct:163:89 quotactl:179:60 syslog:103:116
"""
"""No program of ours needs these: asking for one ends the process."""

MACHINES = ("x86_64", "aarch64")
"""Machines whose numbers are known, as `platform.machine()` calls them."""


def allowed(machine: str) -> list[int]:
    """Returns the numbers of the calls that are always allowed."""
    return sorted(_numbers(_ALLOWED, machine).values())


def limited(machine: str) -> dict[str, int]:
    """Returns the numbers of the calls that depend on their arguments, by name."""
    return _numbers(_LIMITED, machine)


def killed(machine: str) -> list[int]:
    """Returns the numbers of the calls that end the process."""
    return sorted(_numbers(_KILLED, machine).values())


def _numbers(table: str, machine: str) -> dict[str, int]:
    column = MACHINES.index(machine) + 1
    rows = [entry.split(":") for entry in table.split()]
    return {row[0]: int(row[column]) for row in rows if row[column]}
