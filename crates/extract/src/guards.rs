//! What the parser's process takes away from itself before it reads its file: memory, time, files, the network.
//!
//! Each guard is tried by itself: limits are required, the kernel's filters are used where the kernel has them. Once they
//! stand, the process can read what is open, compute, and answer on its standard output, and nothing else.

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::parsers::Limits;

/// Applies every guard there is; returns the names of those that hold.
///
/// # Errors
/// A resource limit could not be set: the parser must not run without.
pub fn apply(limits: &Limits) -> std::io::Result<Vec<String>> {
    let mut held = Vec::new();
    if set_parent_process_death_signal(Some(Signal::KILL)).is_ok() {
        held.push("dies_with_parent".to_owned());
    }
    resources(limits)?;
    held.push("rlimits".to_owned());
    #[cfg(target_os = "linux")]
    {
        if landlock() {
            held.push("landlock".to_owned());
        }
        if seccomp() {
            held.push("seccomp".to_owned());
        }
    }
    Ok(held)
}

fn resources(limits: &Limits) -> std::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        // The parent may already live under a lower limit, which cannot be raised.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(soft.min(allowed)), maximum: Some(hard.min(allowed)) };
        setrlimit(resource, limit).map_err(std::io::Error::from)
    };
    // The program itself takes address space before it reads anything: that is not the file's.
    let memory_bytes = limits.memory_bytes.saturating_add(address_space());
    set(Resource::As, memory_bytes, memory_bytes)?;
    // At the soft limit a signal says why; the hard one, a second on, cannot be caught.
    set(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds + 1)?;
    set(Resource::Fsize, limits.output_bytes, limits.output_bytes)?;
    set(Resource::Nofile, limits.open_files, limits.open_files)?;
    set(Resource::Core, 0, 0)
}

/// The address space that this process has already, in bytes; 0 where the system does not say.
fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Takes the file system away; what is open stays so.
#[cfg(target_os = "linux")]
fn landlock() -> bool {
    use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetStatus};
    let rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V3)).and_then(Ruleset::create);
    let status = rules.and_then(landlock::RulesetCreated::restrict_self);
    status.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Refuses what a parser has no business with: the network, other programs, other processes, the names of files.
#[cfg(target_os = "linux")]
fn seccomp() -> bool {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let refused = [
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
    let rules = refused.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
    let program: Option<BpfProgram> = filter.ok().and_then(|filter| filter.try_into().ok());
    program.is_some_and(|program| seccompiler::apply_filter(&program).is_ok())
}
