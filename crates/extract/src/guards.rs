//! How the parser's process confines itself before it reads its file: limits on memory, time and files; no network.
//!
//! Resource limits are required; Landlock and seccomp are used where the kernel has them. From then on, the process can
//! only read its open files, compute, and write to its standard output.

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::parsers::Limits;

/// Applies all guards; returns the names of those in force.
///
/// # Errors
/// A resource limit could not be set: the parser must not run without it.
pub fn apply(limits: &Limits) -> std::io::Result<Vec<String>> {
    let mut guards = Vec::new();
    if set_parent_process_death_signal(Some(Signal::KILL)).is_ok() {
        guards.push("dies_with_parent".to_owned());
    }
    set_resource_limits(limits)?;
    guards.push("rlimits".to_owned());
    #[cfg(target_os = "linux")]
    {
        if apply_landlock() {
            guards.push("landlock".to_owned());
        }
        if apply_seccomp() {
            guards.push("seccomp".to_owned());
        }
    }
    Ok(guards)
}

fn set_resource_limits(limits: &Limits) -> std::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        // The parent may have a lower hard limit, which cannot be raised.
        let hard_limit = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(soft.min(hard_limit)), maximum: Some(hard.min(hard_limit)) };
        setrlimit(resource, limit).map_err(std::io::Error::from)
    };
    // The address space of the program itself does not count against the file.
    let memory_bytes = limits.memory_bytes.saturating_add(address_space());
    set(Resource::As, memory_bytes, memory_bytes)?;
    // SIGXCPU at the soft limit tells the parent why the parser ended; the hard limit, a second later, sends SIGKILL.
    set(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds + 1)?;
    set(Resource::Fsize, limits.output_bytes, limits.output_bytes)?;
    set(Resource::Nofile, limits.open_files, limits.open_files)?;
    set(Resource::Core, 0, 0)
}

/// The address space that this process uses already, in bytes; 0 where `/proc` does not tell.
fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Denies access to the file system; open files stay open.
#[cfg(target_os = "linux")]
fn apply_landlock() -> bool {
    use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetStatus};
    let rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V3)).and_then(Ruleset::create);
    let status = rules.and_then(landlock::RulesetCreated::restrict_self);
    status.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Denies the system calls that a parser does not need: those of the network, of other programs and processes, and those that
/// take a file name.
#[cfg(target_os = "linux")]
fn apply_seccomp() -> bool {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let denied = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_open_by_handle_at,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_mkdirat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_kill,
        // It could undo that the process ends with its parent.
        libc::SYS_prctl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_memfd_create,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ];
    let Ok(arch) = std::env::consts::ARCH.try_into() else { return false };
    let rules = denied.into_iter().map(|call| (call, Vec::new())).collect();
    let deny = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch);
    let program: Option<BpfProgram> = filter.ok().and_then(|filter| filter.try_into().ok());
    program.is_some_and(|program| seccompiler::apply_filter(&program).is_ok())
}
